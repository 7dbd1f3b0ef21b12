"""Decoded rows of the order book, as columns.

Owns their form. Never reads one, and never decides which count.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lake.batches import Ints
from lake.reader import NO_INSTANT

COLUMNS = ("ts_recv", "ts_exch", "conn", "seq", "kind", "side", "price_e4", "qty_e2")
_OBJECT_BYTES = 1200
Numbers = NDArray[np.signedinteger]


@dataclass(slots=True)
class BookRows:
    """Rows of the order book as columns of one length, ascending by row number of their hour.

    An absent instant of the exchange is NO_INSTANT, so are all where they were not asked for.
    """

    row: Ints
    ts_us: Numbers
    exch_us: Numbers
    conn: Numbers
    seq: Numbers
    kind: Numbers
    side: Numbers
    price_e4: Numbers
    qty_e2: Numbers

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.row)

    def take(self, chosen: "slice | NDArray[np.bool_] | Numbers") -> "BookRows":
        """Return the chosen rows; a slice copies nothing."""
        return BookRows(
            self.row[chosen],
            self.ts_us[chosen],
            self.exch_us[chosen],
            self.conn[chosen],
            self.seq[chosen],
            self.kind[chosen],
            self.side[chosen],
            self.price_e4[chosen],
            self.qty_e2[chosen],
        )

    def where(self, chosen: NDArray[np.bool_]) -> "BookRows":
        """Return the rows chosen by a mask; nothing is copied where that is all of them."""
        return self if chosen.all() else self.take(chosen)

    def between(self, first_row: int, end_row: int) -> "BookRows":
        """Return the rows numbered from ``first_row`` up to, not including, ``end_row``."""
        start, end = self.row.searchsorted((first_row, end_row)).tolist()
        return self.take(slice(start, end))

    def nbytes(self) -> int:
        """Return the memory the columns hold, about."""
        return _OBJECT_BYTES + sum(int(column.nbytes) for column in self.columns())

    def columns(self) -> tuple[Numbers, ...]:
        """Return the columns in the order of the fields."""
        return (
            self.row,
            self.ts_us,
            self.exch_us,
            self.conn,
            self.seq,
            self.kind,
            self.side,
            self.price_e4,
            self.qty_e2,
        )


def joined(parts: Iterable[BookRows]) -> BookRows:
    """Return the rows of all parts, one after the other."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    if not found:
        return BookRows(*(np.zeros(0, np.int64) for _ in range(9)))
    return BookRows(*(np.concatenate(columns) for columns in zip(*(part.columns() for part in found), strict=True)))


def no_instants(count: int) -> Numbers:
    """Return a column of absent instants. Cost: none, it is one number."""
    return np.broadcast_to(np.int64(NO_INSTANT), count)
