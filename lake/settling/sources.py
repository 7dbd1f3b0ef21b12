"""What a shard's log holds of one hour, as durable when it was read.

Owns which rows belong to an hour: those of its folder, and the closes logged in later folders that are stamped in it.
Never decides which of them are void (lake.settling.settle), and never writes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from book.errors import CorruptError
from book.records import HOUR_US, Kind
from lake import paths
from lake.journal.batches import BatchList, Ints
from lake.journal.ends import End, read_end
from lake.journal.flush import ConnMark, FeedMark, Fill, FlushRecord, FlushTail, Lapse, Silence, heard_on
from lake.journal.reader import Hour
from lake.schemas import ORDERBOOK, TABLES
from lake.settling.columns import integers, joined

_PART_BATCHES = 4096
_PART_BYTES = 32 << 20
_KEPT_FOLDERS = 1 << 14
"""Some hundred bytes each: what the flush file of an hour says, of almost two years."""
NONE_REBUILT: Mapping[int, int] = {}


@dataclass(frozen=True)
class Source:
    """What one shard has logged of one hour; see read_source."""

    shard: int
    hour: int
    tables: dict[str, pa.Table]
    """Segment schemas, log order; only tables with rows. Of the orderbook the closes stamped earlier are left out."""
    late_closes: pa.Table = field(default_factory=ORDERBOOK.empty_table)
    """Closes logged in later folders and stamped in this hour, in log order."""
    withdrawing: pa.Table = field(default_factory=ORDERBOOK.empty_table)
    """Closes stamped in earlier hours, logged in this folder or later: no rows of this hour, but they may void some."""
    withdrawing_at: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """For each of them, how many of the orderbook's rows here were logged before it."""
    conns: dict[int, ConnMark] = field(default_factory=dict)
    """The newest mark of every conn that the hour's folder names, looked up in later folders too."""
    silences: list[Silence] = field(default_factory=list)
    """Clipped to the hour; those told in later folders too."""
    feeds: Mapping[str, FeedMark] = field(default_factory=dict)
    """The newest mark of each firehose, of later folders too."""
    lapses: list[Lapse] = field(default_factory=list)
    """Those that touch the hour, told in later folders too."""
    fills: list[Fill] = field(default_factory=list)
    """Those told in the hour's own folder."""
    end: End | None = None
    flush: int = 0
    """Number of the newest flush of the shard that was read: the watermark."""
    reach: list[int] = field(default_factory=list)
    """Earlier hours that closes logged in this folder are stamped in, ascending."""
    marks: dict[int, ConnMark] = field(default_factory=dict)
    """The last mark of every conn in this hour's folder: what was received up to the hour's end."""
    before: dict[int, ConnMark] = field(default_factory=dict)
    """The mark of each of these conns at the end of the folder before, where it had begun by then."""
    early_checkpoints: int = 0
    """Checkpoint rows of the folder that are left out, stamped in an hour before it: written late, they say nothing
    that an older base does not say."""


def read_source(
    home: Path, shard: int, hour: int, upto_flush: int | None = None, rebuilt: Mapping[int, int] = NONE_REBUILT
) -> Source:
    """Return what a shard has logged of an hour, up to flush ``upto_flush`` where given.

    ``rebuilt`` are the hours whose log is that of a rebuild from raw frames, with its number: it stands for theirs.

    An hour without a folder is empty but for the closes that reach it. Raises CorruptError where acknowledged bytes
    are missing or altered, or a row cannot be of its folder. Cost: decodes the folder's rows, reads the flush files of
    the folder before and of all later ones (once where they have their END), and decodes those closes that reach back.
    """
    end = read_end(
        _home(home, hour, rebuilt), shard, hour
    )  # first, so that the flush it counts up to is among those read
    folders = _folders(home, shard, hour, upto_flush, rebuilt)
    own = folders.get(hour) or _Folder(_home(home, hour, rebuilt), shard, hour)
    if hour in rebuilt and own.last is None:
        raise CorruptError(str(own.dir), 0, f"rebuild {rebuilt[hour]} of the hour is missing")
    later = [folders[number] for number in sorted(folders) if number > hour]
    earlier = [folders[number] for number in folders if number < hour]
    book = _OwnBook()
    tables = {name: _read(own, name) for name in TABLES if name != "orderbook" and own.rows.get(name)}
    if own.rows.get("orderbook"):
        tables["orderbook"] = book.read(own)
    closes = joined(ORDERBOOK, [found for folder in later for found in _reaching(folder, hour)])
    stamped = integers(closes["ts_recv"]) // HOUR_US
    here = tables.get("orderbook", ORDERBOOK.empty_table()).num_rows
    logged_later = closes.filter(pa.array(stamped < hour))
    return Source(
        shard=shard,
        hour=hour,
        tables={name: tables[name] for name in TABLES if name in tables and tables[name].num_rows},
        late_closes=closes.filter(pa.array(stamped == hour)),
        withdrawing=joined(ORDERBOOK, [*book.early, logged_later]),
        withdrawing_at=np.append(np.array(book.early_at, np.int64), np.full(logged_later.num_rows, here, np.int64)),
        conns={conn: _newest(conn, [own, *later]) for conn in own.conns},
        silences=_clipped([silence for folder in (own, *later) for silence in folder.silences], hour),
        feeds=_newest_feeds([own, *later]),
        lapses=[lapse for folder in (own, *later) for lapse in folder.lapses if _touches(lapse, hour)],
        fills=own.fills,
        end=None if end is None or (upto_flush is not None and end.flush > upto_flush) else end,
        flush=max((folder.last or 0 for folder in folders.values()), default=0),
        reach=sorted(own.reach),
        marks=own.conns,
        before={conn: earlier[0].conns[conn] for conn in own.conns if earlier and conn in earlier[0].conns},
        early_checkpoints=book.early_checkpoints,
    )


def read_tables(home: Path, shard: int, hour: int, names: Iterable[str]) -> dict[str, pa.Table]:
    """Return the rows of some tables, not the order book, that a shard's folder of an hour holds, in log order.

    None without a folder. Raises CorruptError.
    """
    own = _Folder(home, shard, hour)
    own.read(None)
    return {name: _read(own, name) for name in names if own.rows.get(name)}


class _Folder:
    """What the flush file of one hour says up to a flush, without a look at rows."""

    def __init__(self, home: Path, shard: int, hour: int) -> None:
        self.dir = paths.hour_dir(home, shard, hour)
        self.shard, self.hour = shard, hour
        self.last: int | None = None
        self.rows: dict[str, int] = {}
        """Acknowledged rows of each table."""
        self.conns: dict[int, ConnMark] = {}
        self.silences: list[Silence] = []
        self.feeds: dict[str, FeedMark] = {}
        self.lapses: list[Lapse] = []
        self.fills: list[Fill] = []
        self.reach: set[int] = set()
        self.reaching: list[tuple[int, int, int]] = []
        """For each flush with closes that reach back: its orderbook rows (first, end) and the earliest hour."""

    def read(self, upto_flush: int | None) -> None:
        for record in FlushTail(self.dir / paths.FLUSH_NAME).poll():
            if upto_flush is None or record.n <= upto_flush:
                self._take(record)

    def _take(self, record: FlushRecord) -> None:
        self.last = record.n
        first = self.rows.get("orderbook", 0)
        for table, extent in record.tables.items():
            self.rows[table] = self.rows.get(table, 0) + extent.rows
        self.conns.update((int(conn), mark) for conn, mark in record.conns.items())
        self.silences.extend(record.silences)
        self.feeds |= record.feeds
        self.lapses.extend(record.lapses)
        self.fills.extend(record.fills)
        self.reach.update(record.reach)
        if record.reach:
            self.reaching.append((first, self.rows.get("orderbook", 0), min(record.reach)))


def _home(home: Path, hour: int, rebuilt: Mapping[int, int]) -> Path:
    """Return the home that an hour's log is read from."""
    return paths.rebuilt_home(home, rebuilt[hour]) if hour in rebuilt else home


def _folders(
    home: Path, shard: int, hour: int, upto_flush: int | None, rebuilt: Mapping[int, int]
) -> dict[int, _Folder]:
    """Return the folders of an hour, of all later ones, and of the nearest earlier one with a flush.

    The newest is read first: an hour gets its last flush before the next hour's first, so that what was acknowledged
    before any flush read there is then found in the older ones. The earlier one is of the log that the hour's own
    goes on from: that of the same rebuild, or the journal's.
    """
    found: dict[int, _Folder] = {}
    own = _home(home, hour, rebuilt)
    earlier = [number for number in paths.hours(own, shard) if number < hour]
    here_and_later = {
        *(one for one in paths.hours(home, shard) if one >= hour),
        *(one for one in rebuilt if one >= hour),
    }
    for number in sorted({*here_and_later, *earlier}, reverse=True):
        place = own if number < hour else _home(home, number, rebuilt)
        folder = _ended_folder(place, shard, number)
        if folder is None or (upto_flush is not None and (folder.last or 0) > upto_flush):
            folder = _Folder(place, shard, number)
            folder.read(upto_flush)
        if folder.last is None:
            continue
        found[number] = folder
        if number < hour:
            break
    return found


def _ended_folder(home: Path, shard: int, hour: int) -> _Folder | None:
    """Return a folder that has its END: nothing joins it, so that many hours can be read while it is read once."""
    if not paths.end_path(home, shard, hour).exists():
        return None
    try:
        found = (paths.hour_dir(home, shard, hour) / paths.FLUSH_NAME).stat()
    except FileNotFoundError:
        return None
    return _kept_folder(home, shard, hour, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=_KEPT_FOLDERS)
def _kept_folder(home: Path, shard: int, hour: int, _size: int, _mtime_ns: int) -> _Folder:
    folder = _Folder(home, shard, hour)
    folder.read(None)
    return folder


def _newest(conn: int, folders: list[_Folder]) -> ConnMark:
    """Return the mark of a conn that was heard furthest, the later one of two."""
    found: ConnMark | None = None
    for folder in folders:
        mark = folder.conns.get(conn)
        if mark is not None and (found is None or mark.last_frame_us >= found.last_frame_us):
            found = mark
    assert found is not None  # noqa: S101 - for the type checker: the first folder names it
    return found


def _newest_feeds(folders: list[_Folder]) -> dict[str, FeedMark]:
    """Return the newest mark of each firehose, up to the last that was heard on its conn by the newest folder."""
    feeds: dict[str, FeedMark] = {}
    conns: dict[int, ConnMark] = {}
    for folder in folders:
        feeds |= folder.feeds
        conns |= folder.conns
    return {channel: heard_on(mark, conns) for channel, mark in feeds.items()}


def _touches(lapse: Lapse, hour: int) -> bool:
    return lapse.from_us < paths.hour_start_us(hour + 1) and lapse.to_us > paths.hour_start_us(hour)


def _clipped(silences: list[Silence], hour: int) -> list[Silence]:
    start_us, end_us = paths.hour_start_us(hour), paths.hour_start_us(hour + 1)
    clipped = (Silence(conn, max(from_us, start_us), min(to_us, end_us)) for conn, from_us, to_us in silences)
    return sorted({one for one in clipped if one.from_us < one.to_us})


class _OwnBook:
    """The order book of the hour's own folder, a part at a time, and the closes among it that are stamped earlier."""

    def __init__(self) -> None:
        self.early: list[pa.Table] = []
        self.early_at: list[int] = []
        self.early_checkpoints = 0

    def read(self, folder: _Folder) -> pa.Table:
        parts: list[pa.Table] = []
        at = 0
        for part in _parts(folder, "orderbook"):
            parts.append(self._of_hour(part, folder, at))
            at += parts[-1].num_rows
        return joined(ORDERBOOK, parts)

    def _of_hour(self, part: pa.Table, folder: _Folder, at: int) -> pa.Table:
        stamped, kind = integers(part["ts_recv"]) // HOUR_US, integers(part["kind"])
        inside = stamped == folder.hour
        if inside.all():
            return part
        close, checkpoint = kind == Kind.CLOSE, kind == Kind.CHECKPOINT
        if np.any(~inside & ((stamped > folder.hour) | ~(close | checkpoint))):
            raise CorruptError(str(folder.dir), 0, "a row that is neither close nor checkpoint is of another hour")
        early = np.flatnonzero(~inside & close)
        self.early.append(part.take(pa.array(early)))
        self.early_at.extend((at + np.cumsum(inside)[early]).tolist())
        self.early_checkpoints += int(np.count_nonzero(~inside & checkpoint))
        return part.filter(pa.array(inside))


def _read(folder: _Folder, table: str) -> pa.Table:
    return joined(TABLES[table], list(_parts(folder, table)))


def _parts(folder: _Folder, table: str) -> Iterator[pa.Table]:
    """Yield a table's acknowledged rows of a folder in log order, bounded by batches and bytes."""
    hour = Hour(folder.dir, folder.shard, folder.hour)
    hour.poll()
    batches = hour.batches(table)
    upto = int(np.searchsorted(batches.first_row, folder.rows[table]))
    for numbers in _numbers(batches, 0, upto):
        yield _whole(hour.decode(table, numbers))


def _reaching(folder: _Folder, hour: int) -> Iterator[pa.Table]:
    """Yield the closes of a later folder that are stamped in an hour or before it, in log order."""
    wanted = [(first, end) for first, end, earliest in folder.reaching if earliest <= hour]
    if not wanted:
        return
    source = Hour(folder.dir, folder.shard, folder.hour)
    source.poll()
    batches = source.batches("orderbook")
    for first, end in wanted:
        start = int(np.searchsorted(batches.first_row, first))
        for numbers in _numbers(batches, start, int(np.searchsorted(batches.first_row, end))):
            rows = source.decode("orderbook", numbers)
            early = (integers(rows["kind"]) == Kind.CLOSE) & (integers(rows["ts_recv"]) < paths.hour_start_us(hour + 1))
            if early.any():
                yield _whole(rows.filter(pa.array(early)))


def _numbers(batches: BatchList, start: int, end: int) -> Iterator[Ints]:
    """Yield the batch numbers [start, end) in parts."""
    sizes = np.cumsum((batches.end - batches.offset)[:end])
    while start < end:
        done = int(sizes[start - 1]) if start else 0
        last = int(np.searchsorted(sizes, done + _PART_BYTES, side="right"))
        last = max(start + 1, min(last, start + _PART_BATCHES, end))
        yield np.arange(start, last)
        start = last


def _whole(rows: pa.Table) -> pa.Table:
    """Return rows in one piece that holds no more than them."""
    return rows.unify_dictionaries().combine_chunks()
