"""Decoded rows of the order book, as columns.

Owns their form. Never reads one, and never decides which count.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lake.journal.batches import Ints

SIDE_BITS = 14
"""A price has as many bits: the side stands above them."""
PRICE_MASK = (1 << SIDE_BITS) - 1
_OBJECT_BYTES = 1200
Numbers = NDArray[np.signedinteger]
Levels = NDArray[np.uint16]
"""Levels of a book as one number each: side << 14 | price_e4."""


@dataclass(slots=True)
class BookRows:
    """Rows of the order book as columns of one length, ascending by row number of their hour.

    An absent instant of the exchange is NO_INSTANT. Columns that were not asked for say nothing.
    """

    row: Ints
    ts_us: Numbers
    exch_us: Numbers
    conn: Numbers
    seq: Numbers
    kind: Numbers
    level: Levels
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
            self.level[chosen],
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

    def columns(self) -> tuple[NDArray[np.integer], ...]:
        """Return the columns in the order of the fields."""
        return self.row, self.ts_us, self.exch_us, self.conn, self.seq, self.kind, self.level, self.qty_e2


def joined(parts: Iterable[BookRows]) -> BookRows:
    """Return the rows of all parts, one after the other."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    if not found:
        none = np.zeros(0, np.int64)
        return BookRows(none, none, none, none, none, none, np.zeros(0, np.uint16), none)
    return BookRows(*map(np.concatenate, zip(*(part.columns() for part in found), strict=True)))


def levels(side: Numbers, price_e4: Numbers) -> Levels:
    """Return sides and prices as one number each; an empty book's row is level 0 of size 0."""
    found: Levels = np.left_shift(side, SIDE_BITS, dtype=np.uint16, casting="unsafe")
    np.bitwise_or(found, price_e4, out=found, casting="unsafe")
    return found
