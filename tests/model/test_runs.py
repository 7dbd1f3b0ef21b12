"""A run of changes taken at once leaves what the same changes leave one by one: rows, state and books."""

from collections import defaultdict
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from book.records import HOUR_US, Kind, Reason
from book.wire.batch import NO_TIME_US
from book.wire.commands import ORDERBOOK
from collector import spans
from collector.conns import Conn
from collector.spans import Spans

T0_US = 496_000 * HOUR_US
MARKETS = ("A", "B", "C")
PRICES = (4500, 4600, 4610, 4611)
Change = tuple[int, int, int, int, int, int]
"""Market, side, place of the price, change, microseconds since the last one, exchange's time or none."""

changes = st.tuples(
    st.integers(0, 2), st.integers(0, 1), st.integers(0, 3), st.integers(-4, 6).filter(bool), st.integers(0, 2),
    st.integers(-1, 5),
)  # fmt: skip
steps = st.one_of(
    st.tuples(st.just("run"), st.integers(0, 1), st.lists(changes, min_size=1, max_size=14)),
    st.tuples(st.just("run"), st.just(0), st.lists(changes, min_size=1, max_size=14)),
    st.tuples(st.just("book"), st.integers(0, 1), st.tuples(st.integers(0, 2), st.integers(0, 5))),
    st.tuples(st.just("gap"), st.integers(0, 1), st.just(())),
    st.tuples(st.just("step"), st.just(0), st.just(())),
    st.tuples(st.just("hour"), st.just(0), st.just(())),
    st.tuples(st.just("unreadable"), st.integers(0, 1), st.tuples(st.integers(0, 2))),
)


class Side:
    """One of the two that are compared; ``whole`` takes runs at once."""

    def __init__(self, whole: bool) -> None:
        self.whole = whole
        self.spans = Spans()
        self.conns = [Conn((1000 + number) * 1024, number, 1, ORDERBOOK, T0_US) for number in (0, 1)]
        for conn in self.conns:
            self.spans.conns[conn.id] = conn
        self.markets = [self.spans.market(ticker) for ticker in MARKETS]
        self.ts_us = T0_US
        self.rows: dict[tuple[str, bool], list[dict[str, Any]]] = defaultdict(list)

    def do(self, what: str, number: int, args: Any) -> None:
        conn = self.conns[number]
        conn.frame_us = self.ts_us
        if what == "run":
            self.run(conn, args)
        elif what == "book":
            market, size = args
            self.snapshot(conn, market, ((0, 4500, 100), (1, 4610, size))[: 1 + bool(size)])
        elif what == "gap":
            seq = conn.tracker.last
            conn.tracker.last += 2
            self.spans.end_conn(conn, conn.order_us or self.ts_us, self.ts_us, seq, Reason.SEQ_GAP)
        elif what == "step":
            self.spans.clock_step(self.ts_us)
            self.ts_us += 1
        elif what == "unreadable":
            conn.tracker.last += 1
            self.spans.unreadable(conn, self.markets[args[0]], self.ts_us)
        else:
            self.ts_us = (self.ts_us // HOUR_US + 1) * HOUR_US
        self.take()

    def snapshot(self, conn: Conn, market: int, levels: tuple[tuple[int, int, int], ...]) -> None:
        conn.tracker.last += 1
        self.spans.snapshot(conn, self.markets[market], self.ts_us, conn.tracker.last, levels)
        conn.order_us = self.ts_us

    def run(self, conn: Conn, run: list[Change]) -> None:
        rows = []
        for market, side, price, change, later_us, exch_us in run:
            self.ts_us += later_us
            conn.tracker.last += 1
            exch = NO_TIME_US if exch_us < 0 else self.ts_us + exch_us
            rows.append((self.markets[market], self.ts_us, exch, conn.tracker.last, side, PRICES[price], change))
        conn.frame_us = conn.order_us = self.ts_us
        if self.whole:
            self.spans.deltas(conn, *np.array(rows, np.int64).T)
        else:
            for market, ts_us, exch, seq, *level in rows:
                self.spans.delta(conn, market, ts_us, exch, seq, (level[0], level[1], level[2]))

    def take(self) -> None:
        tables, self.hours = self.spans.take()
        for name, batch in tables.items():
            for row in batch.to_pylist():
                self.rows[row["ticker"], name == "orderbook" and row["kind"] == Kind.ORPHAN].append(row)


@given(st.lists(steps, max_size=25))
@settings(max_examples=250, deadline=None)
def test_a_run_at_once_is_the_same_as_one_by_one(script: list[tuple[str, int, Any]]) -> None:
    with patch.object(spans, "CHECKPOINT_EVERY", 5):
        whole, single = Side(whole=True), Side(whole=False)
        opening = [("book", 0, (market, 3)) for market in range(3)]
        for what, number, args in (*opening, *script):
            for side in (whole, single):
                side.do(what, number, args)
            assert whole.rows == single.rows
            assert whole.hours == single.hours
            assert whole.spans.given_up == single.spans.given_up
            assert whole.spans.closes == single.spans.closes
            assert whole.spans.state.tolist() == single.spans.state.tolist()
            for market in whole.markets:
                assert whole.spans.ladders.rows(market) == single.spans.ladders.rows(market)
            for one, other in zip(whole.conns, single.conns, strict=True):
                assert (one.exch_us, one.ended) == (other.exch_us, other.ended)
