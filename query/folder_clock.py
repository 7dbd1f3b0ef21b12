"""A conn's clock out of an hour's folder.

Owns which batches are decoded for it: the index says which shows what. Never reads a published file.
"""

from bisect import bisect_left, bisect_right

import numpy as np

from book.records import Kind
from lake.journal.reader import NO_INSTANT
from query.clocks import Past
from query.group import Group
from query.index import BookIndex, Shown
from query.rows import Numbers

_CHUNK = 32


class FolderClock:
    """One conn in one folder."""

    def __init__(self, index: BookIndex, conn: int, shown: Shown) -> None:
        self._index = index
        self._conn = conn
        self._shown = shown

    def after(self, snapshot: Group) -> int | None:
        """Return the first ts_exch shown after a snapshot. Cost: decodes a batch, a few where it shows none."""
        hour = self._index.hour
        own = snapshot.hour == hour.hour
        first = int(hour.batches("orderbook").of_rows(np.array([snapshot.first_row]))[0]) if own else 0
        for batch in self._shown.batch[bisect_left(self._shown.batch, first) :]:
            rows = self._changes([batch])
            later = rows["ts_exch"][(rows["seq"] > snapshot.seq) & (rows["ts_exch"] != NO_INSTANT)]
            if len(later):
                return int(later[0])
        return None

    def past(self, ts_us: int) -> Past | None:
        """Return the first change past an instant. Cost: decodes a batch."""
        if self._shown.greatest_us[-1] <= ts_us:
            return None
        batch = self._shown.batch[bisect_right(self._shown.greatest_us, ts_us)]
        rows = self._changes([batch])
        found = np.flatnonzero(rows["ts_exch"] > ts_us)
        first = found[np.argmin(rows["seq"][found])]
        return Past(int(rows["seq"][first]), int(rows["ts_recv"][first]))

    def greatest(self, close: Group | None = None) -> int | None:
        """Return the greatest ts_exch shown. Cost: with a close decodes 32 batches up to its stamp, or more."""
        if close is None:
            return self._shown.greatest_us[-1]
        end = bisect_left(self._shown.batch, self._index.batch_range(close.ts_us, close.ts_us)[1])
        while end:
            start = max(0, end - _CHUNK)
            rows = self._changes(self._shown.batch[start:end].tolist())
            valid = rows["ts_exch"][(rows["seq"] <= close.seq) & (rows["ts_exch"] != NO_INSTANT)]
            if len(valid):
                return max(int(valid.max()), self._shown.greatest_us[start - 1] if start else NO_INSTANT)
            end = start
        return None

    def _changes(self, numbers: list[int]) -> dict[str, Numbers]:
        """Return stamps and seq of the conn's changes in some batches."""
        rows = self._index.hour.integers("orderbook", numbers, ("ts_recv", "ts_exch", "conn", "seq", "kind"))
        change = (rows["kind"] == Kind.DELTA) | (rows["kind"] == Kind.ORPHAN)
        wanted = change & (rows["conn"] == self._conn)
        return {name: column[wanted] for name, column in rows.items()}
