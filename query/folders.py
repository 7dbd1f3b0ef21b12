"""One shard's log: the folders of hours that are not published, followed as they grow.

Owns which folders are followed, what their flush files say of conns, and how much memory their indexes hold. Never
reads a published file, and never answers a question.
"""

from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

from lake import paths
from lake.journal.files import OpenFiles
from lake.journal.flush import ConnMark, FeedMark, heard_on
from lake.journal.reader import Hour
from lake.settling.feeds import FeedHour, FeedPart, feed_parts
from query.folder_hour import FolderHour
from query.folder_rows import FolderRows
from query.index import AuditIndex, BookIndex, RowIndex
from query.intervals import Intervals

_OPEN_FILES = 128
_GROWING = 3
"""The newest folders at the last look are polled, and newer ones: others had their last record before it."""


class Folders:
    """Follow one shard's folders. Not safe for two threads at once.

    Followed are: those of hours that are not published; those after the first such hour, since closes logged there may
    be stamped in it; and the newest three, whose flush files say how far conns were heard past their hour's end.
    """

    def __init__(self, home: Path, shard: int, index_bytes: int, rows: FolderRows) -> None:
        """Follow ``shard`` under ``home``; row lists are held up to about ``index_bytes``."""
        self.home = home
        self.shard = shard
        self.hours: dict[int, Hour] = {}
        """The followed folders, ascending."""
        self.unpublished: list[int] = []
        """The hours among them that are not published, ascending."""
        self.conns: dict[int, tuple[ConnMark, int]] = {}
        """The last mark of every conn that they name, and the hour whose folder has it."""
        self.silences: dict[int, Intervals] = {}
        self.changes = 0
        """Grows whenever the answer to any question may change."""
        self._index_bytes = index_bytes
        self._rows = rows
        self._files = OpenFiles(_OPEN_FILES)
        self._known: set[int] = set()
        """The hours that have a folder."""
        self._published: Collection[int] = ()
        self._books: dict[int, BookIndex] = {}
        self._trades: dict[int, RowIndex] = {}
        self._audits: dict[int, AuditIndex] = {}
        self._faces: dict[int, FolderHour] = {}
        self._used: OrderedDict[tuple[str, int], RowIndex] = OrderedDict()
        self._sizes: dict[tuple[str, int], int] = {}
        self._held = 0
        self._reach: dict[int, int] = {}
        """For each followed folder with closes that are stamped earlier, the first such hour."""

    def refresh(self, published: Collection[int]) -> None:
        """Take in what was acknowledged since the last call; ``published`` are the hours read from the lake now.

        Cost: a listing of the newest days, the new flush records of the newest folders.
        """
        newest = max(self._known, default=None)
        listed = self._known.union(paths.hours(self.home, self.shard, since=newest))
        growing = set(list(self.hours)[-_GROWING:])
        if listed != self._known or published is not self._published:
            self._known, self._published = listed, published
            growing.update(self._choose())
        # An hour gets its last records before the next hour's first. So the newest is read first: what was
        # acknowledged before any record read there is then found in the older ones.
        for number in reversed(self.hours):
            if number in growing:
                self._poll(number)

    def has(self, hour: int) -> bool:
        """Say whether the shard has a folder of an hour, followed or not. Cost: a stat."""
        return (paths.hour_dir(self.home, self.shard, hour) / paths.FLUSH_NAME).exists()

    def hour(self, number: int) -> FolderHour:
        """Return a followed hour as questions see it."""
        face = self._faces.get(number)
        if face is None:
            face = self._faces[number] = FolderHour(self.hours[number], self, self._rows)
        return face

    def feed_mark(self, channel: str) -> FeedMark | None:
        """Return the newest mark of a firehose, up to the last that was heard on its conn; None where there is none."""
        for number in reversed(self.hours):
            mark = self.hours[number].feeds.get(channel)
            if mark is not None:
                return heard_on(mark, {conn: known for conn, (known, _) in self.conns.items() if conn == mark.conn})
        return None

    def feed_parts(self, number: int, channel: str) -> list[FeedPart]:
        """Return the stretches of a firehose in a followed hour, as far as it is known."""
        mark = self.feed_mark(channel)
        if mark is None:
            return []
        lapses = [lapse for hour in self.hours.values() for lapse in hour.lapses]
        if not mark.up:
            return feed_parts(FeedHour(self.shard, number, {channel: mark}, lapses), channel)
        until_us = mark.known_us + 1  # more of it may become known
        told = feed_parts(FeedHour(self.shard, number, {channel: mark._replace(known_us=until_us)}, lapses), channel)
        return [part._replace(to_us=min(part.to_us, until_us)) for part in told if part.from_us < until_us]

    def reaching(self, hour: int) -> list[int]:
        """Return the later hours in whose folders closes are stamped in this hour or before it, ascending."""
        return sorted(number for number, least in self._reach.items() if number > hour >= least)

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

    def _choose(self) -> list[int]:
        """Choose the folders to follow anew; return those that were not before."""
        known = sorted(self._known)
        first = next((number for number in known if number not in self._published), None)
        kept = [number for number in known[:-_GROWING] if first is not None and number >= first] + known[-_GROWING:]
        self.unpublished = [number for number in known if number not in self._published]
        new = [number for number in kept if number not in self.hours]
        gone = [number for number in self.hours if number not in kept]
        for number in gone:
            self._drop(number)
        self.hours = {number: self.hours.get(number) or self._open(number) for number in kept}
        if gone:
            self.conns, self.silences = {}, {}
            for number, hour in self.hours.items():
                self._hear(number, hour.conns)
                for conn, from_us, to_us in hour.silences:
                    self.silences.setdefault(conn, Intervals()).add(from_us, to_us)
        self.changes += 1
        return new

    def _open(self, number: int) -> Hour:
        return Hour(paths.hour_dir(self.home, self.shard, number), self.shard, number, self._files)

    def _drop(self, number: int) -> None:
        for held in (self._books, self._trades, self._audits, self._faces):
            held.pop(number, None)
        for table in ("orderbook", "trades", "audits"):
            self._used.pop((table, number), None)
            self._held -= self._sizes.pop((table, number), 0)
        self._reach.pop(number, None)
        self._rows.forget(self.shard, number)

    def _poll(self, number: int) -> None:
        for record in self.hours[number].poll():
            self.changes += 1
            self._hear(number, {int(conn): mark for conn, mark in record.conns.items()})
            if record.reach:
                self._reach[number] = min(*record.reach, self._reach.get(number, number))
            for conn, from_us, to_us in record.silences:
                self.silences.setdefault(conn, Intervals()).add(from_us, to_us)

    def _hear(self, number: int, marks: dict[int, ConnMark]) -> None:
        for conn, mark in marks.items():
            known = self.conns.get(conn)
            if known is None or mark.last_frame_us >= known[0].last_frame_us:
                self.conns[conn] = mark, number

    def _use(self, index: RowIndex) -> None:
        key = (index.table, index.hour.hour)
        self._used[key] = index
        self._used.move_to_end(key)
        index.extend()
        self._held += index.bytes - self._sizes.get(key, 0)
        self._sizes[key] = index.bytes
        while self._held > self._index_bytes and len(self._used) > 1:
            oldest, dropped = self._used.popitem(last=False)
            dropped.drop_rows()
            self._held -= self._sizes.pop(oldest)
