"""When a firehose is known, and the lapses that each kind of interruption leaves."""

from typing import Any

import msgspec
import pytest

from book.records import Reason
from book.wire import encode
from collector.links import Ended, Mark, Role, Slot
from collector.taken import Taken
from lake.journal.flush import FeedMark
from tests.collector.sessions import T0, Bench

TAPE = Slot(0, Role.TAPE)
TRADES, TICKERS = 1, 2
S = 1_000_000


def trade(seq: int, **more: Any) -> bytes:
    return encode.trade(
        TRADES, seq, ticker="A", trade_id=f"t{seq}", yes_price_e4=4500, qty_e2=100, taker_side=0, block=False, ts_us=T0
    ).replace(*more.get("altered", (b"", b"")))


def ticker(**more: object) -> bytes:
    body = {
        "market_ticker": "A", "price_dollars": "0.4300", "yes_bid_dollars": "0.4200", "yes_ask_dollars": "0.4400",
        "yes_bid_size_fp": "55.37", "yes_ask_size_fp": "146.50", "last_trade_size_fp": "12.00",
        "volume_fp": "351970.25", "open_interest_fp": "182646.00", "dollar_volume": 175985,
        "dollar_open_interest": 91323, "ts_ms": T0 // 1000,
    }  # fmt: skip
    return encode.sequenced("ticker", TICKERS, 0, msgspec.json.encode(body | more)).replace(b'"seq":0,', b"")


@pytest.fixture
def tape() -> Bench:
    """A tape connection whose subscriptions stand since 1 s, with one trade at 2 s, all flushed."""
    bench = Bench()
    connect(bench.after(1000), 1)
    bench.after(1000).frame(trade(1))
    bench.take()
    return bench


def connect(bench: Bench, link: int) -> None:
    bench.session.opened(link, 40_000, bench.now_ns, TAPE)
    bench.sids[link] = 0
    bench.answer(bench.tick(0), link)


def lapses(taken: Taken, channel: str = "trades") -> list[tuple[int, int, str]]:
    return [(one.from_us - T0, one.to_us - T0, one.reason) for one in taken.lapses if one.channel == channel]


def test_a_feed_is_known_from_its_subscription_on(tape: Bench) -> None:
    marks = tape.session.intake.feeds
    feeds, told = marks.take()
    assert (feeds, told) == ({}, [])  # nothing is new
    connect(again := Bench().after(1000), 1)
    taken = again.take()
    assert {name: (mark.known_us - T0, mark.up, mark.since_us - T0) for name, mark in taken.feeds.items()} == {
        "trades": (S, 1, S + 1),
        "tickers": (S, 1, S + 1),
    }
    assert taken.lapses == []


def test_a_gap_lapses_from_the_last_trade_to_the_one_that_showed_it(tape: Bench) -> None:
    tape.after(500).mark(Mark.PONG)
    tape.after(500).frame(trade(3))
    tape.after(500).frame(trade(4))
    taken = tape.take()
    assert lapses(taken) == [(2 * S, 3 * S + 1, "seq_gap")]
    assert lapses(taken, "tickers") == []
    assert taken.feeds == {}


def test_a_silence_lapses_and_loses_nothing(tape: Bench) -> None:
    tape.after(5000).frame(trade(2))
    taken = tape.take()
    assert lapses(taken) == lapses(taken, "tickers") == [(2 * S, 7 * S, "stall")]


def test_a_connection_that_ends_lapses_until_the_next_subscription(tape: Bench) -> None:
    tape.after(500).mark(Mark.PONG)
    tape.after(900).mark(Ended(Reason.DISCONNECT))
    taken = tape.take()
    mark = taken.feeds["trades"]
    assert (mark.known_us - T0, mark.up, mark.reason) == (2 * S + 500_000 - 1, 0, "disconnect")
    assert taken.lapses == []
    connect(tape.after(3000), 2)
    taken = tape.take()
    assert lapses(taken) == lapses(taken, "tickers") == [(2_500_000, 6_400_001, "disconnect")]
    assert taken.feeds["trades"].up


def test_an_overflow_lapses_until_a_number_shows_what_is_missing(tape: Bench) -> None:
    tape.after(500).mark(Mark.OVERFLOW)
    assert lapses(tape.take(), "tickers") == [(2 * S, 2_500_001, "overflow")]
    tape.after(500).mark(Mark.PONG)
    assert tape.take().lapses == []
    tape.after(500).frame(trade(9))
    tape.after(500).frame(trade(10))
    assert lapses(tape.take()) == [(2 * S, 3_500_001, "overflow")]


def test_a_number_that_goes_back_lapses_until_the_subscription_is_new(tape: Bench) -> None:
    tape.after(1).frame(trade(2), trade(3), trade(1))
    tape.after(500).frame(trade(4))
    taken = tape.take()
    assert (taken.feeds["trades"].up, taken.feeds["trades"].reason, taken.lapses) == (0, "seq_gap", [])
    (command,) = [one for one in tape.tick(0) if one["cmd"] == "unsubscribe"]
    tape.after(500).frame(encode.unsubscribed(command["id"], TRADES, 5))
    tape.take()
    for command in (one for _ in range(60) for one in tape.tick(500) if one["cmd"] == "subscribe"):
        tape.frame(encode.subscribed(command["id"], "trade", 3))
        break
    ((from_us, to_us, reason),) = lapses(tape.take())
    assert (from_us, to_us, reason) == (2 * S + 1000, tape.us() - T0 + 1, "seq_gap")


def test_an_error_of_the_venue_lapses_from_the_last_trade(tape: Bench) -> None:
    tape.after(500).mark(Mark.PONG)
    tape.after(500).frame(b'{"type":"error","sid":1,"seq":2,"msg":{"code":25,"msg":"Subscription buffer overflow"}}')
    mark = tape.take().feeds["trades"]
    assert (mark.known_us - T0, mark.up, mark.reason) == (2 * S - 1, 0, "channel_error")


def test_a_clock_that_steps_lapses_until_something_is_heard(tape: Bench) -> None:
    tape.session.clock(T0 + tape.now_ns // 1000, tape.now_ns)
    tape.session.clock(T0 + tape.now_ns // 1000 + 60 * S, tape.now_ns)
    tape.after(100).mark(Mark.PONG)
    ((from_us, to_us, reason),) = lapses(tape.take())
    assert (from_us, reason) == (2 * S, "clock_step")
    assert to_us == pytest.approx(62 * S + 100_000, abs=10)


def test_what_cannot_be_read_lapses_and_closes_no_book(tape: Bench) -> None:
    tape.after(500).frame(trade(2, altered=(b"count_fp", b"sum_fp")))
    tape.after(500).frame(ticker(price_dollars="0.43001"))
    tape.after(500).frame(b"\xff not a message")
    taken = tape.take()
    assert lapses(taken) == [(2 * S, 2_500_001, "unrepresentable")]
    assert lapses(taken, "tickers") == [
        (3 * S, 3 * S + 1, "unrepresentable"),
        (3_500_000, 3_500_001, "unrepresentable"),
    ]
    assert taken.tables["quarantine"].num_rows == 3
    assert "orderbook" not in taken.tables


@pytest.mark.parametrize(
    ("mark", "from_us", "reason"),
    [
        (FeedMark(7, T0 - 900, 1, T0 - 5000), T0 - 900, "crash"),
        (FeedMark(7, T0 - 901, 0, T0 - 5000, "shutdown"), T0 - 900, "shutdown"),
    ],
)
def test_a_restart_lapses_from_the_last_mark(mark: FeedMark, from_us: int, reason: str) -> None:
    bench = Bench()
    bench.session.intake.feeds.resume({"trades": mark})
    assert bench.take().feeds["trades"]._replace(reason="") == mark._replace(known_us=from_us - 1, up=0, reason="")
    connect(bench.after(1000), 1)
    taken = bench.take()
    assert [tuple(one) for one in taken.lapses] == [("trades", 7, from_us, T0 + S + 1, reason)]
    assert taken.feeds["trades"].since_us == T0 - 5000
    assert taken.feeds["tickers"].since_us == T0 + S + 1


def test_tickers_are_rows_without_numbers(tape: Bench) -> None:
    tape.after(100).frame(ticker(), ticker(price_dollars="", yes_bid_size_fp=None, dollar_volume=-3))
    tape.frame(ticker(price_dollars=None, price=43, volume=12, volume_fp=None, time="2026-11-24T20:15:03.662364Z"))
    taken = tape.take()
    rows = taken.tables["tickers"].to_pylist()
    shown = ("price_e4", "yes_bid_e4", "yes_bid_qty_e2", "yes_ask_e4", "yes_ask_qty_e2", "volume_e2", "dollar_volume")
    assert [[row[name] for name in shown] for row in rows] == [
        [4300, 4200, 5537, 4400, 14650, 35_197_025, 175_985],
        [None, 4200, None, 4400, 14650, 35_197_025, -3],
        [4300, 4200, 5537, 4400, 14650, 1200, 175_985],
    ]
    conn = rows[0]["conn"]
    assert taken.conns[conn][1:] == (0, True, 0)
    assert taken.lapses == []
