"""The changes that a base is summed with.

Owns which rows of the log are read for that, and that withdrawn ones are left out. Never sums.
"""

import numpy as np

from book.records import Kind
from lake import paths
from query.index import POS_HOUR_BITS, Group
from query.log import Log
from query.rows import BookRows, joined
from query.shard import ShardLog


def changes_after(log: Log, shard: ShardLog, ticker: str, base: Group, ts_us: int) -> tuple[BookRows, BookRows]:
    """Return a base's own rows, and the changes on its conn after it, stamped at or before an instant, in seq order.

    Cost: decodes the batches of these stamps that hold the market.
    """
    history = shard.history(ticker)
    parts: list[BookRows] = []
    own: BookRows | None = None
    for hour in shard.hours_between(base.ts_us, max(ts_us, paths.hour_start_us(base.hour))):
        index = shard.book(hour)
        first, end = index.batch_range(base.ts_us, ts_us)
        if hour == base.hour:
            own, rows = _with_base(log, shard, ticker, base, first, end)
        else:
            rows = log.rows.read(index, ticker, first, end)
        after = (rows.conn == base.conn) & (rows.seq > base.seq) & (rows.ts_us <= ts_us)
        rows = rows.take(after & (rows.kind == Kind.DELTA))
        hidden = history.settled(hour).withdrawals.hidden(base.conn, rows.row + (hour << POS_HOUR_BITS), rows.seq)
        parts.append(rows.take(~hidden) if hidden.any() else rows)
    changes = joined(parts)
    if len(parts) > 1 or np.any(np.diff(changes.seq) < 0):
        changes = changes.take(np.argsort(changes.seq, kind="stable"))
    assert own is not None  # noqa: S101 - the base's hour has a folder, or there were no base
    return own, changes


def _with_base(log: Log, shard: ShardLog, ticker: str, base: Group, first: int, end: int) -> tuple[BookRows, BookRows]:
    """Return a base's rows and the market's rows in the batches [first, end) of the base's hour."""
    index = shard.book(base.hour)
    span = np.array([base.first_row, base.first_row + base.rows - 1])
    base_first, base_last = index.hour.batches("orderbook").of_rows(span).tolist()
    near = base_first <= end and base_last >= first - 1 and first < end
    if near:
        first, end = min(first, base_first), max(end, base_last + 1)
        rows = log.rows.read(index, ticker, first, end)
        return rows.between(base.first_row, base.first_row + base.rows), rows
    own = log.rows.read(index, ticker, base_first, base_last + 1)
    rows = log.rows.read(index, ticker, first, end)
    return own.between(base.first_row, base.first_row + base.rows), rows
