"""What each message does in its place and out of it: routing, numbers, frames that cannot be read."""

import pytest

from book.records import HOUR_US, Kind
from book.wire import encode
from book.wire.commands import LIFECYCLE, ORDERBOOK, TRADE, Unsubscribe
from collector.links import EARLY_MOST
from collector.stage import Stage
from tests.collector.intakes import BOOKS, LIVES, T0, TRADES, Bench, delta, life, snapshot, trade


@pytest.fixture
def bench() -> Bench:
    """Stand subscribed to A and B, both books known: seq 1 and 2."""
    bench = Bench()
    bench.put(snapshot(1, "A"), snapshot(2, "B"))
    bench.rows()
    return bench


# routing


def test_each_subscription_is_a_conn_of_its_own(bench: Bench) -> None:
    conns = [bench.conn(sid) for sid in (TRADES, LIVES, BOOKS)]
    assert [conn.channel for conn in conns] == [TRADE, LIFECYCLE, ORDERBOOK]
    assert len({conn.id for conn in conns}) == 3
    assert bench.link.book is conns[2]


def test_messages_are_judged_by_their_own_subscription(bench: Bench) -> None:
    bench.put(trade(1), delta(3, "A"), trade(2), life(1, "A", "activated"), delta(4, "B"), trade(3))
    assert bench.kinds() == [("DELTA", "A", 3), ("DELTA", "B", 4)]
    assert [row["seq"] for row in bench.table("trades")] == [1, 2, 3]
    assert [row["conn"] for row in bench.table("lifecycle")] == [bench.conn(LIVES).id]
    assert "sequence" not in bench.notes()


def test_a_conn_is_heard_up_to_each_of_its_messages(bench: Bench) -> None:
    bench.put(trade(1), at_us=T0 + 9_000)
    assert bench.conn(TRADES).frame_us == T0 + 9_000
    assert bench.conn().frame_us < T0 + 1_000_000


def test_data_before_its_acknowledgement_is_taken_with_it_and_stamped_as_of_then() -> None:
    bench = Bench(subscribe=False)
    bench.asks.want(("A", "B"))
    first, second, books = bench.commands(0.1)
    bench.put(snapshot(1, "A", sid=3), delta(2, "A", sid=3), trade(1, sid=1), encode.ok(99, 3, 3))
    bench.put(snapshot(4, "B", sid=3))
    assert bench.rows() == []
    bench.put(encode.subscribed(first.id, TRADE, 1), at_us=T0 + HOUR_US)
    assert [row["seq"] for row in bench.table("trades")] == [1]
    bench.put(encode.subscribed(books.id, ORDERBOOK, 3), at_us=T0 + HOUR_US)
    bench.put(encode.subscribed(second.id, LIFECYCLE, 2), delta(5, "B", sid=3))
    rows = bench.rows()
    assert [(row[0].name, *row[1:3]) for row in rows] == [
        ("SNAPSHOT", "A", 1),
        ("DELTA", "A", 2),
        ("SNAPSHOT", "B", 4),
        ("DELTA", "B", 5),
    ]
    assert {row[3] for row in rows[:3]} == {HOUR_US}
    assert bench.link.early == {}
    assert bench.link.early_count == 0


def test_early_messages_are_bounded_and_what_did_not_fit_shows_as_a_gap() -> None:
    bench = Bench(subscribe=False)
    bench.asks.want(("A",))
    books = bench.commands(0.1)[-1]
    bench.put(snapshot(1, "A", sid=3), *(delta(2 + n, "A", sid=3) for n in range(EARLY_MOST + 10)))
    assert bench.link.early_count == EARLY_MOST
    assert bench.intake.counts["early_dropped"] == 11
    bench.put(encode.subscribed(books.id, ORDERBOOK, 3), delta(EARLY_MOST + 12, "A", sid=3))
    assert bench.kinds()[-2:] == [("CLOSE", "A", EARLY_MOST, "seq_gap"), ("ORPHAN", "A", EARLY_MOST + 12)]


def test_messages_of_a_conn_after_its_end_do_nothing(bench: Bench) -> None:
    bench.put(encode.error(25, "overflow", sid=BOOKS, seq=3))
    bench.rows()
    frame_us = bench.conn().frame_us
    late = (
        delta(4, "A"),
        snapshot(5, "A"),
        encode.ok(7, BOOKS, 6),
        encode.unsubscribed(8, BOOKS, 7),
        b'{"type":"?","sid":3}',
    )
    bench.put(*late)
    assert bench.rows() == []
    assert bench.conn().frame_us == frame_us
    assert bench.intake.counts["after_end"] == 4


def test_a_new_subscription_may_take_the_number_of_one_that_ended(bench: Bench) -> None:
    old = bench.conn()
    bench.put(encode.error(10, "channel", sid=BOOKS, seq=3))
    (command,) = bench.commands(0.1)
    bench.put(encode.subscribed(command.id, ORDERBOOK, BOOKS), snapshot(1, "A"), snapshot(2, "B"))
    assert bench.conn().id > old.id
    assert bench.kinds()[2:] == [("SNAPSHOT", "A", 1), ("SNAPSHOT", "B", 2)]


def test_an_acknowledgement_sent_twice_does_not_orphan_the_living_conn(bench: Bench) -> None:
    conn = bench.conn()
    bench.put(encode.subscribed(3, ORDERBOOK, BOOKS), delta(3, "A"))
    assert bench.conn() is conn
    assert bench.kinds() == [("DELTA", "A", 3)]
    assert not bench.asks.hopeless


def test_a_number_given_to_two_channels_ends_the_connection(bench: Bench) -> None:
    bench.put(encode.subscribed(3, TRADE, BOOKS))
    assert bench.asks.hopeless


def test_an_acknowledgement_without_a_number_ends_the_connection() -> None:
    bench = Bench(subscribe=False)
    bench.put(b'{"id":1,"type":"subscribed"}')
    assert bench.asks.hopeless
    assert bench.notes() == ["subscribed_without_sid"]


# sequence


def test_a_duplicate_is_dropped_and_changes_nothing(bench: Bench) -> None:
    bench.put(delta(3, "A"), delta(3, "A"), delta(4, "A"))
    assert bench.kinds() == [("DELTA", "A", 3), ("DELTA", "A", 4)]
    assert bench.intake.counts["duplicate"] == 1


def test_a_gap_ends_every_book_of_the_conn_at_its_last_message_in_order(bench: Bench) -> None:
    bench.put(delta(3, "A"))
    last_us = bench.now_us - T0
    bench.put(delta(5, "A"), at_us=T0 + 900_000)
    closes = [row for row in bench.rows() if row[0] is Kind.CLOSE]
    assert closes == [(Kind.CLOSE, ticker, 3, last_us + 1, "seq_gap") for ticker in ("A", "B")]
    assert {"A", "B"} == set(bench.asks.roster.missing)
    bench.put(snapshot(6, "B"), delta(7, "A"), snapshot(8, "A"), delta(9, "A"), delta(10, "B"))
    assert bench.kinds() == [
        ("SNAPSHOT", "B", 6),
        ("ORPHAN", "A", 7),
        ("SNAPSHOT", "A", 8),
        ("DELTA", "A", 9),
        ("DELTA", "B", 10),
    ]
    assert bench.asks.roster.missing == {}


@pytest.mark.parametrize(
    "revealing",
    [
        encode.ok(44, BOOKS, 9),
        encode.error(27, "too many", sid=BOOKS, seq=9),
        encode.unsubscribed(44, BOOKS, 9),
        encode.error(25, "overflow", sid=BOOKS, seq=9),
        snapshot(9, "A", ()),
        b'{"type":"orderbook_delta","sid":3,"seq":9,"msg":{"market_ticker":"A","price_dollars":"0.45001"}}',
    ],
)
def test_any_sequenced_message_reveals_a_gap(bench: Bench, revealing: bytes) -> None:
    bench.put(revealing)
    closes = [row for row in bench.kinds() if row[0] == "CLOSE"]
    assert closes == [("CLOSE", "A", 2, "seq_gap"), ("CLOSE", "B", 2, "seq_gap")]


def test_acknowledgements_consume_a_number(bench: Bench) -> None:
    bench.put(encode.ok(44, BOOKS, 3), encode.error(27, "too many", sid=BOOKS, seq=4), delta(5, "A"))
    assert bench.kinds() == [("DELTA", "A", 5)]


def test_a_number_that_goes_back_ends_every_book_and_the_subscription(bench: Bench) -> None:
    bench.put(delta(3, "A"), delta(1, "A"), delta(2, "A"), delta(1, "B"))
    closes = [row for row in bench.kinds() if row[0] == "CLOSE"]
    assert closes == [("CLOSE", "A", 3, "seq_gap"), ("CLOSE", "B", 3, "seq_gap")]
    (command,) = bench.commands()
    assert isinstance(command, Unsubscribe)
    assert bench.notes().count("sequence") == 1
    bench.put(encode.unsubscribed(command.id, BOOKS, 5))
    assert not bench.conn().up
    assert bench.asks.stage is Stage.NONE


def test_a_number_that_goes_back_on_the_trades_makes_that_subscription_anew(bench: Bench) -> None:
    bench.put(trade(1, "a"), trade(2, "b"), trade(1, "c"), trade(1, "d"))
    (command,) = bench.commands()
    assert command == Unsubscribe(command.id, (TRADES,))
    bench.put(encode.unsubscribed(command.id, TRADES, 2), delta(3, "A"))
    (again,) = bench.commands(0.1)
    assert again.channels == (TRADE,)
    bench.put(encode.subscribed(again.id, TRADE, 9), trade(1, "e", sid=9))
    assert [row["trade_id"] for row in bench.table("trades")] == ["a", "b", "e"]
    assert bench.kinds() == [("DELTA", "A", 3)]


def test_a_gap_in_the_trades_touches_no_book_and_is_noted(bench: Bench) -> None:
    bench.put(trade(1), trade(5, "u"))
    assert [row["seq"] for row in bench.table("trades")] == [1, 5]
    assert bench.rows() == []
    assert bench.notes().count("sequence") == 1


def test_trades_may_come_without_a_number(bench: Bench) -> None:
    bench.put(trade(None, "a"), trade(None, "b"), delta(3, "A"))
    assert [(row["trade_id"], row["seq"]) for row in bench.table("trades")] == [("a", None), ("b", None)]


# frames that cannot be read


def test_an_unreadable_change_ends_its_market_at_its_last_good_message(bench: Bench) -> None:
    bench.put(delta(3, "A"))
    good_us = bench.now_us - T0
    bench.put(delta(4, "B"), b'{"type":"orderbook_delta","sid":3,"seq":5,"msg":{"market_ticker":"A","side":"yes"}}')
    bench.put(delta(6, "B"))
    assert [row for row in bench.rows() if row[0] is Kind.CLOSE] == [
        (Kind.CLOSE, "A", 3, good_us + 1, "unrepresentable")
    ]
    (row,) = bench.table("quarantine")
    assert (row["conn"], row["ticker"]) == (bench.conn().id, "A")
    assert row["bytes"].startswith(b'{"type":"orderbook_delta"')
    assert list(bench.asks.roster.missing) == ["A"]


@pytest.mark.parametrize("price", ["0.45001", "1.0001", "-0.1", "x", ""])
def test_a_price_that_cannot_be_held_exactly_is_quarantined(bench: Bench, price: str) -> None:
    bench.put(delta(3, "A").replace(b"0.4500", price.encode()), delta(4, "B"))
    assert bench.kinds() == [("CLOSE", "A", 1, "unrepresentable"), ("DELTA", "B", 4)]
    assert len(bench.table("quarantine")) == 1


def test_an_unreadable_frame_without_a_market_ends_every_book_of_its_conn(bench: Bench) -> None:
    bench.put(delta(3, "A"), b'{"type":"orderbook_delta","sid":3,"seq":4,"msg":5}', delta(5, "A"))
    closes = [row for row in bench.rows() if row[0] is Kind.CLOSE]
    assert [(row[1], row[2], row[4]) for row in closes] == [("A", 3, "unrepresentable"), ("B", 3, "unrepresentable")]
    assert {row[3] for row in closes} == {bench.now_us - T0 - 1}


@pytest.mark.parametrize(
    "noise", [b"", b"\xff\xfe", b"[]", b"7", b'{"type":5}', b'{"type":"news","msg":{}}', b'{"type":"trade"']
)
def test_noise_is_kept_and_ends_nothing(bench: Bench, noise: bytes) -> None:
    bench.put(noise, delta(3, "A"))
    assert bench.kinds() == [("DELTA", "A", 3)]
    assert [row["bytes"] for row in bench.table("quarantine")] == [noise]


def test_an_unknown_type_that_takes_a_number_is_kept_and_makes_no_gap(bench: Bench) -> None:
    bench.put(b'{"type":"news","sid":2,"seq":1,"msg":{}}', life(2, "A", "activated"))
    assert "sequence" not in bench.notes()
    assert len(bench.table("quarantine")) == 1


@pytest.mark.parametrize(
    "frame",
    [
        trade(1).replace(b'"is_block_trade":false', b'"is_block_trade":"no"'),
        trade(1).replace(b'"trade_id":"t"', b'"trade_id":7'),
        trade(1).replace(b'"market_ticker":"A"', b'"market_ticker":["A"]'),
        life(1, "A", "determined", result=7),
        life(1, "A", "activated", is_deactivated="no"),
        life(1, "A", "created", additional_metadata={"event_ticker": 7}),
        life(1, "A", "created", additional_metadata=[7]),
        life(1, "A", "created", open_ts=10**30),
    ],
)
def test_a_field_of_the_wrong_kind_is_quarantined_and_never_reaches_a_table(bench: Bench, frame: bytes) -> None:
    bench.put(frame, delta(3, "A"))
    assert len(bench.table("quarantine")) == 1
    assert bench.table("trades") == bench.table("lifecycle") == []
    assert bench.kinds() == [("DELTA", "A", 3)]


@pytest.mark.parametrize("frame", [delta(10**30, "A"), snapshot(10**30, "A"), delta(3, "A", sid=10**30)])
def test_a_number_beyond_64_bits_is_quarantined(bench: Bench, frame: bytes) -> None:
    bench.put(frame, delta(3, "A"))
    assert len(bench.table("quarantine")) == 1
    assert bench.kinds()[-1] in {("DELTA", "A", 3), ("ORPHAN", "A", 3)}
    assert bench.conn().tracker.last < 2**63
