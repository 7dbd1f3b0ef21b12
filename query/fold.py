"""Adding changes to a base.

Owns the sum of a book from columns; book.ladder.Book is what it must equal. Never chooses the rows.
"""

import numpy as np

from book.errors import NegativeLevelError
from book.records import Level
from query.rows import BookRows

_SIDE_BITS = 14
_SLOTS = 2 << _SIDE_BITS


def fold(base: BookRows, changes: BookRows) -> list[Level]:
    """Return the levels of a base's rows plus the changes: (side, price_e4, qty_e2), YES before NO, prices ascending.

    Raises NegativeLevelError where a level falls below zero. Cost: about 40 us and 10 ns a row.
    """
    total_e2 = np.zeros(_SLOTS, np.int64)
    for part in (base, changes):
        slot = (part.side.astype(np.int64) << _SIDE_BITS) + part.price_e4
        np.add.at(total_e2, slot, part.qty_e2)
    used = np.flatnonzero(total_e2 != 0)
    sizes_e2 = total_e2[used]
    sides, prices_e4 = used >> _SIDE_BITS, used & ((1 << _SIDE_BITS) - 1)
    if len(used) and int(sizes_e2.min()) < 0:
        worst = int(sizes_e2.argmin())
        raise NegativeLevelError(int(sides[worst]), int(prices_e4[worst]), 0, int(sizes_e2[worst]))
    return list(zip(sides.tolist(), prices_e4.tolist(), sizes_e2.tolist(), strict=True))
