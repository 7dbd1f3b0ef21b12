"""One shard's record as its readers see it: published hours and folders as one.

Owns which hour is read from where, how far conns were heard, and which hours a walk visits. An edition may be another
than the newest (query.published). Never answers a question.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from book.records import HOUR_US
from lake import paths
from query.folders import Folders
from query.group import Group
from query.history import History
from query.hour_book import HourBook
from query.intervals import Interval, Intervals
from query.publications import Version
from query.published import NOW, Edition, Published
from query.published_hour import PublishedHour

_KEPT_HISTORIES = 20_000
_BEFORE_ALL = -(1 << 40)
_NOTHING = Intervals()


class ShardLog:
    """One shard in one edition. Not safe for two threads at once (query.log.Log is)."""

    def __init__(
        self, shard: int, folders: Folders | None, published: Published | None, edition: Edition = NOW
    ) -> None:
        """Read ``folders`` for hours that the edition of ``published`` does not have; either may be missing."""
        self.shard = shard
        self.folders = folders
        self._published = published
        self._edition = edition
        self._versions: Mapping[int, Version] = {}
        self._numbers: list[int] = []
        self._in_lake: list[int] = []
        self._in_folders: list[int] = []
        self._seen: tuple[int, int] | None = None
        self._heard: dict[int, int | None] = {}
        self._histories: dict[str, History] = {}

    def refresh(self) -> None:
        """Take in which hours there are now. Cost: nothing where none came and none was published."""
        published, folders = self._published, self.folders
        if published and (self._seen is None or published.changes != self._seen[0]):
            self._versions = published.versions(self.shard, self._edition)
            self._in_lake = list(self._versions)
            self._heard = {}
        if folders and self._edition == NOW:
            folders.refresh(self._versions)
        seen = (published.changes if published else 0, len(folders.unpublished) if folders else 0)
        if seen != self._seen:
            self._seen = seen
            self._in_folders = folders.unpublished if folders else []
            self._numbers = sorted({*self._in_lake, *self._in_folders})

    @property
    def changes(self) -> int:
        """Grows whenever the answer to any question may change."""
        folders, published = self.folders, self._published
        return (folders.changes if folders else 0) + (published.changes if published else 0)

    def history(self, ticker: str) -> History:
        """Return the walk over a market's groups."""
        found = self._histories.get(ticker)
        if found is None:
            if len(self._histories) >= _KEPT_HISTORIES:
                self._histories.clear()
            found = self._histories[ticker] = History(self, ticker)
        return found

    # hours

    def hour_numbers(self) -> list[int]:
        """Return the hours that there are, ascending."""
        return self._numbers

    def hours_between(self, from_us: int, to_us: int) -> list[int]:
        """Return the hours that hold instants of [from_us, to_us], both inclusive, ascending."""
        first = bisect_left(self._numbers, paths.hour_of(from_us))
        return self._numbers[first : bisect_right(self._numbers, paths.hour_of(to_us))]

    def folder_hours(self) -> list[int]:
        """Return the hours that are read from their folders, ascending."""
        return self._in_folders

    def book(self, hour: int) -> HourBook:
        """Return one of the hours. Raises CorruptError."""
        if hour in self._versions:
            return self._hour(hour)
        assert self.folders is not None  # noqa: S101 - an hour that is not published has a folder
        return self.folders.hour(hour)

    def logged(self, hour: int, ticker: str) -> Sequence[Group]:
        """Return a market's groups in a folder, as logged; the hour is one of those that ``reaching`` returns."""
        assert self.folders is not None  # noqa: S101 - only folders reach
        return self.folders.hour(hour).groups(ticker)

    def reaching(self, hour: int) -> list[int]:
        """Return the later hours in whose folders closes are stamped in this hour or before it, ascending.

        What is logged in the folder of a published hour stands in the published hours that it reaches already.
        """
        if self.folders is None:
            return []
        later = self._in_folders if hour in self._versions else list(self.folders.hours)
        return self.folders.reaching(hour, later)

    def reached_hours(self) -> list[int]:
        """Return the hours that closes logged in later folders are stamped in, ascending."""
        folders = self.folders
        return sorted({early for hour in self._in_folders for early in folders.hours[hour].reach}) if folders else []

    def first_down(self, hour: int) -> int | None:
        """Return where a walk into the past begins at an hour: the greatest up to it."""
        return _last(self._numbers, hour + 1)

    def next_down(self, hour: int, ticker: str) -> int | None:
        """Return the next earlier hour that may have a group of a market, None where there is none.

        Cost: a published hour says where the one before it is. One that does not name the market leads to the
        directory, which looks at every published hour once.
        """
        folder, lower = _last(self._in_folders, hour), _last(self._in_lake, hour)
        if lower is not None and hour in self._versions:
            market = self._hour(hour).market(ticker)
            if market is None or market.last_record_hour is None:
                lower = self._named_down(lower, ticker)
            else:
                lower = self._past_quiet(hour, market.last_record_hour)
        return max((each for each in (folder, lower) if each is not None), default=None)

    def first_up(self, hour: int) -> int | None:
        """Return where a walk into the future begins at an hour: the least from it on."""
        return _first(self._numbers, hour)

    def next_up(self, hour: int, ticker: str) -> int | None:
        """Return the next later hour that may have rows of a market, None where there is none. Cost: as next_down."""
        folder, upper = _first(self._in_folders, hour + 1), _first(self._in_lake, hour + 1)
        if upper is not None and hour in self._versions and self._hour(hour).market(ticker) is None:
            upper = self._named_up(upper, ticker)
        return min((each for each in (folder, upper) if each is not None), default=None)

    def _past_quiet(self, hour: int, record_hour: int) -> int | None:
        """Return the next earlier hour with a record, passing over published hours that are known to have none.

        What an hour says of those before it rests on what was published by then: one published later is visited.
        """
        by_then = self._versions[hour].manifest
        for place in range(bisect_left(self._in_lake, hour) - 1, -1, -1):
            number = self._in_lake[place]
            if number <= record_hour or self._versions[number].manifest > by_then:
                return number
        return None

    def _named_down(self, hour: int, ticker: str) -> int | None:
        span = self._published.directory.span(ticker) if self._published else None
        if span is None or hour < span[0]:
            return None
        return hour if hour <= span[1] else _last(self._in_lake, span[1] + 1)

    def _named_up(self, hour: int, ticker: str) -> int | None:
        span = self._published.directory.span(ticker) if self._published else None
        if span is None or hour > span[1]:
            return None
        return hour if hour >= span[0] else _first(self._in_lake, span[0])

    def _hour(self, number: int) -> PublishedHour:
        assert self._published is not None  # noqa: S101 - it has versions
        return self._published.hour(number, self._versions[number], self.shard)

    # conns

    def known_until(self, conn: int, since_us: int) -> int | None:
        """Return the stamp of the last frame heard on a conn since an instant, None where it was not heard.

        Cost: where no folder has its mark, a look at the last published hour that tells of it.
        """
        mark = self.folders.conns.get(conn) if self.folders else None
        if mark and (not self._in_lake or mark[1] >= self._in_lake[-1]):
            return mark[0].last_frame_us
        if conn not in self._heard:
            self._heard[conn] = self._heard_in_lake(conn, paths.hour_of(since_us))
        known = [each for each in (self._heard[conn], mark[0].last_frame_us if mark else None) if each is not None]
        return max(known, default=None)

    def heard_until(self) -> int | None:
        """Return the last stamp heard on any conn, None where nothing was recorded."""
        marks = [mark.last_frame_us for mark, _ in self.folders.conns.values()] if self.folders else []
        newest = self._hour(self._in_lake[-1]).heard_until_us() if self._in_lake else None
        return max([*marks, *([] if newest is None else [newest])], default=None)

    def hours_of_conn(self, conn: int, since_us: int) -> list[int]:
        """Return the hours from an instant on in which a conn may have rows, ascending."""
        since = paths.hour_of(since_us)
        in_lake = self._in_lake[bisect_left(self._in_lake, since) : bisect_right(self._in_lake, self._conn_end(conn))]
        return sorted([*in_lake, *self._in_folders[bisect_left(self._in_folders, since) :]])

    def silence(self, conn: int, ts_us: int) -> Interval | None:
        """Return the silence of a conn that an instant lies in."""
        live, hour = self._live_silences(conn), paths.hour_of(ts_us)
        found = self._lake_silences(conn, hour, hour)
        if not found and live.holding(ts_us) is None:
            return None
        first = last = hour
        while True:
            held = Intervals([*live, *found]).holding(ts_us)
            if held and held[0] <= paths.hour_start_us(first) and first >= (self._in_lake or [hour])[0]:
                first -= 1
            elif held and held[1] >= paths.hour_start_us(last + 1) and last <= (self._in_lake or [hour])[-1]:
                last += 1
            else:
                return held
            found = self._lake_silences(conn, first, last)

    def silences(self, conn: int, from_us: int, to_us: int) -> list[Interval]:
        """Return the silences of a conn, cut to [from_us, to_us). Cost: looks at the published hours in between."""
        found = self._lake_silences(conn, paths.hour_of(from_us), paths.hour_of(to_us))
        live = self._live_silences(conn)
        return (Intervals([*live, *found]) if found else live).within(from_us, to_us)

    def _live_silences(self, conn: int) -> Intervals:
        return self.folders.silences.get(conn, _NOTHING) if self.folders else _NOTHING

    def _lake_silences(self, conn: int, first: int, last: int) -> list[Interval]:
        """Return the silences of a conn in published hours from one to another, both inclusive.

        An hour in which the recorder itself stood still may not be there: one between two parts of a silence is
        silent.
        """
        start, end = bisect_left(self._in_lake, first), bisect_right(self._in_lake, last)
        if first not in self._versions:
            start = max(0, start - 1)
        if last not in self._versions:
            end += 1
        found: list[Interval] = []
        for hour in self._in_lake[start:end]:
            parts = self._hour(hour).silences(conn)
            bridge_us = found[-1][1] if found else 0
            if parts and found and bridge_us % HOUR_US == 0 and parts[0][0] == paths.hour_start_us(hour):
                hours = self._numbers[bisect_left(self._numbers, paths.hour_of(bridge_us)) :]
                if hours[0] == hour:
                    found.append((bridge_us, parts[0][0]))
            found.extend(parts)
        return found

    def _heard_in_lake(self, conn: int, since: int) -> int | None:
        end = bisect_right(self._in_lake, self._conn_end(conn))
        for place in range(end - 1, bisect_left(self._in_lake, since) - 1, -1):
            heard = self._hour(self._in_lake[place]).heard(conn)
            if heard is not None:
                return heard.until_us
        return None

    def _conn_end(self, conn: int) -> int:
        """Return the last published hour that tells of a conn, one before all hours where none does."""
        end = self._published.conn_end(conn) if self._published else None
        return _BEFORE_ALL if end is None else end

    # markets

    def knows(self, ticker: str) -> bool:
        """Say whether anything of a market's order book was recorded. Cost: as next_down, and indexes the folders."""
        if any(self.book(hour).holds(ticker) for hour in reversed(self._in_folders)):
            return True
        return self._published is not None and self._published.directory.span(ticker) is not None

    def tickers(self) -> set[str]:
        """Return every market of whose order book anything was recorded. Cost: as knows."""
        found = {ticker for hour in self._in_folders for ticker in self.book(hour).tickers()}
        return found.union(self._published.directory.tickers()) if self._published else found


def _last(numbers: Sequence[int], end: int) -> int | None:
    """Return the greatest of ascending numbers below ``end``."""
    place = bisect_left(numbers, end)
    return numbers[place - 1] if place else None


def _first(numbers: Sequence[int], start: int) -> int | None:
    """Return the least of ascending numbers from ``start`` on."""
    place = bisect_left(numbers, start)
    return numbers[place] if place < len(numbers) else None
