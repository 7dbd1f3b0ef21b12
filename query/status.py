"""How recording and publishing do: how far each has come, and what was lost and compared lately.

Owns the sums over published hours, from coverage rows alone: no log is walked and no market is looked at. Never
answers for a market.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from book.errors import CorruptError
from book.records import HOUR_US, Reason
from lake import paths
from lake.publishing.shelf import Shelf

FRESH_S = 2.0
HOURS_AT_ONCE = 48
DAY_HOURS = 24
_COLUMNS = ("ticker", "state", "ts_from", "ts_to", "end_reason", "audits", "superseded_at")
MONTH_HOURS = 30 * DAY_HOURS


@dataclass(frozen=True, slots=True)
class Window:
    """Sums over ``hours`` published hours; ``left_out`` more lie in the time and have not been summed yet."""

    hours: int
    left_out: int
    gaps: int
    audits: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class Status:
    """How far recording and publishing have come; instants and lengths in microseconds of the shown clock.

    ``publish_lateness_us`` counts from the end of the oldest hour that has ended and is not published; 0 where there
    is none. ``day`` and ``month`` are of the published hours that began in the last 24 hours and 30 days.
    """

    recording: bool
    lag_us: int | None
    known_until_us: int | None
    hours_published: int
    last_published_us: int | None
    unpublished_hours: int
    publish_lateness_us: int
    day: Window
    month: Window


@dataclass(frozen=True, slots=True)
class _Sums:
    """One version of one published hour: gaps by where they touch the hour's bounds, audits, mismatches."""

    files: tuple[str, ...]
    begun: int
    at_start: frozenset[str]
    at_end: frozenset[str]
    audits: int
    mismatches: int


class StatusReader:
    """Answers for the state of one installation; safe for many threads."""

    def __init__(
        self,
        home: Path,
        lake: Path,
        now_us: Callable[[], int],
        known_until_us: Callable[[], int | None],
        fresh_us: int,
        *,
        fresh_s: float = FRESH_S,
        hours_at_once: int = HOURS_AT_ONCE,
    ) -> None:
        """Look at the journal under ``home`` and at ``lake``.

        ``now_us`` is the clock that stamps records, ``known_until_us`` how far they reach, ``fresh_us`` how far that
        may lie behind it while something is recorded. An answer is given again for ``fresh_s`` seconds of machine
        time; one answer reads the coverage of at most ``hours_at_once`` hours that were not read before.
        """
        self._home = home
        self._now_us = now_us
        self._known_until_us = known_until_us
        self._fresh_us = fresh_us
        self._fresh_s = fresh_s
        self._hours_at_once = hours_at_once
        self._shelf = Shelf(lake, cache_bytes=0)
        self._sums: dict[int, _Sums] = {}
        self._lock = Lock()
        self._last: Status | None = None
        self._looked_s = float("-inf")

    def status(self) -> Status:
        """Return how things stand.

        Raises CorruptError where coverage cannot be read. Cost: a listing of the journal's hours, and about 20 ms for
        each hour of 12,000 markets that was not read before.
        """
        with self._lock:
            now_s = time.monotonic()
            if self._last is None or now_s - self._looked_s >= self._fresh_s:
                self._last, self._looked_s = self._look(), now_s
            return self._last

    def _look(self) -> Status:
        self._shelf.refresh()
        published = self._shelf.hours()
        now_us, known_us = self._now_us(), self._known_until_us()
        lag_us = None if known_us is None else max(0, now_us - known_us)
        waiting = unpublished(self._home, published, now_us)
        month = [hour for hour in published if 0 <= now_us - paths.hour_start_us(hour) <= MONTH_HOURS * HOUR_US]
        self._sum(month)
        return Status(
            recording=lag_us is not None and lag_us <= self._fresh_us,
            lag_us=lag_us,
            known_until_us=known_us,
            hours_published=len(published),
            last_published_us=paths.hour_start_us(published[-1]) if published else None,
            unpublished_hours=len(waiting),
            publish_lateness_us=now_us - paths.hour_start_us(waiting[0] + 1) if waiting else 0,
            day=self._window(hour for hour in month if now_us - paths.hour_start_us(hour) <= DAY_HOURS * HOUR_US),
            month=self._window(month),
        )

    def _sum(self, hours: list[int]) -> None:
        """Sum the newest hours that were not summed, or not in their present version; forget the others."""
        kept = set(hours)
        for hour in self._sums.keys() - kept:
            del self._sums[hour]
        left = self._hours_at_once
        for hour in reversed(hours):
            files = self._shelf.coverage_files(hour)
            known = self._sums.get(hour)
            if known is not None and known.files == files:
                continue
            if not left:
                return
            self._sums[hour] = _summed(hour, files, [self._shelf.path("coverage", file) for file in files])
            left -= 1

    def _window(self, hours: Iterable[int]) -> Window:
        wanted = list(hours)
        found = [hour for hour in wanted if hour in self._sums]
        sums = [self._sums[hour] for hour in found]
        went_on = 0  # a gap that goes on past an hour stands in the next one again
        for hour in found:
            before = self._sums.get(hour - 1)
            went_on += len(self._sums[hour].at_start & before.at_end) if before else 0
        return Window(
            hours=len(found),
            left_out=len(wanted) - len(found),
            gaps=sum(each.begun + len(each.at_start) for each in sums) - went_on,
            audits=sum(each.audits for each in sums),
            mismatches=sum(each.mismatches for each in sums),
        )


def unpublished(home: Path, published: Iterable[int], now_us: int) -> list[int]:
    """Return the hours of any shard that have ended by ``now_us`` and are not published, ascending.

    An hour's folder without a flush has recorded nothing. Cost: a listing of the journal's days, and a look at the
    folder of each hour that is not published.
    """
    done = set(published)
    return sorted(
        {
            hour
            for shard in paths.shards(home)
            for hour in paths.hours(home, shard)
            if hour not in done and paths.hour_start_us(hour + 1) <= now_us and _has_flushed(home, shard, hour)
        }
    )


def _has_flushed(home: Path, shard: int, hour: int) -> bool:
    try:
        return (paths.hour_dir(home, shard, hour) / paths.FLUSH_NAME).stat().st_size > 0
    except FileNotFoundError:
        return False


def _summed(hour: int, files: tuple[str, ...], read: Iterable[Path]) -> _Sums:
    """Sum an hour's standing rows. A few columns are read, and not held against the file's name: these are figures."""
    start_us = paths.hour_start_us(hour)
    rows = pa.concat_tables([_read(path) for path in read])
    markets = rows.filter(pc.and_(pc.not_equal(rows["ticker"], "*"), pc.is_null(rows["superseded_at"])))
    gaps = markets.filter(pc.equal(markets["state"], "gap"))
    tickers = gaps["ticker"].to_pylist()
    starts = gaps["ts_from"].cast(pa.int64()).to_pylist()
    ends = gaps["ts_to"].cast(pa.int64()).to_pylist()
    at_start = frozenset(ticker for ticker, from_us in zip(tickers, starts, strict=True) if from_us <= start_us)
    at_end = frozenset(ticker for ticker, to_us in zip(tickers, ends, strict=True) if to_us >= start_us + HOUR_US)
    ended = pc.and_(pc.equal(markets["state"], "known"), pc.equal(markets["end_reason"], str(Reason.AUDIT_MISMATCH)))
    return _Sums(
        files=files,
        begun=len(tickers) - len(at_start),
        at_start=at_start,
        at_end=at_end,
        audits=pc.sum(markets["audits"]).as_py() or 0,
        mismatches=pc.sum(ended).as_py() or 0,
    )


def _read(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=list(_COLUMNS))
    except pa.ArrowException as error:
        raise CorruptError(str(path), 0, str(error)) from None
