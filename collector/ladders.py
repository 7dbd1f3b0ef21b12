"""All books of a collector in one array, updated by scatter.

Owns the levels of every market as slots of one int64 array and their growth. Knows no conns, stamps or spans.

A market's ladder starts on whole cents (101 slots a side) and is laid out anew on a finer grid when a price needs it.
"""

import numpy as np
import numpy.typing as npt

from book.records import Level
from book.units import MAX_PRICE_E4

Ints = npt.NDArray[np.int64]
_STEPS_E4 = (100, 10, 1)
_NOWHERE = -1


def _width(step_e4: int) -> int:
    return MAX_PRICE_E4 // step_e4 + 1


class Ladders:
    """Sizes in 1/100 contract by (market, side, price); markets are numbered from 0 by the caller."""

    def __init__(self) -> None:
        self._qty = np.zeros(1 << 16, np.int64)
        self._end = 0
        self._markets = 0
        self._base = np.empty(64, np.int64)
        self._step = np.empty(64, np.int64)
        self._free: dict[int, list[int]] = {step_e4: [] for step_e4 in _STEPS_E4}

    def add_market(self) -> int:
        """Make room for one more market and return its number."""
        market, self._markets = self._markets, self._markets + 1
        if market == len(self._base):
            self._base, self._step = (np.concatenate([one, np.empty_like(one)]) for one in (self._base, self._step))
        self._base[market], self._step[market] = self._room(_STEPS_E4[0]), _STEPS_E4[0]
        return market

    def load(self, market: int, levels: tuple[Level, ...]) -> None:
        """Replace a market's book."""
        if self._base[market] == _NOWHERE:
            self._base[market], self._step[market] = self._room(_STEPS_E4[0]), _STEPS_E4[0]
        self.clear(market)
        for side, price_e4, qty_e2 in levels:
            if price_e4 % self._step[market]:
                self._refine(market, price_e4)
            self._qty[self._slot(market, side, price_e4)] = qty_e2

    def clear(self, market: int) -> None:
        """Empty a market's book."""
        self._area(market)[:] = 0

    def release(self, market: int) -> None:
        """Give a market's room to others; until it is loaded again its book is empty and takes no change."""
        if self._base[market] != _NOWHERE:
            self.clear(market)
            self._free[int(self._step[market])].append(int(self._base[market]))
            self._base[market] = _NOWHERE

    def levels(self, market: int) -> tuple[Ints, Ints, Ints]:
        """Return a market's levels as columns side, price_e4, qty_e2, YES before NO, prices ascending."""
        area = self._area(market)
        found = np.flatnonzero(area)
        side, rung = np.divmod(found, _width(int(self._step[market])))
        return side, rung * self._step[market], area[found]

    def all_levels(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Return the levels of all markets as columns market, side, price_e4, qty_e2, each market's as ``levels`` does.

        Markets ascend. Cost: a pass over the whole array.
        """
        found = np.flatnonzero(self._qty[: self._end])
        base = self._base[: self._markets]
        used = np.flatnonzero(base != _NOWHERE)
        used = used[np.argsort(base[used])]
        market = used[np.searchsorted(base[used], found, side="right") - 1] if len(used) else found
        order = np.argsort(market, kind="stable")
        market, found = market[order], found[order]
        side, rung = np.divmod(found - base[market], MAX_PRICE_E4 // self._step[market] + 1)
        return market, side, rung * self._step[market], self._qty[found]

    def rows(self, market: int) -> tuple[Level, ...]:
        """Return a market's levels as (side, price_e4, qty_e2)."""
        return tuple(zip(*(column.tolist() for column in self.levels(market)), strict=True))

    def size(self, market: int, side: int, price_e4: int) -> int:
        """Return the size at a level, 0 where there is none."""
        return 0 if price_e4 % self._step[market] else int(self._qty[self._slot(market, side, price_e4)])

    def apply(self, market: Ints, side: Ints, price_e4: Ints, change_e2: Ints) -> int:
        """Add changes, in order, up to the first that would take a level below zero; return how many were added.

        All arrays have shape (n,). Cost: a stable sort of the batch.
        """
        slots = self._slots(market, side, price_e4)
        n = len(slots)
        order = np.sort(slots * n + np.arange(n)) % n  # a stable argsort, in a fifth of its time
        slot, change = slots[order], change_e2[order]
        running = np.cumsum(change)
        first = np.flatnonzero(np.concatenate(([True], slot[1:] != slot[:-1])))
        sizes = np.diff(np.append(first, len(slot)))
        running += np.repeat(self._qty[slot[first]] - (running[first] - change[first]), sizes)
        below = np.flatnonzero(running < 0)
        if len(below):
            good = int(order[below].min())
            if good:
                self.apply(market[:good], side[:good], price_e4[:good], change_e2[:good])
            return good
        last = np.append(first[1:], len(slot)) - 1
        self._qty[slot[last]] = running[last]
        return len(slots)

    def _slots(self, market: Ints, side: Ints, price_e4: Ints) -> Ints:
        rung, rest = np.divmod(price_e4, self._step[market])
        if rest.any():
            for place in np.flatnonzero(rest):
                if price_e4[place] % self._step[market[place]]:
                    self._refine(int(market[place]), int(price_e4[place]))
            rung = price_e4 // self._step[market]
        slots: Ints = self._base[market] + side * (MAX_PRICE_E4 // self._step[market] + 1) + rung
        return slots

    def _slot(self, market: int, side: int, price_e4: int) -> int:
        step_e4 = int(self._step[market])
        return int(self._base[market]) + side * _width(step_e4) + price_e4 // step_e4

    def _area(self, market: int) -> Ints:
        base = int(self._base[market])
        return self._qty[base : base + 2 * _width(int(self._step[market]))] if base != _NOWHERE else self._qty[:0]

    def _room(self, step_e4: int) -> int:
        if self._free[step_e4]:
            return self._free[step_e4].pop()
        base, self._end = self._end, self._end + 2 * _width(step_e4)
        if self._end > len(self._qty):
            grown = np.zeros(max(self._end, 2 * len(self._qty)), np.int64)
            grown[: len(self._qty)] = self._qty
            self._qty = grown
        return base

    def _refine(self, market: int, price_e4: int) -> None:
        """Lay a market's ladder out on the coarsest grid that holds ``price_e4`` too."""
        side, price, qty = self.levels(market)
        self.clear(market)
        self._free[int(self._step[market])].append(int(self._base[market]))
        step_e4 = next(s for s in _STEPS_E4 if s < self._step[market] and not price_e4 % s)
        self._base[market] = self._room(step_e4)
        self._step[market] = step_e4
        self._qty[self._slots(np.full(len(side), market), side, price)] = qty
