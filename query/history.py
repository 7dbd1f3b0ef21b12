"""One market's groups in one shard's log, in sort order, withdrawn ones left out.

Owns the walk over hours: a group stands in the folder of its stamp's hour, but a close may be logged in a later one.
Never decides what a group means for an instant (query.state).
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Protocol

from book.records import Kind
from lake import paths
from query.index import BookIndex, Group
from query.withdrawal import Withdrawals


class HourSource(Protocol):
    """What a walk needs of a shard's log."""

    def hour_numbers(self) -> list[int]:
        """Return the hours that have a folder, ascending."""

    def reached_hours(self) -> list[int]:
        """Return the hours that closes logged in later folders are stamped in, ascending."""

    def reaching(self, hour: int) -> list[int]:
        """Return the later hours whose closes are stamped in this hour or before it, ascending."""

    def book(self, hour: int) -> BookIndex:
        """Return an hour's index, up to date."""


class Settled:
    """The groups of one market logged in one hour: those not withdrawn, in sort order, and what was."""

    def __init__(self, groups: list[Group], closes: list[Group]) -> None:
        """Settle ``groups``; ``closes`` are those that can withdraw them: the hour's own and later ones."""
        self.withdrawals = Withdrawals(closes)
        self.groups = sorted((group for group in groups if not self.withdrawals.hides(group)), key=lambda g: g[:4])
        self.stamps = [group.ts_us for group in self.groups]


class History:
    """One market in one shard's log. Build one a question, or keep it: it follows the log as that grows."""

    def __init__(self, source: HourSource, ticker: str) -> None:
        self.ticker = ticker
        self._source = source
        self._settled: dict[int, tuple[tuple[int, ...], Settled]] = {}

    def settled(self, hour: int) -> Settled:
        """Return the market's groups logged in an hour that has a folder."""
        reaching = self._source.reaching(hour)
        logged = [self._logged(folder) for folder in (hour, *reaching)]
        version = (*map(len, logged), *reaching)
        known = self._settled.get(hour)
        if known is None or known[0] != version:
            closes = [group for groups in logged for group in groups if group.kind == Kind.CLOSE]
            known = (version, Settled(logged[0], closes))
            self._settled[hour] = known
        return known[1]

    def descending(self, ts_us: int) -> Iterator[Group]:
        """Yield the groups stamped at or before an instant, greatest sort key first.

        Cost: hours are indexed as the walk reaches them.
        """
        top = paths.hour_of(ts_us)
        early = [close for hour in self._source.reaching(top) for close in self._closes(hour) if close.ts_us <= ts_us]
        for hour in reversed(self._source.hour_numbers()):
            if hour > top:
                continue
            settled = self.settled(hour)
            upto = settled.groups[: bisect_right(settled.stamps, ts_us)]
            if early:
                upto = sorted(upto + early, key=lambda group: group[:4])
            start_us = paths.hour_start_us(hour)
            while upto and upto[-1].ts_us >= start_us:
                yield upto.pop()
            early = upto
        yield from sorted(early, key=lambda group: group[:4], reverse=True)

    def ascending(self, ts_us: int) -> Iterator[Group]:
        """Yield the groups stamped after an instant, least sort key first. Cost: as descending."""
        first = paths.hour_of(ts_us)
        folders = set(self._source.hour_numbers())
        for hour in sorted(folders.union(self._source.reached_hours())):
            if hour < first:
                continue
            start_us, end_us = paths.hour_start_us(hour), paths.hour_start_us(hour + 1)
            found = list(self.settled(hour).groups) if hour in folders else []
            found += [close for later in self._source.reaching(hour) for close in self._closes(later)]
            inside = [group for group in found if start_us <= group.ts_us < end_us and group.ts_us > ts_us]
            yield from sorted(inside, key=lambda group: group[:4])

    def hours_with_rows(self) -> list[int]:
        """Return the hours in whose folders the market has rows, ascending. Cost: indexes every hour."""
        numbers = self._source.hour_numbers()
        return [hour for hour in numbers if self.ticker in self._source.book(hour).tallies]

    def _logged(self, hour: int) -> list[Group]:
        return self._source.book(hour).groups.get(self.ticker, [])

    def _closes(self, hour: int) -> list[Group]:
        return [group for group in self._logged(hour) if group.kind == Kind.CLOSE]
