"""The changes that a base is summed with.

Owns which rows of the record are read for that, and that withdrawn ones are left out. Never sums.
"""

import numpy as np

from book.records import Kind
from lake import paths
from query.group import POS_HOUR_BITS, Group
from query.rows import BookRows, joined
from query.shard import ShardLog


def changes_after(
    shard: ShardLog, ticker: str, base: Group, ts_us: int, *, exchange: bool = False
) -> tuple[BookRows, BookRows]:
    """Return a base's own rows, and the changes on its conn after it, stamped at or before an instant, in seq order.

    ``exchange`` asks for their ts_exch too. Cost: decodes the batches or row groups of these stamps that hold the
    market.
    """
    history = shard.history(ticker)
    parts: list[BookRows] = []
    own: BookRows | None = None
    sorted_already = False
    first = min(base.hour, paths.hour_of(base.ts_us))
    for hour in history.hours_down(max(paths.hour_of(ts_us), base.hour)):
        if hour < first:
            break
        book = shard.book(hour)
        base_rows, rows, exact = book.stretch(ticker, base, ts_us, exchange=exchange)
        own = base_rows if base_rows is not None else own
        if not exact:
            change = (rows.conn == base.conn) & (rows.kind == Kind.DELTA)
            rows = rows.where(change & (rows.seq > base.seq) & (rows.ts_us <= ts_us))
        withdrawals = history.settled(hour).withdrawals
        if withdrawals.touches(base.conn):
            rows = rows.where(~withdrawals.hidden(base.conn, rows.row + (hour << POS_HOUR_BITS), rows.seq))
        parts.append(rows)
        sorted_already = bool(book.version)
        if hour == first:
            break
    changes = joined(reversed(parts))
    if len(parts) > 1 or not (sorted_already or np.all(changes.seq[1:] >= changes.seq[:-1])):
        changes = changes.take(np.argsort(changes.seq, kind="stable"))
    assert own is not None  # noqa: S101 - the base's hour is one of those, or there were no base
    return own, changes
