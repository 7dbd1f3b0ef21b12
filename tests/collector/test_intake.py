"""What each message does, alone and in the wrong place."""

import random
from typing import Any

import numpy as np
import pytest

from book.records import HOUR_US, Kind
from book.wire import encode
from book.wire.commands import DELETE_MARKETS, LIFECYCLE, ORDERBOOK, TRADE, Command, Subscribe, Unsubscribe, Update
from collector.asks import NS, Asks, Stage
from collector.conns import Conn, ConnNumbers
from collector.intake import Intake
from collector.links import EARLY_MOST, Link
from collector.spans import Spans

T0 = 500_000 * HOUR_US
BOOK = ((0, 4500, 100), (1, 5000, 200))
TRADES, LIVES, BOOKS = 1, 2, 3


class Bench:
    """One link with its three subscriptions; frames go in one microsecond apart unless a stamp is given."""

    def __init__(self, tickers: tuple[str, ...] = ("A", "B"), *, subscribe: bool = True) -> None:
        self.spans = Spans()
        self.intake = Intake(self.spans, ConnNumbers(0))
        self.asks = Asks(random.Random(1), most_markets=100, audit_every_s=900.0)
        self.link = Link(1, 40_001, self.asks, 0, T0)
        self.now_us = T0
        self.asks.open(self.now_ns)
        if subscribe:
            for command, sid in zip(self.commands(), (TRADES, LIVES), strict=True):
                self.put(encode.subscribed(command.id, command.channels[0], sid))
            self.subscribe(BOOKS, tickers)

    @property
    def now_ns(self) -> int:
        return (self.now_us - T0) * 1000 + NS

    def commands(self, later_s: float = 0.0) -> list[Any]:
        """Let time pass and return what is sent."""
        self.now_us += int(later_s * 1_000_000)
        if later_s:
            self.asks.tick(self.now_ns)
        sent: list[Command] = list(self.asks.out)
        self.asks.out.clear()
        return sent

    def subscribe(self, sid: int, tickers: tuple[str, ...]) -> None:
        self.asks.want(tickers)
        (command,) = self.commands(0.1)
        self.put(encode.subscribed(command.id, ORDERBOOK, sid))

    def put(self, *frames: bytes, at_us: int | None = None) -> None:
        stamps = [self.now_us + 1 + i if at_us is None else at_us for i in range(len(frames))]
        self.now_us = stamps[-1]
        self.intake.frames(self.link, list(frames), np.array(stamps, np.int64), self.now_ns)

    def conn(self, sid: int = BOOKS) -> Conn:
        return self.link.conns[sid]

    def rows(self) -> list[tuple[Any, ...]]:
        """Rows of the order book since the last call: (kind, ticker, seq, ts - T0, reason)."""
        batch = self.spans.take()[0].get("orderbook")
        if batch is None:
            return []
        stamps = [ts - T0 for ts in batch["ts_recv"].cast("int64").to_pylist()]
        names = ("ticker", "seq", "reason")
        ticker, seq, reason = (batch[name].to_pylist() for name in names)
        kinds = map(Kind, batch["kind"].to_pylist())
        return list(dict.fromkeys(zip(kinds, ticker, seq, stamps, reason, strict=True)))

    def kinds(self) -> list[tuple[Any, ...]]:
        return [(row[0].name, *row[1:3], *([row[4]] if row[4] else [])) for row in self.rows()]

    def table(self, name: str) -> list[dict[str, Any]]:
        batch = getattr(self.intake, name).take()
        return [] if batch is None else batch.to_pylist()

    def notes(self) -> list[str]:
        return [event for event, _ in self.intake.notes]


@pytest.fixture
def bench() -> Bench:
    """Stand subscribed to A and B, both books known: seq 1 and 2."""
    bench = Bench()
    bench.put(snapshot(1, "A"), snapshot(2, "B"))
    bench.rows()
    return bench


def snapshot(seq: int, ticker: str, levels: tuple[Any, ...] = BOOK, *, sid: int = BOOKS, **more: Any) -> bytes:
    return encode.snapshot(sid, seq, ticker, levels, **more)


def delta(seq: int, ticker: str, change_e2: int = 5, *, sid: int = BOOKS, **more: Any) -> bytes:
    return encode.delta(sid, seq, ticker, 0, 4500, change_e2, T0 - 500, **more)


def trade(seq: int | None, trade_id: str = "t", *, sid: int = TRADES) -> bytes:
    frame = encode.trade(
        sid,
        seq or 0,
        ticker="A",
        trade_id=trade_id,
        yes_price_e4=4500,
        qty_e2=100,
        taker_side=0,
        block=False,
        ts_us=T0 - 500_000,
    )
    return frame if seq else frame.replace(b',"seq":0', b"")


def life(seq: int, ticker: str, event_type: str, **fields: Any) -> bytes:
    return encode.lifecycle(LIVES, seq, {"event_type": event_type, "market_ticker": ticker, **fields})


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
    assert [row[1:] for row in bench.rows()] == [(ticker, 3, 700_000, "unsubscribed") for ticker in ("A", "B")]
    (again,) = bench.commands(0.1)
    assert again.tickers == ("A", "B")


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
    assert bench.asks.roster.audits.keys() == {"B"}


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
    assert bench.spans.state[bench.spans.market("NEW")]["close_us"] == 1_795_552_200_000_000
    assert bench.spans.state[bench.spans.market("OLD")]["finished"]
    assert bench.intake.rescheduled == [(1_795_552_200_000_000, "NEW")]
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
                bench.intake.frames(bench.link, frames[part], np.array(stamps[part], np.int64), bench.now_ns)
            seen.append((sorted(bench.rows(), key=lambda row: (row[3], row[2], row[0], row[1])), bench.table("trades")))
        assert seen[0] == seen[1] == seen[2]
