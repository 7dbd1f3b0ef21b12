"""One shard's record as its readers see it: published hours and folders as one.

Owns how far conns were heard, when they were silent, and the walks over markets. Never answers a question.
"""

from bisect import bisect_left, bisect_right

from book.records import HOUR_US
from lake import paths
from lake.journal.flush import FeedMark
from lake.settling.feeds import FeedPart, ShardFill
from query.folders import Folders
from query.history import History
from query.intervals import Interval, Intervals
from query.published import NOW, Edition, Published
from query.shard_hours import ShardHours

_KEPT_HISTORIES = 20_000
_SHARD_BITS = 10
_NOTHING = Intervals()


def shard_of(conn: int) -> int:
    """Return the shard that a conn is of, as its number says."""
    return conn & ((1 << _SHARD_BITS) - 1)


class ShardLog(ShardHours):
    """One shard in one edition. Not safe for two threads at once (query.log.Log is)."""

    def __init__(
        self, shard: int, folders: Folders | None, published: Published | None, edition: Edition = NOW
    ) -> None:
        """Read ``folders`` for hours that the edition of ``published`` does not have; either may be missing."""
        super().__init__(shard, folders, published, edition)
        self._heard: dict[int, int] = {}
        self._histories: dict[str, History] = {}

    def refresh(self) -> None:
        """Take in which hours there are now. Cost: nothing where none came and none was published."""
        before = self._seen
        super().refresh()
        if self._seen != before:
            self._heard = {}

    def feed_mark(self, channel: str) -> FeedMark | None:
        """Return how far a firehose is known by the folders, None where none tells."""
        return self.folders.feed_mark(channel) if self.folders else None

    def feed_parts(self, hour: int, channel: str) -> list[FeedPart]:
        """Return the stretches of a firehose in one of the hours, ascending; as published, they may be another shard's.

        Cost: nothing but where the hour's coverage is not held.
        """
        if hour in self._versions:
            parts, _ = self._hour(hour).coverage.feeds
            return sorted((part for part in parts if part.channel == channel), key=lambda part: part.from_us)
        return self.folders.feed_parts(hour, channel) if self.folders else []

    def fills(self, hour: int) -> list[ShardFill]:
        """Return the lapses of firehoses that were filled in one of the hours."""
        if hour in self._versions:
            return self._hour(hour).coverage.feeds[1]
        return [ShardFill(self.shard, fill) for fill in self.folders.hours[hour].fills] if self.folders else []

    def history(self, ticker: str) -> History:
        """Return the walk over a market's groups."""
        found = self._histories.get(ticker)
        if found is None:
            if len(self._histories) >= _KEPT_HISTORIES:
                self._histories.clear()
            found = self._histories[ticker] = History(self, ticker)
        return found

    def known_until(self, conn: int, since_us: int) -> int | None:
        """Return the stamp of the last frame heard on a conn since an instant, None where it was not heard.

        Cost: where no folder has its mark, a look at the last published hour that tells of it.
        """
        mark = self.folders.conns.get(conn) if self.folders else None
        if mark and (not self._in_lake or mark[1] >= self._in_lake[-1]):
            return mark[0].last_frame_us
        found = self._heard.get(conn)
        if found is None:
            found = self._heard_in_lake(conn, paths.hour_of(since_us))
            if found is not None and not self.owns(conn):
                found = self._seen_here(found, since_us)
            if found is not None:
                self._heard[conn] = found
        return max(
            (each for each in (found, mark[0].last_frame_us if mark else None) if each is not None), default=None
        )

    def _seen_here(self, heard_us: int, since_us: int) -> int:
        """Return up to when another shard's rows are seen here: the end of the published hours that are read."""
        place = bisect_left(self._overtaken, paths.hour_of(since_us))
        missing = self._overtaken[place : place + 1]
        end_us = paths.hour_start_us(missing[0]) if missing else heard_us + 1
        return min(heard_us - (heard_us % HOUR_US == 0), end_us - 1)

    def owns(self, conn: int) -> bool:
        """Say whether a conn is one of this shard's."""
        return shard_of(conn) == self.shard

    def heard_until(self) -> int | None:
        """Return the last stamp heard on any conn, None where nothing was recorded."""
        marks = [mark.last_frame_us for mark, _ in self.folders.conns.values()] if self.folders else []
        newest = self._hour(self._in_lake[-1]).heard_until_us() if self._in_lake else None
        return max([*marks, *([] if newest is None else [newest])], default=None)

    def hours_of_conn(self, conn: int, since_us: int) -> list[int]:
        """Return the hours from an instant on in which a conn may have rows, ascending."""
        since = paths.hour_of(since_us)
        return sorted([*self._of_conn(conn, since), *self._in_folders[bisect_left(self._in_folders, since) :]])

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
        for hour in reversed(self._of_conn(conn, since)):
            heard = self._hour(hour).heard(conn)
            if heard is not None:
                return heard.until_us
        return None

    def _of_conn(self, conn: int, since: int) -> list[int]:
        """Return the published hours that may tell of a conn, ascending.

        Cost: none where its publication names its conns; else the hours are looked at up to its end.
        """
        first = bisect_left(self._in_lake, since)
        end = self._published.conn_end(conn) if self._published else None
        if end is not None:
            return self._in_lake[first : bisect_right(self._in_lake, end)]
        found: list[int] = []
        for hour in self._in_lake[first:]:
            heard = self._hour(hour).heard(conn)
            if heard is None:
                break
            found.append(hour)
            if not heard.goes_on:
                break
        return found

    def knows(self, ticker: str) -> bool:
        """Say whether anything of a market's order book was recorded. Cost: as next_down, and indexes the folders."""
        if any(self.book(hour).holds(ticker) for hour in reversed(self._in_folders)):
            return True
        return self._published is not None and self._published.directory.span(ticker) is not None

    def tickers(self) -> set[str]:
        """Return every market of whose order book anything was recorded. Cost: as knows."""
        found = {ticker for hour in self._in_folders for ticker in self.book(hour).tickers()}
        return found.union(self._published.directory.tickers()) if self._published else found
