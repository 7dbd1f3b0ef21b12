"""Which hours of a shard there are, and where each is read from.

Owns the choice between a published hour and a folder, and which hours a walk over a market's record visits. A published
hour is the same to every shard: each market's rows in it are of the one that was chosen. Folders are the shard's own.
An edition may be another than the newest (query.published). Never answers a question.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from lake import paths
from query.folders import Folders
from query.group import Group
from query.hour_book import HourBook
from query.publications import Version
from query.published import NOW, Edition, Published
from query.published_hour import PublishedHour


class ShardHours:
    """One shard's hours in one edition, followed as they come."""

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
        self._overtaken: list[int] = []
        """The published hours that the shard's own folder came too late for, ascending."""
        self._seen: tuple[int, int] | None = None

    def refresh(self) -> None:
        """Take in which hours there are now. Cost: nothing where none came and none was published."""
        published, folders = self._published, self.folders
        if published and (self._seen is None or published.changes != self._seen[0]):
            editions = published.versions(self._edition)
            self._versions = {
                hour: version
                for hour, version in published.versions(self._edition).items()
                if self._counts(hour, version)
            }
            self._in_lake = list(self._versions)
            self._overtaken = [hour for hour in editions if hour not in self._versions]
        if folders and self._edition == NOW:
            folders.refresh(self._versions)
        seen = (published.changes if published else 0, len(folders.unpublished) if folders else 0)
        if seen != self._seen:
            self._seen = seen
            self._in_folders = folders.unpublished if folders else []
            self._numbers = sorted({*self._in_lake, *self._in_folders})

    def _counts(self, hour: int, version: Version) -> bool:
        """Say whether a published hour is read: not where the shard's own folder came too late for it."""
        late = self.folders is not None and self.shard not in version.shards and self._edition == NOW
        return not (late and self.folders and self.folders.has(hour))

    def stands(self, close: Group, ticker: str) -> bool:
        """Say whether a close counts in its hour: not where the market is published there from another shard."""
        return self.published_from(paths.hour_of(close.ts_us), ticker) in (None, self.shard)

    def published_from(self, hour: int, ticker: str) -> int | None:
        """Return the shard that a market is published from in an hour, None where it is not."""
        market = self._hour(hour).market(ticker) if hour in self._versions else None
        return None if market is None else market.shard

    @property
    def changes(self) -> int:
        """Grows whenever the answer to any question may change."""
        folders, published = self.folders, self._published
        return (folders.changes if folders else 0) + (published.changes if published else 0)

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
        found = self.folders.reaching(hour)
        return [later for later in found if later not in self._versions] if found and hour in self._versions else found

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
        return self._published.hour(number, self._versions[number])


def _last(numbers: Sequence[int], end: int) -> int | None:
    """Return the greatest of ascending numbers below ``end``."""
    place = bisect_left(numbers, end)
    return numbers[place - 1] if place else None


def _first(numbers: Sequence[int], start: int) -> int | None:
    """Return the least of ascending numbers from ``start`` on."""
    place = bisect_left(numbers, start)
    return numbers[place] if place < len(numbers) else None
