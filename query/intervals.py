"""Half-open stretches of time, and what lies in one and not in another.

Owns interval arithmetic. Knows no markets and no reasons.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import pairwise

Interval = tuple[int, int]
"""A stretch [from_us, to_us)."""


class Intervals:
    """Disjoint stretches in ascending order; those that touch or overlap become one."""

    def __init__(self, found: Iterable[Interval] = ()) -> None:
        self._found: list[Interval] = []
        for from_us, to_us in found:
            self.add(from_us, to_us)

    def add(self, from_us: int, to_us: int) -> None:
        """Add a stretch; an empty one changes nothing. Cost: O(1) where it lies behind all others."""
        if from_us >= to_us:
            return
        if self._found and from_us <= self._found[-1][1]:
            insort(self._found, (from_us, to_us))
            merged: list[Interval] = []
            for start, end in self._found:
                if merged and start <= merged[-1][1]:
                    merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
                else:
                    merged.append((start, end))
            self._found = merged
        else:
            self._found.append((from_us, to_us))

    def holding(self, ts_us: int) -> Interval | None:
        """Return the stretch that an instant lies in."""
        index = bisect_right(self._found, (ts_us, 1 << 63)) - 1
        return self._found[index] if index >= 0 and ts_us < self._found[index][1] else None

    def within(self, from_us: int, to_us: int) -> list[Interval]:
        """Return the stretches cut to [from_us, to_us)."""
        start = max(0, bisect_right(self._found, (from_us, 1 << 63)) - 1)
        found: list[Interval] = []
        for begin, end in self._found[start:]:
            if begin >= to_us:
                break
            if end > from_us:
                found.append((max(begin, from_us), min(end, to_us)))
        return found

    def missing(self, from_us: int, to_us: int) -> list[Interval]:
        """Return the stretches of [from_us, to_us) that none of these covers."""
        edges = [from_us, *(edge for part in self.within(from_us, to_us) for edge in part), to_us]
        return [(start, end) for start, end in list(pairwise(edges))[::2] if start < end]

    def total_us(self) -> int:
        """Return the length of all stretches together."""
        return sum(end - start for start, end in self._found)

    def __iter__(self) -> Iterator[Interval]:
        """Go over the stretches, ascending."""
        return iter(self._found)

    def __len__(self) -> int:
        """Return how many stretches there are."""
        return len(self._found)
