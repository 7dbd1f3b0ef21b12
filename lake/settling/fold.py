"""Books summed from rows, many at once.

Owns the sum of a base and the deltas after it over whole columns; book.ladder.Book is what it must equal. Never chooses
which base a question needs.
"""

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from book.digest import digest
from book.records import Kind
from lake.journal.batches import Ints
from lake.settling.columns import BookColumns, Levels, concat_ranges

_SIDE_BITS = 14
_SLOT_BITS = _SIDE_BITS + 1
_PART_ROWS = 1 << 20


@dataclass(frozen=True)
class Stretches:
    """Stretches of rows: each begins with the ``rows`` rows of a base at ``start`` and ends before row ``end``."""

    start: Ints
    rows: Ints
    end: Ints

    def part(self, first: int, end: int) -> "Stretches":
        """Return the stretches numbered [first, end)."""
        return Stretches(self.start[first:end], self.rows[first:end], self.end[first:end])


@dataclass(frozen=True)
class Folded:
    """The levels of each stretch's book at its end, ascending by stretch, side and price; none is zero.

    ``negative`` and ``twice`` are rows at which a level first fell below zero, or a base told a level twice.
    """

    stretch: Ints
    slot: Ints
    qty_e2: Ints
    negative: Ints
    twice: Ints

    def digests(self, count: int) -> list[str]:
        """Return the digest of each stretch's book; ``count`` is the number of stretches."""
        cuts = np.searchsorted(self.stretch, np.arange(count + 1)).tolist()
        sides, prices = (self.slot >> _SIDE_BITS).tolist(), (self.slot & ((1 << _SIDE_BITS) - 1)).tolist()
        sizes = self.qty_e2.tolist()
        return [
            digest(zip(sides[start:end], prices[start:end], sizes[start:end], strict=True))
            for start, end in pairwise(cuts)
        ]


def fold(columns: BookColumns, levels: Levels, stretches: Stretches) -> Folded:
    """Sum each stretch: its base and, of the base's conn, the deltas with a greater seq.

    Cost: a sort of the rows concerned, about 0.15 us each; works in parts of a million rows.
    """
    done = np.cumsum(stretches.end - stretches.start)
    parts: list[Folded] = []
    at = 0
    while at < len(done):
        before = int(done[at - 1]) if at else 0
        to = max(at + 1, int(np.searchsorted(done, before + _PART_ROWS, side="right")))
        parts.append(_folded(columns, levels, stretches.part(at, to), at))
        at = to
    if not parts:
        return Folded(*(np.zeros(0, np.int64) for _ in fields(Folded)))
    return Folded(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Folded)))


def _folded(columns: BookColumns, levels: Levels, stretches: Stretches, number: int) -> Folded:
    """Sum the stretches, numbered from ``number`` on, all at once."""
    sizes = stretches.end - stretches.start
    rows = concat_ranges(stretches.start, sizes)
    stretch = np.repeat(np.arange(len(sizes)), sizes)
    base = rows - np.repeat(stretches.start, sizes) < np.repeat(stretches.rows, sizes)
    first = stretches.start[stretch]
    counted = (columns.kind[rows] == Kind.DELTA) & (columns.conn[rows] == columns.conn[first])
    counted &= columns.seq[rows] > columns.seq[first]
    counted |= base
    counted &= levels.price_e4[rows] >= 0
    rows, stretch, base = rows[counted], stretch[counted] + number, base[counted]
    key = stretch << _SLOT_BITS | slots(levels, rows)
    order = np.argsort(key, kind="stable")
    key, rows, base = key[order], rows[order], base[order]
    qty_e2 = levels.qty_e2[rows]
    begins = np.append(True, key[1:] != key[:-1])[: len(key)]
    total = np.cumsum(qty_e2)
    run = np.cumsum(begins) - 1
    size_e2 = total - (total - qty_e2)[begins][run]
    ends = np.append(begins[1:], True)[: len(key)] & (size_e2 != 0)
    return Folded(
        stretch=key[ends] >> _SLOT_BITS,
        slot=key[ends] & ((1 << _SLOT_BITS) - 1),
        qty_e2=size_e2[ends],
        negative=np.sort(rows[size_e2 < 0]),
        twice=np.sort(rows[base & ~begins]),
    )


def slots(levels: Levels, rows: Ints) -> Ints:
    """Return each row's level as one number that ascends with side and price."""
    found: Ints = levels.side[rows].astype(np.int64) << _SIDE_BITS | levels.price_e4[rows]
    return found
