"""One generated market: orders placed, cancelled and matched, as changes and trades.

Owns a book of its own that never crosses and never falls below zero, in integers throughout; chance only picks. A
match of q contracts takes q off the maker's level by one change, and is one trade of q; what is left of the taker's
order rests.
"""

import random
import uuid
from bisect import bisect_left

from book.records import Level, Side
from book.units import MAX_PRICE_E4
from exchange.steps import Changed, Step, Traded

_SHALLOW, _DEEP = 6, 40
_WHOLE = 100


class OrderFlow:
    """The orders of one market, quoted at ``prices_e4`` (ascending, symmetric about half a dollar).

    ``is_fractional`` lets sizes have hundredths of a contract.
    """

    def __init__(
        self, ticker: str, prices_e4: tuple[int, ...], rng: random.Random, *, is_fractional: bool, depth: int,
        exchange_index: int = 0,
    ) -> None:  # fmt: skip
        self.ticker = ticker
        self.exchange_index = exchange_index
        self._prices_e4 = prices_e4
        self._rng = rng
        self._is_fractional = is_fractional
        self._fair = rng.randrange(len(prices_e4) // 10 + 1, max(len(prices_e4) * 9 // 10, len(prices_e4) // 10 + 2))
        self._resting: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for side in (Side.YES, Side.NO):
            for _ in range(depth):
                price_e4 = self._quotable(side)
                if price_e4 is not None:
                    self._resting[side][price_e4] = self._size()

    def levels(self) -> tuple[Level, ...]:
        """Return the book."""
        return tuple(
            sorted((side, price, qty) for side, rows in enumerate(self._resting) for price, qty in rows.items())
        )

    def clear(self) -> None:
        """Cancel every order."""
        for rows in self._resting:
            rows.clear()

    def reprice(self, prices_e4: tuple[int, ...]) -> None:
        """Quote later orders on another grid, about the same fair price; what rests stays."""
        fair_e4 = self._prices_e4[self._fair]
        self._prices_e4 = prices_e4
        self._fair = min(bisect_left(prices_e4, fair_e4), len(prices_e4) - 1)

    def act(self, at_us: int) -> list[Step]:
        """Let one order come, go or match; one to a few steps, all at ``at_us``."""
        rng = self._rng
        if rng.random() < 0.02:
            self._drift()
        side = rng.randrange(2)
        roll = rng.random()
        if roll < 0.004:
            return [self._block_trade(side, at_us)]
        if roll < 0.06 and self._resting[1 - side]:
            return self._take(side, at_us)
        depth = len(self._resting[side])
        if depth <= _SHALLOW or (depth < _DEEP and roll < 0.53):
            return self._place(side, at_us)
        return self._cancel(side, at_us)

    def _drift(self) -> None:
        low, high = len(self._prices_e4) // 20, len(self._prices_e4) * 19 // 20
        self._fair = min(max(self._fair + self._rng.choice((-1, 1)), low), high)

    def _size(self) -> int:
        if self._is_fractional and self._rng.random() < 0.17:
            return self._rng.randrange(1, 50_000)
        return self._rng.randrange(1, 400) * _WHOLE

    def _quotable(self, side: int) -> int | None:
        """Return a price below both the fair one and the other side's best, more often near than far."""
        prices = self._prices_e4
        fair_e4 = prices[self._fair] if side == Side.YES else MAX_PRICE_E4 - prices[self._fair]
        other = self._resting[1 - side]
        ceiling_e4 = min(fair_e4, MAX_PRICE_E4 - max(other)) if other else fair_e4
        below = bisect_left(prices, ceiling_e4)
        if not below:
            return None
        distance = min(self._rng.randrange(1, 25), self._rng.randrange(1, 25), self._rng.randrange(1, 60))
        return prices[max(below - distance, 0)]

    def _change(self, side: int, price_e4: int, change_e2: int, at_us: int) -> Changed:
        rows = self._resting[side]
        left_e2 = rows.get(price_e4, 0) + change_e2
        if left_e2:
            rows[price_e4] = left_e2
        else:
            del rows[price_e4]
        return Changed(at_us, self.ticker, side, price_e4, change_e2, at_us)

    def _place(self, side: int, at_us: int) -> list[Step]:
        price_e4 = self._quotable(side)
        if price_e4 is None:
            return self._cancel(side, at_us)
        return [self._change(side, price_e4, self._size(), at_us)]

    def _cancel(self, side: int, at_us: int) -> list[Step]:
        rows = self._resting[side]
        if not rows:
            return []
        price_e4 = self._rng.choice(list(rows))
        have_e2 = rows[price_e4]
        unit = 1 if self._is_fractional and have_e2 % _WHOLE else _WHOLE
        parts = have_e2 // unit
        gone_e2 = have_e2 if parts < 2 or self._rng.random() < 0.5 else self._rng.randrange(1, parts) * unit
        return [self._change(side, price_e4, -gone_e2, at_us)]

    def _take(self, side: int, at_us: int) -> list[Step]:
        """Match a taker who buys ``side`` against the other side's best levels, up to three of them."""
        steps: list[Step] = []
        maker = 1 - side
        wanted_e2 = self._size()
        for _ in range(self._rng.choice((1, 1, 1, 2, 3))):
            rows = self._resting[maker]
            if not rows or not wanted_e2:
                break
            price_e4 = max(rows)
            matched_e2 = min(wanted_e2, rows[price_e4])
            steps.append(self._change(maker, price_e4, -matched_e2, at_us))
            yes_price_e4 = MAX_PRICE_E4 - price_e4 if maker == Side.NO else price_e4
            steps.append(self._trade(yes_price_e4, matched_e2, side, at_us, is_block=False))
            wanted_e2 -= matched_e2
            if wanted_e2 and price_e4 not in rows and self._rng.random() < 0.2:
                steps.append(self._change(side, MAX_PRICE_E4 - price_e4, wanted_e2, at_us))
                break
        return steps

    def _block_trade(self, side: int, at_us: int) -> Step:
        """Report a trade made off the book: it touches no level."""
        return self._trade(self._prices_e4[self._fair], self._size(), side, at_us, is_block=True)

    def _trade(self, yes_price_e4: int, qty_e2: int, taker_side: int, at_us: int, *, is_block: bool) -> Traded:
        trade_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        return Traded(at_us, self.ticker, trade_id, yes_price_e4, qty_e2, taker_side, is_block, at_us)
