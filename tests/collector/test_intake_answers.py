"""The ends of subscriptions, answers to commands, lifecycle, and batches."""

import random

import numpy as np
import pytest

from book.records import Kind
from book.wire import encode
from book.wire.commands import DELETE_MARKETS, LIFECYCLE, ORDERBOOK, TRADE, Subscribe, Update
from tests.collector.intakes import BOOKS, LIVES, T0, TRADES, Bench, delta, life, snapshot, trade


@pytest.fixture
def bench() -> Bench:
    """Stand subscribed to A and B, both books known: seq 1 and 2."""
    bench = Bench()
    bench.put(snapshot(1, "A"), snapshot(2, "B"))
    bench.rows()
    return bench


# the end of a subscription


@pytest.mark.parametrize("code", [10, 25])
def test_a_terminal_error_ends_the_books_at_the_last_message_in_order(bench: Bench, code: int) -> None:
    bench.put(delta(3, "A"))
    last_us = bench.now_us - T0
    bench.put(encode.error(code, "over", sid=BOOKS, seq=4), at_us=T0 + 800_000)
    assert [row[1:] for row in bench.rows() if row[0] is Kind.CLOSE] == [
        (ticker, 3, last_us + 1, "channel_error") for ticker in ("A", "B")
    ]
    (command,) = bench.commands(0.1)
    assert isinstance(command, Subscribe)
    assert command.tickers == ("A", "B")
    assert bench.intake.ended[-1] is bench.conn()


@pytest.mark.parametrize(("sid", "channel"), [(TRADES, TRADE), (LIVES, LIFECYCLE)])
def test_a_terminal_error_of_another_channel_leaves_the_books_alone(bench: Bench, sid: int, channel: str) -> None:
    bench.put(encode.error(25, "over", sid=sid, seq=1), delta(3, "A"))
    (command,) = bench.commands(0.1)
    assert command.channels == (channel,)
    assert bench.kinds() == [("DELTA", "A", 3)]
    assert not bench.asks.hopeless


def test_a_terminal_error_that_names_no_subscription_ends_the_connection(bench: Bench) -> None:
    bench.put(encode.error(10, "channel"))
    assert bench.asks.hopeless


def test_an_unsubscribed_ends_the_books_at_its_own_stamp(bench: Bench) -> None:
    bench.asks.leave(bench.now_ns)
    (command,) = bench.commands()
    bench.put(encode.unsubscribed(command.id, BOOKS, 3), at_us=T0 + 700_000)
    assert [row[1:] for row in bench.rows()] == [(ticker, 3, 700_000, "channel_error") for ticker in ("A", "B")]
    (again,) = bench.commands(0.1)
    assert again.tickers == ("A", "B")


def test_of_an_unsubscribed_conn_only_the_wanted_markets_are_missed(bench: Bench) -> None:
    bench.asks.leave(bench.now_ns)
    (command,) = bench.commands()
    bench.asks.drop("A")
    bench.put(encode.unsubscribed(command.id, BOOKS, 3))
    assert bench.kinds() == [("CLOSE", "A", 3, "unsubscribed"), ("CLOSE", "B", 3, "channel_error")]
    (again,) = bench.commands(0.1)
    assert again.tickers == ("B",)


def test_a_market_over_and_dropped_is_closed_where_its_conn_is_left(bench: Bench) -> None:
    bench.spans.state[bench.spans.market("A")]["close_us"] = bench.now_us
    bench.asks.leave(bench.now_ns)
    (command,) = bench.commands()
    bench.asks.drop("A")
    bench.put(encode.unsubscribed(command.id, BOOKS, 3))
    assert bench.kinds() == [("CLOSE", "A", 3, "market_closed"), ("CLOSE", "B", 3, "channel_error")]


@pytest.mark.parametrize("sid", [TRADES, LIVES])
def test_an_unsubscribed_nobody_asked_for_is_made_good(bench: Bench, sid: int) -> None:
    channel = bench.conn(sid).channel
    bench.put(encode.unsubscribed(None, sid, 1))
    (command,) = bench.commands(0.1)
    assert command.channels == (channel,)


def test_a_subscription_that_the_venue_does_not_know_is_over(bench: Bench) -> None:
    """Error 7 answers a command of ours: data has stopped, though pongs go on."""
    bench.put(delta(3, "A"))
    last_us = bench.now_us - T0
    bench.asks.lost(["A"])
    (command,) = bench.commands(0.1)
    bench.put(encode.error(7, "Unknown subscription ID", command_id=command.id))
    assert [row[1:] for row in bench.rows() if row[0] is Kind.CLOSE] == [
        (ticker, 3, last_us + 1, "channel_error") for ticker in ("A", "B")
    ]
    assert isinstance(bench.commands(0.1)[0], Subscribe)


# answers to commands


def deleting(bench: Bench, ticker: str) -> Update:
    bench.asks.drop(ticker)
    (command,) = bench.commands(0.1)
    assert isinstance(command, Update)
    assert command.action == DELETE_MARKETS
    return command


@pytest.mark.parametrize("shown", [None, ["B"]])
def test_the_ok_to_a_deletion_ends_the_market_there(bench: Bench, shown: list[str] | None) -> None:
    command = deleting(bench, "A")
    bench.put(delta(3, "A"), encode.ok(command.id, BOOKS, 4, shown), delta(5, "A"))
    assert bench.kinds() == [("DELTA", "A", 3), ("CLOSE", "A", 4, "unsubscribed"), ("ORPHAN", "A", 5)]


def test_a_market_wanted_again_before_its_deletion_is_missed_from_there(bench: Bench) -> None:
    command = deleting(bench, "A")
    bench.asks.want(["A"])
    bench.put(encode.ok(command.id, BOOKS, 3))
    assert bench.kinds() == [("CLOSE", "A", 3, "channel_error")]
    (again,) = bench.commands(0.1)
    assert (again.action, again.tickers) == ("add_markets", ("A",))


def test_a_legacy_ok_with_its_list_outside_is_an_ok(bench: Bench) -> None:
    command = deleting(bench, "A")
    bench.put(b'{"id":%d,"type":"ok","sid":3,"seq":3,"market_tickers":["B"]}' % command.id)
    assert bench.kinds() == [("CLOSE", "A", 3, "unsubscribed")]


def test_a_deletion_after_close_time_closes_the_market(bench: Bench) -> None:
    bench.spans.state[bench.spans.market("A")]["close_us"] = bench.now_us
    command = deleting(bench, "A")
    bench.put(encode.ok(command.id, BOOKS, 3))
    assert bench.kinds() == [("CLOSE", "A", 3, "market_closed")]


def test_other_oks_end_nothing(bench: Bench) -> None:
    bench.asks.lost(["A"])
    (command,) = bench.commands(0.1)
    bench.put(encode.ok(command.id, BOOKS, 3), encode.ok(99, BOOKS, 4), encode.ok_list(98, [(ORDERBOOK, 3)]))
    bench.put(delta(5, "A"))
    assert bench.kinds() == [("DELTA", "A", 5)]


def test_a_book_asked_for_before_its_market_was_taken_away_opens_nothing(bench: Bench) -> None:
    """The venue answers late: no change would follow, and the book would stand still unnoticed."""
    bench.asks.lost(["A"])
    (asked,) = bench.commands(0.1)
    command = deleting(bench, "A")
    bench.put(encode.ok(command.id, BOOKS, 3), snapshot(4, "A", command_id=asked.id))
    assert bench.kinds() == [("CLOSE", "A", 3, "unsubscribed")]
    assert bench.intake.counts["unasked"] == 1
    assert "A" not in bench.asks.roster.rota
    assert "B" in bench.asks.roster.rota


def test_a_book_of_a_market_nobody_wanted_opens_nothing(bench: Bench) -> None:
    bench.put(snapshot(3, "Z"), delta(4, "Z"))
    assert bench.kinds() == [("ORPHAN", "Z", 4)]


def test_a_book_nobody_asked_for_is_an_audit(bench: Bench) -> None:
    bench.put(snapshot(3, "A"), snapshot(4, "B", ((0, 1, 1),)))
    assert bench.kinds() == [("CLOSE", "B", 2, "audit_mismatch"), ("SNAPSHOT", "B", 4)]


# lifecycle


def test_a_determined_market_is_over_and_named(bench: Bench) -> None:
    bench.put(life(1, "A", "determined", result="yes", settlement_value="1.0000", determination_ts=1_795_626_000))
    bench.put(delta(3, "A"), snapshot(4, "A"))
    assert bench.kinds() == [("CLOSE", "A", 2, "market_closed"), ("ORPHAN", "A", 3)]
    assert bench.intake.finished == ["A"]
    assert list(bench.intake.changed) == ["A"]
    (row,) = bench.table("lifecycle")
    assert (row["result"], row["settlement_value_e4"], row["event_type"]) == ("yes", 10_000, "determined")
    assert row["determination_time"].timestamp() == 1_795_626_000


def test_a_lifecycle_message_before_the_listing_is_remembered(bench: Bench) -> None:
    bench.put(life(1, "NEW", "created", open_ts=1_795_551_300, close_ts=1_795_552_200), life(2, "OLD", "determined"))
    assert list(bench.intake.over) == bench.intake.finished == ["OLD"]
    assert list(bench.intake.changed) == ["NEW", "OLD"]
    assert bench.spans.numbers.keys() == {"A", "B"}
    assert bench.rows() == []


def test_an_event_without_a_market_is_kept(bench: Bench) -> None:
    bench.put(encode.lifecycle(LIVES, 1, {"event_ticker": "E", "title": "t"}, "event_lifecycle"))
    (row,) = bench.table("lifecycle")
    assert (row["ticker"], row["event_ticker"], row["channel_type"]) == (None, "E", "event_lifecycle")
    assert bench.intake.changed == {}


def test_a_ticker_message_changes_nothing(bench: Bench) -> None:
    bench.put(
        encode.ticker(
            7, ticker="A", price_e4=1, yes_bid_e4=1, yes_ask_e4=2, yes_bid_qty_e2=1, yes_ask_qty_e2=1,
            last_trade_qty_e2=1, volume_e2=1, open_interest_e2=1, ts_us=T0,
        ),
        delta(3, "A"),
    )  # fmt: skip
    assert bench.kinds() == [("DELTA", "A", 3)]
    assert bench.link.early_count == 0


# order inside a batch


def test_one_batch_is_the_same_as_frame_by_frame() -> None:
    rng = random.Random(5)
    for _ in range(20):
        frames, seq, trades = [snapshot(1, "A"), snapshot(2, "B")], 2, 0
        for _ in range(60):
            kind = rng.choice(("delta",) * 6 + ("trade", "book", "gap", "twice", "bad", "legacy"))
            if kind == "trade":
                trades += 1
                frames.append(trade(trades, str(trades)))
                continue
            if kind == "twice":
                frames.append(frames[-1])
                continue
            seq += 1 + (kind == "gap")
            ticker = rng.choice("AB")
            frames.append(
                snapshot(seq, ticker)
                if kind == "book"
                else b'{"type":"orderbook_delta","sid":3,"seq":%d,"msg":{"market_ticker":"A"}}' % seq
                if kind == "bad"
                else delta(seq, ticker, rng.choice((100, 200, -100)), legacy=kind == "legacy")
            )
        seen = []
        for size in (1, 7, len(frames)):
            bench = Bench()
            stamps = [bench.now_us + 1 + n for n in range(len(frames))]
            for start in range(0, len(frames), size):
                part = slice(start, start + size)
                of = np.zeros(len(frames[part]), np.int64)
                bench.intake.frames([bench.link], of, frames[part], np.array(stamps[part], np.int64), bench.now_ns)
            seen.append((sorted(bench.rows(), key=lambda row: (row[3], row[2], row[0], row[1])), bench.table("trades")))
        assert seen[0] == seen[1] == seen[2]
