"""An hour of changes written as a log, by the collector's own spans and journal, without messages to decode.

Owns the flushes: one each 50 ms, as a collector makes them. The books are subscribed in the hour before, and the next
hour is begun, so that the hour has its END.
"""

from pathlib import Path

import numpy as np

from bench.flow import Flow
from book.records import HOUR_US
from book.wire.commands import ORDERBOOK
from collector.conns import Conn, ConnNumbers
from collector.journal import Journal
from collector.recorder import BATCH_S
from collector.spans import Spans
from collector.taken import Taken
from lake import paths
from ops.settings import Settings

LEAD_US = 2_000_000
"""How long before the hour the books are subscribed."""
_BATCH_US = int(BATCH_S * 1_000_000)


class _Shard:
    """One conn, its spans and the journal behind them."""

    def __init__(self, home: Path, start_us: int) -> None:
        self.now_us = start_us
        self.journal = Journal(home, 0, seal_s=Settings().seal_s, monotonic_s=lambda: self.now_us / 1e6)
        self.spans = Spans()
        self.conn = Conn(ConnNumbers(0).next(start_us), 1, 1, ORDERBOOK, start_us)
        self.spans.conns[self.conn.id] = self.conn

    def take_numbers(self, count: int) -> int:
        """Give numbers to the next messages, all of which become rows; return the first."""
        first = self.conn.tracker.last + 1
        self.conn.tracker.last += count
        self.conn.tabled += count
        return first

    def flush(self, at_us: int) -> None:
        """Acknowledge what the spans hold; the conn is heard at ``at_us``."""
        self.now_us = self.conn.frame_us = at_us
        tables, hours = self.spans.take()
        conns = {self.conn.id: (at_us, self.conn.tracker.last, self.conn.up, self.conn.apart)}
        self.journal.write(paths.hour_of(at_us), Taken(tables, conns, [], hours, at_us))


def write(flow: Flow, home: Path, hour: int) -> None:
    """Write a flow, all of whose stamps lie in ``hour``, as the log of shard 0. Cost: about 0.5 ms a flush."""
    from_us = paths.hour_start_us(hour)
    shard = _Shard(home, from_us - LEAD_US)
    for ticker, levels in zip(flow.tickers, flow.first, strict=True):
        shard.spans.snapshot(shard.conn, shard.spans.market(ticker), shard.now_us, shard.take_numbers(1), levels)
    shard.flush(shard.now_us)
    cuts = np.flatnonzero(np.diff(flow.ts_us // _BATCH_US)) + 1
    for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(flow.ts_us)], strict=True):
        part = slice(start, end)
        at_us = int(flow.ts_us[end - 1])
        shard.conn.frame_us = at_us
        seq = shard.take_numbers(end - start) + np.arange(end - start)
        level = (flow.side[part], flow.price_e4[part], flow.change_e2[part])
        shard.spans.deltas(shard.conn, flow.market[part], flow.ts_us[part], flow.exch_us[part], seq, *level)
        shard.flush(at_us)
    shard.flush(from_us + HOUR_US)
    shard.flush(from_us + HOUR_US + _BATCH_US)
    shard.journal.close()
