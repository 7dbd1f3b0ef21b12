"""One market's groups in one shard's record, in sort order, withdrawn ones left out.

Owns the walk over hours: a group stands in the hour of its stamp, but a close may be logged in a later folder.
Never decides what a group means for an instant (query.state).
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from book.records import Kind
from lake import paths
from query.group import Group, order
from query.hour_book import HourBook
from query.withdrawal import Settled

_KEPT_HOURS = 64
_LAST_HOUR = 1 << 40


class HourSource(Protocol):
    """What a walk needs of a shard's record; see query.shard.ShardLog."""

    def book(self, hour: int) -> HourBook:
        """Return one of the hours."""

    def logged(self, hour: int, ticker: str) -> Sequence[Group]:
        """Return a market's groups in a folder, as logged."""

    def reaching(self, hour: int) -> list[int]:
        """Return the later hours in whose folders closes are stamped in this hour or before it, ascending."""

    def stands(self, close: Group, ticker: str) -> bool:
        """Say whether a close logged later counts in the hour of its stamp."""

    def reached_hours(self) -> list[int]:
        """Return the hours that closes logged in later folders are stamped in, ascending."""

    def first_down(self, hour: int) -> int | None:
        """Return the greatest hour up to one."""

    def next_down(self, hour: int, ticker: str) -> int | None:
        """Return the next earlier hour that may have a group of a market."""

    def first_up(self, hour: int) -> int | None:
        """Return the least hour from one on."""

    def next_up(self, hour: int, ticker: str) -> int | None:
        """Return the next later hour that may have a group of a market."""


class History:
    """One market in one shard's record. Build one a question, or keep it: it follows the record as that grows."""

    def __init__(self, source: HourSource, ticker: str) -> None:
        self.ticker = ticker
        self._source = source
        self._settled: dict[int, tuple[tuple[int, ...], Settled]] = {}

    def settled(self, hour: int) -> Settled:
        """Return the market's groups that stand in one of the hours. Cost: nothing is decoded of a published one."""
        book, reaching = self._source.book(hour), self._source.reaching(hour)
        found = None if reaching else book.settled(self.ticker)
        if found is not None:
            return found
        own = book.groups(self.ticker)
        later = [self._source.logged(number, self.ticker) for number in reaching]
        state = (book.version, len(own), *map(len, later), *reaching)
        known = self._settled.get(hour)
        if known is None or known[0] != state:
            logged_here = () if book.version else _closes(own)
            known = (state, Settled(own, [*logged_here, *(close for groups in later for close in _closes(groups))]))
            if len(self._settled) >= _KEPT_HOURS:
                self._settled.clear()
            self._settled[hour] = known
        return known[1]

    def descending(self, ts_us: int) -> Iterator[Group]:
        """Yield the groups stamped at or before an instant, greatest sort key first.

        Cost: hours are looked at as the walk reaches them; those known to have none are passed over.
        """
        top = paths.hour_of(ts_us)
        early = [close for close in self._logged_after(top) if close.ts_us <= ts_us]
        for hour in self.hours_down(top):
            settled = self.settled(hour)
            upto = settled.groups[: bisect_right(settled.stamps, ts_us)]
            late = [close for close in self._logged_after(hour) if close.ts_us <= ts_us] if hour < top else ()
            if early or late:
                inside = (close for close in late if paths.hour_of(close.ts_us) == hour)
                upto = _merged(early, inside, upto)
            start_us = paths.hour_start_us(hour)
            while upto and upto[-1].ts_us >= start_us:
                yield upto.pop()
            early = upto
        yield from reversed(_merged(early))

    def ascending(self, ts_us: int) -> Iterator[Group]:
        """Yield the groups stamped after an instant, least sort key first. Cost: as descending."""
        first = paths.hour_of(ts_us)
        yield from (group for group in self._through(self.hours_up(first), first) if group.ts_us > ts_us)

    def whole(self) -> Iterator[Group]:
        """Yield all groups, least sort key first. Cost: every hour with a group is looked at, none between."""
        hours = list(self.hours_down(_LAST_HOUR))
        yield from self._through(reversed(hours), -_LAST_HOUR)

    def hours_down(self, hour: int) -> Iterator[int]:
        """Yield the hours up to one that may have rows of the market that count, descending."""
        number = self._source.first_down(hour)
        while number is not None:
            yield number
            number = self._source.next_down(number, self.ticker)

    def hours_up(self, hour: int) -> Iterator[int]:
        """Yield the hours from one on that may have rows of the market, ascending."""
        number = self._source.first_up(hour)
        while number is not None:
            yield number
            number = self._source.next_up(number, self.ticker)

    def _through(self, hours: Iterator[int], first: int) -> Iterator[Group]:
        """Yield the groups of hours, ascending, and of those between that only closes logged later are stamped in."""
        reached = deque(hour for hour in self._source.reached_hours() if hour >= first)
        for hour in hours:
            while reached and reached[0] < hour:
                yield from self._of_hour(reached.popleft(), ())
            if reached and reached[0] == hour:
                reached.popleft()
            yield from self._of_hour(hour, self.settled(hour).groups)
        for hour in reached:
            yield from self._of_hour(hour, ())

    def _of_hour(self, hour: int, groups: Sequence[Group]) -> list[Group]:
        """Return the groups stamped in an hour: of those that stand in it, and of closes logged later."""
        start_us, end_us = paths.hour_start_us(hour), paths.hour_start_us(hour + 1)
        late = list(self._logged_after(hour))
        found = _merged(late, groups) if late else groups
        return [group for group in found if start_us <= group.ts_us < end_us]

    def _logged_after(self, hour: int) -> Iterator[Group]:
        """Yield the closes logged in folders after an hour that reach it or an hour before it."""
        for number in self._source.reaching(hour):
            closes = _closes(self._source.logged(number, self.ticker))
            yield from (close for close in closes if self._source.stands(close, self.ticker))


def _closes(groups: Sequence[Group]) -> Iterator[Group]:
    return (group for group in groups if group.kind == Kind.CLOSE)


def _merged(*parts: Iterable[Group]) -> list[Group]:
    """Return groups in sort order; a close that stands in two places once."""
    found = {order(group): group for part in parts for group in part}
    return [found[key] for key in sorted(found)]
