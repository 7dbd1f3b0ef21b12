"""The timers and ends of markets, dead links, and what must not grow."""

import pytest

from book.records import DAY_US, HOUR_US, Reason
from book.wire import encode
from collector.links import WHOLE, Ended, Mark
from collector.markets import CLOSED_GRACE_US
from tests.collector.sessions import BOOK, T0, Bench, closes, delta, rows


@pytest.fixture
def bench() -> Bench:
    """Stand on link 1 with the books of A and B, flushed."""
    bench = Bench()
    bench.open()
    bench.record("A", "B")
    bench.take()
    return bench


# timers


def test_a_market_is_asked_for_when_it_opens(bench: Bench) -> None:
    bench.session.list_market("C", bench.us() + 500_000, bench.us() + 900_000_000)
    assert bench.tick(400) == []
    (command,) = bench.tick(200)
    assert (command["params"]["action"], command["params"]["market_tickers"]) == ("add_markets", ["C"])


def test_a_market_is_let_go_an_hour_after_its_close() -> None:
    bench = Bench(watchdog_s=10_000.0)
    bench.open()
    bench.record("A", "B")
    bench.take()
    bench.session.list_market("A", None, bench.us() + 1_000_000)
    bench.tick(1_000 + CLOSED_GRACE_US // 1000 - 200)
    assert not [command for command in bench.tick() if command["params"].get("action") == "delete_markets"]
    commands = [command for command in bench.tick(200) if command["params"].get("action") == "delete_markets"]
    assert [command["params"]["market_tickers"] for command in commands] == [["A"]]


def test_a_close_time_moved_back_in_time_is_heeded_whoever_says_so() -> None:
    for way in ("listing", "lifecycle"):
        bench = Bench(watchdog_s=10_000.0, audit_every_s=86_400.0)
        bench.open()
        bench.session.list_market("A", None, T0 + 30 * HOUR_US)
        bench.record("A", "B")
        bench.session.list_market("A", None, T0 + 30 * HOUR_US)
        bench.take()
        soon_us = T0 + HOUR_US
        if way == "listing":
            bench.session.list_market("A", None, soon_us)
        else:
            fields = {"event_type": "close_date_updated", "market_ticker": "A", "close_ts": soon_us // 1_000_000}
            bench.frame(encode.lifecycle(2, 1, fields))
            bench.take()
        bench.tick()
        actions = [command["params"].get("action") for command in bench.tick(2.1 * HOUR_US / 1000)]
        assert "delete_markets" in actions, way


def test_a_close_time_moved_on_is_heeded() -> None:
    bench = Bench(watchdog_s=10_000.0, audit_every_s=86_400.0)
    bench.open()
    bench.session.list_market("A", None, T0 + HOUR_US)
    bench.record("B")
    bench.session.list_market("A", None, T0 + 9 * HOUR_US)
    bench.take()
    actions = [command["params"].get("action") for command in bench.tick(2.1 * HOUR_US / 1000)]
    assert "delete_markets" not in actions


def test_telling_a_market_again_costs_nothing(bench: Bench) -> None:
    """The listing tells every market every five minutes, for months."""
    for _ in range(50):
        bench.session.list_market("A", None, T0 + 9 * DAY_US)
        bench.session.list_market("B", T0 - 5, None)
        bench.tick()
    assert len(bench.session.markets.timers) <= 5


def test_a_market_that_reopens_after_it_was_let_go_is_recorded_again(bench: Bench) -> None:
    bench.session.list_market("A", None, T0 - 2 * HOUR_US)
    (command,) = bench.tick()
    bench.frame(encode.ok(command["id"], 3, 3))
    assert closes(bench.take()) == [("A", 3, bench.us(), "market_closed")]
    bench.session.list_market("A", None, T0 + 9 * HOUR_US)
    (again,) = bench.tick()
    assert (again["params"]["action"], again["params"]["market_tickers"]) == ("add_markets", ["A"])
    bench.frame(encode.ok(again["id"], 3, 4), encode.snapshot(3, 5, "A", BOOK), delta(6))
    assert [row[0].name for row in rows(bench.take())] == ["SNAPSHOT", "DELTA"]


# the end of a market


def determined(seq: int = 1) -> bytes:
    return encode.lifecycle(2, seq, {"event_type": "determined", "market_ticker": "A", "result": "yes"})


def test_a_determined_market_is_dropped_on_every_link_and_never_asked_for_again(bench: Bench) -> None:
    bench.frame(determined())
    bench.take()
    (command,) = bench.tick()
    assert (command["params"]["action"], command["params"]["market_tickers"]) == ("delete_markets", ["A"])
    bench.session.list_market("A", None, None)
    bench.mark(Ended(Reason.DISCONNECT))
    bench.take()
    bench.open(2)
    link, command = bench.said[-1]
    assert (link, command["params"]["market_tickers"]) == (2, ["B"])


def test_a_market_listed_after_it_was_determined_is_not_asked_for(bench: Bench) -> None:
    bench.frame(determined().replace(b'"A"', b'"C"'))
    bench.take()
    bench.session.list_market("C", None, None)
    assert bench.tick() == []


def test_an_end_told_by_the_listing_takes_effect_when_all_that_came_before_is_in(bench: Bench) -> None:
    bench.after(100).frame(delta(3))
    bench.session.finish_market("A")
    bench.session.finish_market("unknown")
    bench.take()
    bench.tick()
    taken = bench.session.take()
    assert closes(taken) == [("A", 3, bench.us(), "market_closed")]
    assert bench.us() > bench.conn() // 1024
    bench.after(10).frame(delta(4))
    assert [row[0].name for row in rows(bench.take())] == ["ORPHAN"]


# dead links


def test_a_link_on_which_nothing_is_heard_is_dead(bench: Bench) -> None:
    bench.tick(14_900, heard=False)
    assert bench.session.dead == {}
    bench.tick(200, heard=False)
    assert bench.session.dead == {1: Reason.STALL}
    bench.mark(Ended(Reason.STALL))
    bench.take()
    assert bench.session.dead == {}


def test_a_link_that_does_not_answer_is_dead() -> None:
    bench = Bench()
    bench.session.opened(1, 40_001, 0, WHOLE)
    for _ in range(105):
        bench.tick()
        bench.mark(Mark.PONG)
        bench.take()
    assert bench.session.dead == {1: Reason.DISCONNECT}


def test_markets_that_find_no_room_are_told_of() -> None:
    bench = Bench(most_markets=2)
    bench.open()
    bench.record("A", "B")
    for ticker in ("C", "D", "E"):
        bench.session.list_market(ticker, None, None)
    bench.take()
    bench.tick()
    notes = [fields for event, fields in bench.session.notes() if event == "without_room"]
    assert notes == [{"markets": 3}]
    bench.tick()
    assert bench.session.notes() == []


# what must not grow


def test_nothing_grows_with_links_that_come_and_go() -> None:
    bench = Bench()
    for link in range(1, 40):
        bench.open(link)
        bench.record("A", link=link)
        bench.take()
        bench.frame(encode.delta(3, 2, "A", 0, 4500, 1, T0), link=link)
        bench.after(50).mark(Ended(Reason.DISCONNECT), link=link)
        bench.take()
    assert bench.session.links == {}
    assert bench.session.spans.conns == {}
    assert bench.session.intake.ended == []
    assert len(bench.session.markets.timers) == 1


def test_ends_on_a_long_lived_conn_are_forgotten_once_nothing_can_reach_them(bench: Bench) -> None:
    link = bench.session.links[1]
    seq = 2
    for number in range(50):
        ticker = f"M{number}"
        bench.session.list_market(ticker, None, None)
        (add,) = bench.tick()
        bench.frame(encode.ok(add["id"], 3, seq + 1), encode.snapshot(3, seq + 2, ticker, BOOK))
        fields = {"event_type": "determined", "market_ticker": ticker}
        bench.frame(encode.lifecycle(2, number + 1, fields))
        bench.take()
        (delete,) = bench.tick()
        bench.frame(encode.ok(delete["id"], 3, seq + 3))
        bench.take()
        seq += 3
    assert link.book is not None
    assert len(link.book.ended) == 50
    bench.after(61_000).mark(Mark.PONG)
    bench.take()
    bench.tick()
    assert len(link.book.ended) == 0
    assert len(link.asks.sent) <= 1
