"""Owns what the server asks: the questions of ``query``, bound to one log and one lake.

A Protocol, so that the server can be tested without a log. Times are integer microseconds, ranges half-open.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from query import coverage as recorded
from query import markets as listed
from query import point, ranges
from query.corrections import CorrectionPage, CorrectionReader
from query.coverage import Coverage, FeedName, GapPage
from query.feeds import FeedLine
from query.log import Log
from query.markets import MarketFilter, MarketPage, MarketView
from query.point import BookAnswer, Clock, OnGap
from query.ranges import Page
from query.scan import ChangeRow, TradeRow
from query.status import Status, StatusReader

_BEGINNING_US = -(1 << 60)
_FOR_EVER_US = 1 << 60


class Questions(Protocol):
    """What endpoints and probes may ask. Each call blocks, may come from any thread, and may raise ApiError."""

    def known_until_us(self) -> int | None:
        """Return the latest instant that the log knows; None where nothing has been recorded."""

    def book_at(
        self, ticker: str, at_us: int | None, *, clock: Clock, on_gap: OnGap, as_of_us: int | None = None
    ) -> BookAnswer:
        """Return the book at an instant, inclusive; without one, the newest known.

        With ``as_of_us`` it is read from the published hours as they stood at that time.
        """

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

    def feed_gaps(
        self, channels: Sequence[FeedName], start_us: int | None, end_us: int | None, limit: int, cursor: str | None
    ) -> GapPage:
        """Return a page of the gaps of firehoses; a bound that is None bounds nothing."""

    def feed_coverage(self, channel: FeedName) -> FeedLine:
        """Return when a firehose is known, and its gaps."""

    def markets(self, chosen: MarketFilter, limit: int | None, cursor: str | None) -> MarketPage:
        """Return a page of markets; without a limit as many as a page may hold."""

    def market(self, ticker: str) -> MarketView:
        """Return one market."""

    def corrections(self, since_us: int | None, limit: int, cursor: str | None) -> CorrectionPage:
        """Return a page of what was changed in published hours, since a time of publication."""

    def status(self) -> Status:
        """Return how recording and publishing do."""


class LogQuestions:
    """The questions of ``query`` to one log and the lake that it is published to."""

    def __init__(self, log: Log, corrections: CorrectionReader, status: StatusReader) -> None:
        self._log = log
        self._corrections = corrections
        self._status = status

    @classmethod
    def open(cls, home: Path, lake: Path, now_us: Callable[[], int], fresh_us: int) -> "LogQuestions":
        """Follow the log under ``home`` and the lake as they grow; ``now_us`` is the clock that stamps the log.

        ``fresh_us`` is how far the log may lie behind that clock while it is being recorded.
        """
        log = Log(home, now_us, lake=lake)
        status = StatusReader(home, lake, now_us, log.known_until_us, fresh_us)
        return cls(log, CorrectionReader(lake), status)

    def known_until_us(self) -> int | None:
        """Return the latest instant that the log knows; None where nothing has been recorded."""
        return self._log.known_until_us()

    def book_at(
        self, ticker: str, at_us: int | None, *, clock: Clock, on_gap: OnGap, as_of_us: int | None = None
    ) -> BookAnswer:
        """Ask ``query.point.book_at``."""
        return point.book_at(self._log, ticker, at_us, clock=clock, on_gap=on_gap, as_of_us=as_of_us)

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

    def feed_gaps(
        self, channels: Sequence[FeedName], start_us: int | None, end_us: int | None, limit: int, cursor: str | None
    ) -> GapPage:
        """Ask ``query.coverage.feed_gaps``."""
        start_us = _BEGINNING_US if start_us is None else start_us
        end_us = _FOR_EVER_US if end_us is None else end_us
        return recorded.feed_gaps(self._log, channels, start_us, end_us, limit=limit, cursor=cursor)

    def feed_coverage(self, channel: FeedName) -> FeedLine:
        """Ask ``query.coverage.feed_coverage``."""
        with self._log.asked() as shards:
            return recorded.feed_coverage(shards, channel, _BEGINNING_US, _FOR_EVER_US)

    def markets(self, chosen: MarketFilter, limit: int | None, cursor: str | None) -> MarketPage:
        """Ask ``query.markets.markets``."""
        return listed.markets(self._log, chosen, listed.MOST_ROWS if limit is None else limit, cursor)

    def market(self, ticker: str) -> MarketView:
        """Ask ``query.markets.market``."""
        return listed.market(self._log, ticker)

    def corrections(self, since_us: int | None, limit: int, cursor: str | None) -> CorrectionPage:
        """Ask ``query.corrections``."""
        return self._corrections.page(since_us, limit, cursor)

    def status(self) -> Status:
        """Ask ``query.status``."""
        return self._status.status()
