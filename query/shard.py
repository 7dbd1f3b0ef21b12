"""One shard's log as its readers see it: hours, conns, silences, and the indexes of what was asked about.

Owns how much of the log is known and how much memory its indexes hold. Never answers a question.
"""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from pathlib import Path

from lake import paths
from lake.files import OpenFiles
from lake.flush import ConnMark
from lake.reader import Hour
from query.history import History
from query.index import AuditIndex, BookIndex, RowIndex
from query.intervals import Interval, Intervals

_KEPT_HISTORIES = 20_000
_OPEN_FILES = 128
_NOTHING = Intervals()


class ShardLog:
    """Follow one shard's journal. Not safe for two threads at once (query.log.Log is)."""

    def __init__(self, home: Path, shard: int, index_bytes: int) -> None:
        """Follow ``shard`` under ``home``; row lists are held up to about ``index_bytes``."""
        self.home = home
        self.shard = shard
        self.hours: dict[int, Hour] = {}
        self.conns: dict[int, ConnMark] = {}
        """The last mark of every conn."""
        self.flushes = 0
        """Flush records seen: grows whenever the answer to any question may change."""
        self._index_bytes = index_bytes
        self._files = OpenFiles(_OPEN_FILES)
        self._silences: dict[int, Intervals] = {}
        self._numbers: list[int] = []
        self._books: dict[int, BookIndex] = {}
        self._trades: dict[int, RowIndex] = {}
        self._audits: dict[int, AuditIndex] = {}
        self._used: OrderedDict[tuple[str, int], RowIndex] = OrderedDict()
        self._histories: dict[str, History] = {}

    def refresh(self) -> None:
        """Take in what was acknowledged since the last call. Cost: a listing a day, the new flush records."""
        new = [number for number in paths.hours(self.home, self.shard) if number not in self.hours]
        growing = {*new, *self._numbers[-3:]}  # older hours had their last record before the last look
        for number in new:
            folder = paths.hour_dir(self.home, self.shard, number)
            self.hours[number] = Hour(folder, self.shard, number, self._files)
        if new:
            self._numbers = sorted(self.hours)
        # An hour gets its last records before the next hour's first. So the newest is read first: what was
        # acknowledged before any record read there is then found in the older ones.
        for number in reversed(self._numbers):
            if number in growing:
                self._poll(self.hours[number])

    def known_until(self, conn: int) -> int | None:
        """Return the stamp of the last frame heard on a conn, None where it was never heard."""
        mark = self.conns.get(conn)
        return mark.last_frame_us if mark else None

    def silence(self, conn: int, ts_us: int) -> Interval | None:
        """Return the silence of a conn that an instant lies in."""
        return self._silences.get(conn, _NOTHING).holding(ts_us)

    def silences(self, conn: int, from_us: int, to_us: int) -> list[Interval]:
        """Return the silences of a conn, cut to [from_us, to_us)."""
        return self._silences.get(conn, _NOTHING).within(from_us, to_us)

    def history(self, ticker: str) -> History:
        """Return the walk over a market's groups."""
        found = self._histories.get(ticker)
        if found is None:
            if len(self._histories) >= _KEPT_HISTORIES:
                self._histories.clear()
            found = self._histories[ticker] = History(self, ticker)
        return found

    def hour_numbers(self) -> list[int]:
        """Return the hours that have a folder, ascending."""
        return self._numbers

    def hours_between(self, from_us: int, to_us: int) -> list[int]:
        """Return the hours with a folder that hold instants of [from_us, to_us], both inclusive, ascending."""
        first = bisect_left(self._numbers, paths.hour_of(from_us))
        return self._numbers[first : bisect_right(self._numbers, paths.hour_of(to_us))]

    def reached_hours(self) -> list[int]:
        """Return the hours that closes logged in later folders are stamped in, ascending."""
        return sorted({early for hour in self.hours.values() for early in hour.reach})

    def reaching(self, hour: int) -> list[int]:
        """Return the later hours whose closes are stamped in this hour or before it, ascending."""
        later = self._numbers[bisect_right(self._numbers, hour) :]
        return [number for number in later if any(early <= hour for early in self.hours[number].reach)]

    def book(self, hour: int) -> BookIndex:
        """Return an hour's index of the order book, up to date."""
        index = self._books.get(hour)
        if index is None:
            index = self._books[hour] = BookIndex(self.hours[hour])
        self._use(index)
        return index

    def trades(self, hour: int) -> RowIndex:
        """Return an hour's index of trades, up to date."""
        index = self._trades.get(hour)
        if index is None:
            index = self._trades[hour] = RowIndex(self.hours[hour], "trades")
        self._use(index)
        return index

    def audits(self, hour: int) -> AuditIndex:
        """Return an hour's index of audits, up to date."""
        index = self._audits.get(hour)
        if index is None:
            index = self._audits[hour] = AuditIndex(self.hours[hour])
        self._use(index)
        return index

    def knows(self, ticker: str) -> bool:
        """Say whether a market has rows in the order book. Cost: indexes hours, newest first, until one is found."""
        return any(ticker in self.book(hour).tallies for hour in reversed(self._numbers))

    def _poll(self, hour: Hour) -> None:
        for record in hour.poll():
            self.flushes += 1
            for text, mark in record.conns.items():
                known = self.conns.get(int(text))
                if known is None or mark.last_frame_us >= known.last_frame_us:
                    self.conns[int(text)] = mark
            for conn_number, from_us, to_us in record.silences:
                self._silences.setdefault(conn_number, Intervals()).add(from_us, to_us)

    def _use(self, index: RowIndex) -> None:
        key = (index.table, index.hour.hour)
        newest = next(reversed(self._used)) if self._used else None
        if newest != key:
            self._used[key] = index
            self._used.move_to_end(key)
        if index.extend() or newest != key:
            self._fit(key)

    def _fit(self, keep: tuple[str, int]) -> None:
        held = sum(index.bytes for index in self._used.values())
        for key in list(self._used):
            if held <= self._index_bytes or key == keep:
                break
            index = self._used.pop(key)
            held -= index.bytes
            index.drop_rows()
