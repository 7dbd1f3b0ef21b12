"""Rows by ticker in columns: some hundred bytes a market, however many there have been.

Owns how new rows are folded into old ones in time. Never reads anything, and never decides which row counts.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import polars as pl

MOST_RECENT = 20_000
"""Rows that are folded among themselves before they are folded into all others: some ms, against a second a million."""

Fold = Callable[[pl.DataFrame], pl.DataFrame]


class TickerTable:
    """One row a ticker. ``fold`` makes one row out of each ticker's rows, which stand in the order of their adding.

    It may be asked for any part of a ticker's rows first, and for what that gave together with the rest later.
    """

    def __init__(self, schema: dict[str, Any], fold: Fold) -> None:
        """Begin without rows; ``schema`` has a column ``ticker``."""
        self._fold = fold
        self._columns = list(schema)
        self._old = self._recent = pl.DataFrame(schema=schema)
        self._old_tickers = self._recent_tickers = self._old["ticker"]
        self._whole: pl.DataFrame | None = None

    def __len__(self) -> int:
        """Return how many tickers there are. Cost: as ``frame``."""
        return len(self.frame())

    def __contains__(self, ticker: str) -> bool:
        """Say whether a ticker has a row."""
        return any(_found(tickers, ticker) is not None for tickers in (self._recent_tickers, self._old_tickers))

    @property
    def size_bytes(self) -> int:
        """About how much memory the rows take."""
        return int(self._old.estimated_size() + self._recent.estimated_size())

    def add(self, rows: pl.DataFrame) -> None:
        """Fold rows in. Cost: some ms for few, a second a million where many have gathered."""
        if not len(rows):
            return
        self._whole = None
        self._recent = self._folded(self._recent, rows)
        if len(self._recent) > max(MOST_RECENT, len(self._old) // 16):
            self._old, self._recent = self._folded(self._old, self._recent), self._recent.clear()
            self._old_tickers = self._old["ticker"]
        self._recent_tickers = self._recent["ticker"]

    def rows(self, ticker: str) -> list[dict[str, Any]]:
        """Return what is known of a ticker, at most two rows, the one added first before the other. Cost: 50 us."""
        places = (
            (self._old, _found(self._old_tickers, ticker)),
            (self._recent, _found(self._recent_tickers, ticker)),
        )
        return [frame.row(at, named=True) for frame, at in places if at is not None]

    def frame(self) -> pl.DataFrame:
        """Return every row, in no order. Cost: some 50 ms a million where something was added since the last call."""
        if self._whole is None:
            touched = self._old["ticker"].is_in(self._recent["ticker"].implode())
            recent = self._folded(self._old.filter(touched), self._recent)
            self._whole = pl.concat([self._old.filter(~touched), recent]) if len(recent) else self._old
        return self._whole

    def _folded(self, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
        both = pl.concat([before, after.select(self._columns).cast(before.schema)])
        return self._fold(both).select(self._columns).sort("ticker").rechunk()


def _found(tickers: pl.Series, ticker: str) -> int | None:
    at = bisect_left(tickers, ticker)
    return at if at < len(tickers) and tickers[at] == ticker else None
