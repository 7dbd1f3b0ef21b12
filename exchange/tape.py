"""The trades that the venue remembers, found by number, by market and by time.

Owns their bound, oldest dropped. Numbers count from 1 in the order of trading.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator

from book.wire.rest import TradeDoc

_SLACK = 4_096
_DISORDER_US = 60_000_000


class Tape:
    """The last ``limit`` trades of all markets."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._trades: list[TradeDoc] = []
        self._first = 1
        self._of_market: dict[str, deque[int]] = {}

    def add(self, trade: TradeDoc) -> None:
        """Remember a trade, and forget the oldest where there are too many."""
        self._trades.append(trade)
        self._of_market.setdefault(trade.ticker, deque()).append(self._first + len(self._trades) - 1)
        if len(self._trades) >= self._limit + _SLACK:
            for old in self._trades[:_SLACK]:
                self._of_market[old.ticker].popleft()
            del self._trades[:_SLACK]
            self._first += _SLACK

    def after(self, number: int) -> Iterator[tuple[int, TradeDoc]]:
        """Yield trades with numbers above ``number``, oldest first, as long as they are remembered."""
        while True:
            number = max(number + 1, self._first)
            if number - self._first >= len(self._trades):
                return
            yield number, self._trades[number - self._first]

    def before(
        self, number: int | None, *, ticker: str | None = None, from_us: int | None = None, to_us: int | None = None
    ) -> Iterator[tuple[int, TradeDoc]]:
        """Yield trades with numbers below ``number``, newest first, of one market or all, in a time, inclusive.

        Cost: of those yielded, and for one market of those newer than ``number``; times are taken to be in order but
        for a minute.
        """
        end = self._first + len(self._trades)
        if to_us is not None:
            late_us = to_us + _DISORDER_US
            end = self._first + bisect_right(self._trades, late_us, key=lambda trade: trade.created_us or 0)
        if number is not None:
            end = min(end, number)
        numbers = range(end - 1, self._first - 1, -1) if ticker is None else reversed(self._of_market.get(ticker, ()))
        for found in numbers:
            if found >= end:
                continue
            trade = self._trades[found - self._first]
            at_us = trade.created_us or 0
            if from_us is not None and at_us < from_us - _DISORDER_US:
                return
            if (from_us is None or at_us >= from_us) and (to_us is None or at_us <= to_us):
                yield found, trade
