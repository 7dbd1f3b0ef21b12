"""Adding changes to a base.

Owns the sum of a book from columns; book.ladder.Book is what it must equal. Never chooses the rows.
"""

import numpy as np

from book.errors import NegativeLevelError
from book.records import Level
from query.rows import PRICE_MASK, SIDE_BITS, BookRows

_FIRST = np.zeros(1, np.int64)


def fold(base: BookRows, changes: BookRows) -> list[Level]:
    """Return the levels of a base's rows plus the changes: (side, price_e4, qty_e2), YES before NO, prices ascending.

    Raises NegativeLevelError where a level falls below zero. Cost: about 15 us and 10 ns a row.
    """
    level = np.concatenate((base.level, changes.level))
    qty_e2 = np.concatenate((base.qty_e2, changes.qty_e2))
    if not len(level):
        return []
    order = level.argsort(kind="stable")  # by counting: 16 bits
    level = level[order]
    starts = np.concatenate((_FIRST, np.flatnonzero(level[1:] != level[:-1]) + 1))
    total_e2 = np.add.reduceat(qty_e2[order], starts)
    used = np.flatnonzero(total_e2)
    level, sizes_e2 = level[starts[used]], total_e2[used]
    sides, prices_e4 = level >> SIDE_BITS, level & PRICE_MASK
    if len(used) and int(sizes_e2.min()) < 0:
        worst = int(sizes_e2.argmin())
        raise NegativeLevelError(int(sides[worst]), int(prices_e4[worst]), 0, int(sizes_e2[worst]))
    return list(zip(sides.tolist(), prices_e4.tolist(), sizes_e2.tolist(), strict=True))
