"""A row group of the order book, decoded.

Owns how its columns become rows: as they lie at first, and all at once where it is asked about again. Never reads a
file.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from lake.journal.reader import NO_INSTANT
from query.rows import BookRows, Levels, Numbers, levels

LEAN = ("ts_recv", "seq", "side", "price_e4", "qty_e2")
"""The columns that tell changes of one conn."""
RECEIVED = (*LEAN, "conn", "kind")
"""Those that tell any rows."""
EXCHANGE = (*RECEIVED, "ts_exch")
"""Those that tell the exchange's clock too."""
_OBJECT_BYTES = 2000


class RowGroup:
    """The rows of one row group, with the columns that were asked for."""

    def __init__(self) -> None:
        self.size_bytes = _OBJECT_BYTES
        """The memory it may come to hold, about."""
        self._arrays: dict[str, pa.Array] = {}
        self._whole: dict[str, Numbers] = {}
        self._levels: Levels | None = None
        self._asked = False

    def missing(self, wanted: Iterable[str]) -> list[str]:
        """Return those columns that it does not have."""
        return [name for name in wanted if name not in self._arrays]

    def add(self, rows: pa.Table) -> None:
        """Take further columns, each in one piece."""
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            self._arrays[name] = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        self.size_bytes += 2 * int(rows.nbytes)

    def rows(self, begin: int, end: int, first_row: int) -> BookRows:
        """Return the rows [begin, end) of the group, whose first is ``first_row`` of its file.

        Columns that it does not have say nothing. Cost: those rows alone the first time, then all of them once, then
        nothing.
        """
        chosen = slice(begin, end)
        ts_us, seq, qty_e2 = (self._column(name, chosen) for name in ("ts_recv", "seq", "qty_e2"))
        level = self._level(chosen)
        none = np.zeros(end - begin, np.int64)
        conn, kind, exch_us = (
            self._column(name, chosen) if name in self._arrays else none for name in ("conn", "kind", "ts_exch")
        )
        self._asked = True
        return BookRows(np.arange(first_row + begin, first_row + end), ts_us, exch_us, conn, seq, kind, level, qty_e2)

    def _column(self, name: str, chosen: slice) -> Numbers:
        found = self._whole.get(name)
        if found is None:
            if not self._asked:
                return _integers(self._arrays[name][chosen])
            found = self._whole[name] = _integers(self._arrays[name])
        return found[chosen]

    def _level(self, chosen: slice) -> Levels:
        if self._levels is None:
            if not self._asked:
                return levels(*(_integers(self._arrays[name][chosen]) for name in ("side", "price_e4")))
            self._levels = levels(*(_integers(self._arrays[name]) for name in ("side", "price_e4")))
        return self._levels[chosen]


def _integers(values: pa.Array) -> Numbers:
    """Return values as an array; null is 0, a null instant NO_INSTANT. Cost: none where there is no null."""
    null = 0
    if pa.types.is_timestamp(values.type):
        values, null = values.view(pa.int64()), NO_INSTANT
    if values.null_count:
        values = values.fill_null(null)
    found: Numbers = values.to_numpy()
    return found
