"""Owns what the server asks: the questions of ``query``, bound to one log.

A Protocol, so that the server can be tested without a log. Times are integer microseconds, ranges half-open.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from query import coverage, markets, point, ranges
from query.log import Log

Clock = Literal["received", "exchange"]
OnGap = Literal["error", "last"]


class Questions(Protocol):
    """What endpoints and probes may ask. Each call blocks, may come from any thread, and may raise ApiError."""

    def known_until_us(self) -> int | None:
        """Return the latest instant that the log knows; None where nothing has been recorded."""

    def book_at(self, ticker: str, at_us: int | None, *, clock: Clock, on_gap: OnGap) -> point.BookAnswer:
        """Return the book at an instant, inclusive; without one, the newest known."""

    def deltas(
        self, ticker: str, start_us: int, end_us: int, limit: int, cursor: str | None, *, orphans: bool
    ) -> ranges.Page[ranges.DeltaRow]:
        """Return a page of changes."""

    def trades(
        self, ticker: str, start_us: int, end_us: int, limit: int, cursor: str | None
    ) -> ranges.Page[ranges.TradeRow]:
        """Return a page of trades."""

    def coverage(self, ticker: str) -> coverage.Coverage:
        """Return a market's spans, gaps and audits."""

    def gaps(
        self, ticker: str | None, start_us: int | None, end_us: int | None, limit: int, cursor: str | None
    ) -> ranges.Page[coverage.MarketGap]:
        """Return a page of gaps, of all markets where none is named."""

    def markets(self, asked: markets.Filters, limit: int | None, cursor: str | None) -> ranges.Page[markets.Market]:
        """Return a page of markets; without limit and cursor all of them, up to the bound."""

    def market(self, ticker: str) -> markets.MarketDetail:
        """Return a market with its details."""
