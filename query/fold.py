"""Adding changes to a base.

Owns the sum of a book from columns; book.ladder.Book is what it must equal. Never chooses the rows.
"""

import numpy as np

from book.errors import NegativeLevelError
from book.records import Level
from query.rows import BookRows

_SIDE_BITS = 14
_FIRST = np.zeros(1, np.int64)


def fold(base: BookRows, changes: BookRows) -> list[Level]:
    """Return the levels of a base's rows plus the changes: (side, price_e4, qty_e2), YES before NO, prices ascending.

    Raises NegativeLevelError where a level falls below zero. Cost: about 15 us and 10 ns a row.
    """
    parts = (base, changes) if len(changes) else (base,)
    slots = [(part.side.astype(np.uint16) << _SIDE_BITS) | part.price_e4.astype(np.uint16) for part in parts]
    slot, qty_e2 = np.concatenate(slots), np.concatenate([part.qty_e2 for part in parts])
    if not len(slot):
        return []
    order = slot.argsort(kind="stable")  # by counting: slots have 16 bits
    slot = slot[order]
    starts = np.concatenate((_FIRST, np.flatnonzero(slot[1:] != slot[:-1]) + 1))
    total_e2 = np.add.reduceat(qty_e2[order], starts)
    used = np.flatnonzero(total_e2)
    slot, sizes_e2 = slot[starts[used]], total_e2[used]
    sides, prices_e4 = slot >> _SIDE_BITS, slot & ((1 << _SIDE_BITS) - 1)
    if len(used) and int(sizes_e2.min()) < 0:
        worst = int(sizes_e2.argmin())
        raise NegativeLevelError(int(sides[worst]), int(prices_e4[worst]), 0, int(sizes_e2[worst]))
    return list(zip(sides.tolist(), prices_e4.tolist(), sizes_e2.tolist(), strict=True))
