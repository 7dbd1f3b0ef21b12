"""What is known of a market at an instant of the exchange's clock.

Owns the reading of ``clock="exchange"``: of a span's records in seq order, the longest run whose running maximum of
ts_exch is at most the instant. It is final once the conn has shown a later ts_exch, within the span. A checkpoint
carries its span's maximum; a snapshot its conn's, else its ts_recv. Rows are looked for up to 60 s of receipt past
the instant, and proof that the conn went on from 60 s before it. Silences do not matter here: what was held back
arrives in order with its own stamps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from book.records import Kind, Reason
from lake.batches import Ints
from lake.reader import NO_INSTANT
from query.changes import changes_after
from query.gap import Gap
from query.index import BookIndex, Group
from query.log import Log
from query.rows import BookRows
from query.shard import ShardLog
from query.state import Before, Ended, Unheard, Unwanted

LOOK_US = 60_000_000
_SHOWS = (Kind.SNAPSHOT, Kind.DELTA, Kind.ORPHAN)
_FIRST_CHUNK = 16
_MOST_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Run:
    """The book is the fold of a base's own ``rows`` and the run of ``changes`` after it."""

    base: Group
    rows: BookRows
    changes: BookRows


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The instant lies in a gap between spans; ``run`` is all that its span knew."""

    gap: Gap
    run: Run


@dataclass(frozen=True, slots=True)
class _Span:
    """Where an instant falls: the base to start from, the close of its span, what opens the next one."""

    base: Group
    close: Group | None
    next_us: int | None
    """The exchange's time of the next base, None where none is in sight."""
    last_seq: int
    """The last seq that belongs to the span."""


def state_at(log: Log, shard: ShardLog, ticker: str, ts_us: int) -> Run | Lapsed | Before | Ended | Unwanted | Unheard:
    """Return what one shard's log knows of a market at an instant of the exchange's clock, inclusive.

    Cost: decodes the market's batches from the base to 60 s past the instant, and of all batches of that time those
    needed to see the conn go on.
    """
    horizon_us = ts_us + LOOK_US
    found = _find_span(shard, ticker, ts_us, horizon_us)
    if isinstance(found, Before):
        return found
    rows, changes = changes_after(log, shard, ticker, found.base, horizon_us)
    changes = changes.take(changes.seq <= found.last_seq)
    start_us = _exchange_us(found.base)
    reached = np.maximum.accumulate(np.maximum(changes.exch_us, start_us))
    length = int(np.searchsorted(reached, ts_us, side="right"))
    run = Run(found.base, rows, changes.take(slice(0, length)))
    if length < len(changes):
        return run
    shown_us = _greatest_shown(shard, found, ts_us)
    if shown_us > ts_us:
        return run
    last_us = max(shown_us, int(reached[-1]) if len(reached) else start_us)
    if found.close is None:
        return Unheard(found.base.conn, last_us)
    if found.close.reason == Reason.MARKET_CLOSED:
        return Ended(found.close.ts_us)
    if found.close.reason == Reason.UNSUBSCRIBED:
        return Unwanted(found.close.ts_us)
    reason = found.close.reason or ""
    gap = Gap(ticker, last_us, found.next_us, reason, found.base.conn, last_us - 1, found.next_us)
    return Lapsed(gap, run)


def _exchange_us(base: Group) -> int:
    return base.ts_us if base.exch_us == NO_INSTANT else base.exch_us


def _find_span(shard: ShardLog, ticker: str, ts_us: int, horizon_us: int) -> _Span | Before:
    close: Group | None = None
    next_base: Group | None = None
    next_snapshots: list[Group] = []
    closes: list[Group] = []
    history = shard.history(ticker)
    for group in history.descending(horizon_us):
        if group.kind == Kind.CLOSE:
            closes.append(group)
        elif _exchange_us(group) > ts_us or (group.kind == Kind.CHECKPOINT and group.exch_us == NO_INSTANT):
            next_base = group
            if group.kind == Kind.SNAPSHOT:
                next_snapshots.append(group)
        else:
            close = next((each for each in reversed(closes) if each.conn == group.conn), None)
            again = [each.seq - 1 for each in next_snapshots if each.conn == group.conn]
            ends = [*again, close.seq] if close else again
            next_us = _exchange_us(next_base) if next_base else None
            return _Span(group, close, next_us, min(ends, default=1 << 62))
    if next_base is None:
        next_base = next((group for group in history.ascending(horizon_us) if group.kind != Kind.CLOSE), None)
    return Before(_exchange_us(next_base) if next_base else None)


def _greatest_shown(shard: ShardLog, span: _Span, ts_us: int) -> int:
    """Return the greatest ts_exch of the span's conn in rows received near an instant; the first past it will do."""
    greatest_us = NO_INSTANT
    for index, numbers in _batches_near(shard, ts_us - LOOK_US, ts_us + LOOK_US):
        columns = index.hour.integers("orderbook", numbers, ("ts_exch", "conn", "seq", "kind"))
        shows = (columns["conn"] == span.base.conn) & (columns["seq"] <= span.last_seq)
        stamps = columns["ts_exch"][shows & np.isin(columns["kind"], _SHOWS)]
        if len(stamps):
            greatest_us = max(greatest_us, int(stamps.max()))
        if greatest_us > ts_us:
            break
    return greatest_us


def _batches_near(shard: ShardLog, from_us: int, to_us: int) -> Iterator[tuple[BookIndex, Ints]]:
    """Yield the batches that hold rows received in a stretch of time, in chunks, those after its middle first."""
    middle_us = (from_us + to_us) // 2
    for start_us, end_us in ((middle_us, to_us), (from_us, middle_us)):
        for hour in shard.hours_between(start_us, end_us):
            index = shard.book(hour)
            first, end = index.batch_range(start_us, end_us)
            size = _FIRST_CHUNK
            while first < end:
                yield index, np.arange(first, min(end, first + size))
                first, size = first + size, min(2 * size, _MOST_CHUNK)
