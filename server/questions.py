"""Owns what the server asks: the questions of ``query``, bound to one log.

A Protocol, so that the server can be tested without a log. Times are integer microseconds, ranges half-open.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from query import coverage as recorded
from query import markets as listed
from query import point, ranges
from query.coverage import Coverage, GapPage
from query.log import Log
from query.markets import MarketFilter, MarketPage, MarketView
from query.point import BookAnswer, Clock, OnGap
from query.ranges import Page
from query.scan import ChangeRow, TradeRow

_BEGINNING_US = -(1 << 60)
_FOR_EVER_US = 1 << 60


class Questions(Protocol):
    """What endpoints and probes may ask. Each call blocks, may come from any thread, and may raise ApiError."""

    def known_until_us(self) -> int | None:
        """Return the latest instant that the log knows; None where nothing has been recorded."""

    def book_at(self, ticker: str, at_us: int | None, *, clock: Clock, on_gap: OnGap) -> BookAnswer:
        """Return the book at an instant, inclusive; without one, the newest known."""

    def deltas(
        self, ticker: str, start_us: int, end_us: int, limit: int, cursor: str | None, *, orphans: bool
    ) -> Page[ChangeRow]:
        """Return a page of changes."""

    def trades(self, ticker: str, start_us: int, end_us: int, limit: int, cursor: str | None) -> Page[TradeRow]:
        """Return a page of trades."""

    def coverage(self, ticker: str) -> Coverage:
        """Return a market's spans, gaps and audits."""

    def gaps(
        self, ticker: str | None, start_us: int | None, end_us: int | None, limit: int, cursor: str | None
    ) -> GapPage:
        """Return a page of gaps, of all markets where none is named; a bound that is None bounds nothing."""

    def markets(self, chosen: MarketFilter, limit: int | None, cursor: str | None) -> MarketPage:
        """Return a page of markets; without a limit as many as a page may hold."""

    def market(self, ticker: str) -> MarketView:
        """Return one market."""


class LogQuestions:
    """The questions of ``query`` to one log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    @classmethod
    def open(cls, home: Path, now_us: Callable[[], int]) -> "LogQuestions":
        """Follow the log under ``home`` as it grows; ``now_us`` is the clock that stamps it."""
        return cls(Log(home, now_us))

    def known_until_us(self) -> int | None:
        """Return the latest instant that the log knows; None where nothing has been recorded."""
        return self._log.known_until_us()

    def book_at(self, ticker: str, at_us: int | None, *, clock: Clock, on_gap: OnGap) -> BookAnswer:
        """Ask ``query.point.book_at``."""
        return point.book_at(self._log, ticker, at_us, clock=clock, on_gap=on_gap)

    def deltas(
        self, ticker: str, start_us: int, end_us: int, limit: int, cursor: str | None, *, orphans: bool
    ) -> Page[ChangeRow]:
        """Ask ``query.ranges.deltas``."""
        return ranges.deltas(self._log, ticker, start_us, end_us, limit, cursor, orphans=orphans)

    def trades(self, ticker: str, start_us: int, end_us: int, limit: int, cursor: str | None) -> Page[TradeRow]:
        """Ask ``query.ranges.trades``."""
        return ranges.trades(self._log, ticker, start_us, end_us, limit, cursor)

    def coverage(self, ticker: str) -> Coverage:
        """Ask ``query.coverage.coverage``."""
        return recorded.coverage(self._log, ticker)

    def gaps(
        self, ticker: str | None, start_us: int | None, end_us: int | None, limit: int, cursor: str | None
    ) -> GapPage:
        """Ask ``query.coverage.gaps``."""
        start_us = _BEGINNING_US if start_us is None else start_us
        end_us = _FOR_EVER_US if end_us is None else end_us
        return recorded.gaps(self._log, start_us, end_us, ticker=ticker, limit=limit, cursor=cursor)

    def markets(self, chosen: MarketFilter, limit: int | None, cursor: str | None) -> MarketPage:
        """Ask ``query.markets.markets``."""
        return listed.markets(self._log, chosen, listed.MOST_ROWS if limit is None else limit, cursor)

    def market(self, ticker: str) -> MarketView:
        """Ask ``query.markets.market``."""
        return listed.market(self._log, ticker)
