"""Frames of several links taken at once leave what the same frames leave one by one: rows, state and books."""

import random
from collections import defaultdict
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from book.records import HOUR_US
from book.wire import encode
from book.wire.commands import LIFECYCLE, ORDERBOOK, TRADE
from collector.asks import Asks
from collector.conns import ConnNumbers
from collector.cutting import unbroken
from collector.intake import Intake
from collector.links import Link, Mark
from collector.metadata import Metadata
from collector.rota import NS
from collector.spans import Spans

T0 = 500_000 * HOUR_US
TICKERS = ("A", "B", "C")
FIRST, SECOND, OTHER = 0, 1, 2
"""Two links with books, the second of the larger conn, and one with trades and lifecycle messages."""

market, link = st.integers(0, 2), st.integers(0, 1)
steps = st.one_of(
    st.tuples(st.just("delta"), link, market, st.integers(-3, 6).filter(bool)),
    st.tuples(st.just("delta"), link, market, st.integers(-3, 6).filter(bool)),
    st.tuples(st.just("book"), link, market, st.integers(0, 2)),
    st.tuples(st.just("gap"), link, market, st.just(1)),
    st.tuples(st.just("bad"), link, market, st.just(0)),
    st.tuples(st.just("trade"), st.just(OTHER), market, st.just(0)),
    st.tuples(st.just("determined"), st.just(OTHER), market, st.just(0)),
)


class Side:
    """A session's inside with three links, all markets wanted on both that have books."""

    def __init__(self) -> None:
        self.spans = Spans()
        self.intake = Intake(self.spans, ConnNumbers(0), Metadata())
        self.links = []
        for number in range(3):
            asks = Asks(random.Random(1), most_markets=100, audit_every_s=900.0)
            self.links.append(Link(number + 1, 40_000, asks, 0, T0))
        for number in (FIRST, SECOND):
            asks = self.links[number].asks
            asks.want(TICKERS)
            asks.tick(NS)
            self.take([(number, encode.subscribed(asks.out[-1].id, ORDERBOOK, 1))], T0)
        self.take([(OTHER, encode.subscribed(None, TRADE, 1)), (OTHER, encode.subscribed(None, LIFECYCLE, 2))], T0)

    def take(self, said: list[tuple[int, bytes]], first_us: int) -> None:
        of = np.array([number for number, _ in said], np.int64)
        stamps = np.arange(first_us, first_us + len(said))
        self.intake.frames(self.links, of, [frame for _, frame in said], stamps, NS)

    def left(self) -> Any:
        rows: dict[tuple[str, int], list[Any]] = defaultdict(list)
        tables, hours = self.spans.take()
        for name, batch in tables.items():
            for row in batch.to_pylist():
                rows[row["ticker"], row["conn"]].append((name, *row.values()))
        trades = self.intake.trades.take()
        books = [self.spans.ladders.rows(number) for number in range(len(self.spans.names))]
        missing = [sorted(link.asks.roster.missing) for link in self.links]
        conns = [(conn.tracker.last, conn.order_us, conn.ended, conn.apart) for conn in self.spans.conns.values()]
        return (
            rows, hours, None if trades is None else trades.to_pylist(), books, missing, conns, self.spans.names,
            self.spans.state.tolist(), self.spans.closes, self.intake.counts, self.intake.messages,
        )  # fmt: skip


def frames(script: list[tuple[str, int, int, int]]) -> list[tuple[int, bytes]]:
    seqs: dict[tuple[int, int], int] = defaultdict(int)
    said = []
    for what, number, which, amount in script:
        sid = 2 if what == "determined" else 1
        seqs[number, sid] += 1 + (what == "gap")
        seq, ticker = seqs[number, sid], TICKERS[which]
        if what == "book":
            frame = encode.snapshot(1, seq, ticker, ((0, 4500, 3), (1, 4600, 5))[:amount])
        elif what == "trade":
            frame = encode.trade(
                1, seq, ticker=ticker, trade_id=str(seq), yes_price_e4=4500, qty_e2=100, taker_side=0, block=False,
                ts_us=T0,
            )  # fmt: skip
        elif what == "determined":
            frame = encode.lifecycle(2, seq, {"event_type": "determined", "market_ticker": ticker, "result": "yes"})
        else:
            frame = encode.delta(1, seq, ticker, 0, 4500, amount or 1, T0)
            frame = frame.replace(b'"0.4500"', b'"0.45005"') if what == "bad" else frame
        said.append((number, frame))
    return said


@given(st.lists(steps, max_size=40))
@settings(max_examples=120, deadline=None)
def test_at_once_is_the_same_as_one_by_one(script: list[tuple[str, int, int, int]]) -> None:
    opening = [("book", FIRST, which, 2) for which in range(3)]
    said = frames([*opening, *script])
    whole, single = Side(), Side()
    whole.take(said, T0 + 1)
    for place, one in enumerate(said):
        single.take([one], T0 + 1 + place)
    assert whole.left() == single.left()


def test_parts_are_cut_where_a_silence_of_any_link_ends_and_around_marks() -> None:
    at_s = [0.0, 0.1, 3.0, 3.1, 3.2, 3.3, 6.0]
    links = [1, 2, 2, 1, 3, 2, 2]
    payloads: list[Any] = [b"{}", Mark.PONG, b"{}", b"{}", Mark.OVERFLOW, b"{}", b"{}"]
    mono_ns = np.array([int(at * NS) for at in at_s])
    items = list(zip(links, mono_ns.tolist(), payloads, strict=True))
    heard = {1: 0, 2: 0, 3: 0}
    found = list(unbroken(items, mono_ns, 0, len(items), heard, int(2.5 * NS)))
    assert found == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    assert list(unbroken(items, mono_ns, 3, 6, {1: 0}, 10 * NS)) == [(3, 4), (4, 5), (5, 6)]
