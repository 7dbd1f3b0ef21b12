"""Putting an hour in order after its writer died.

Owns the cut of every file back to what was acknowledged, and the sealing of segments left open. Never adds a record
and never runs while a writer is at work on the hour.
"""

import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from book.errors import CorruptError
from lake import durable, paths
from lake.journal import framing, segment
from lake.journal.flush import ConnMark, Extent, FeedMark, FlushRecord, FlushTail, heard_on


@dataclass(frozen=True)
class Recovered:
    """What stands in an hour after recovery, and what was done."""

    hour_dir: Path
    last: FlushRecord | None
    """The last acknowledgement, None where there was none."""
    conns: dict[int, ConnMark]
    """The last mark of every conn the hour names."""
    feeds: dict[str, FeedMark]
    """The last mark of every firehose, up to the last that was heard on its conn."""
    next_number: dict[str, int]
    """For each table with a segment, the first number not used; other tables begin at 0."""
    sealed: list[str] = field(default_factory=list)
    """Segments sealed now."""
    deleted: list[str] = field(default_factory=list)
    """Files removed, since no flush names them."""
    cut_bytes: int = 0
    """Bytes cut off because no flush names them."""


def recover_shard(home: Path, shard: int) -> list[Recovered]:
    """Recover every hour of a shard that was left open, and the newest one, oldest first.

    Raises CorruptError as recover_hour does. Cost: one listing an hour, and what the open hours cost.
    """
    hours = [paths.hour_dir(home, shard, hour) for hour in paths.hours(home, shard)]
    return [recover_hour(folder) for folder in hours if folder == hours[-1] or _is_open(folder)]


def recover_hour(hour_dir: Path) -> Recovered:
    """Cut an hour's files to what was acknowledged and seal its segments; running it again changes nothing.

    Raises CorruptError where acknowledged bytes are missing or altered; then nothing of that segment was changed.
    Cost: one read of the hour.
    """
    tail = FlushTail(hour_dir / paths.FLUSH_NAME)
    records = tail.poll()
    conns: dict[int, ConnMark] = {}
    extents: dict[str, list[Extent]] = {}
    feeds: dict[str, FeedMark] = {}
    for record in records:
        conns.update((int(conn), mark) for conn, mark in record.conns.items())
        feeds |= record.feeds
        for extent in record.tables.values():
            extents.setdefault(extent.segment, []).append(extent)
    work = _Work(hour_dir, conns)
    work.cut_flush(tail.offset)
    work.remove_unacknowledged(set(extents))
    for name, parts in extents.items():
        work.settle(name, parts)
    return Recovered(
        hour_dir=hour_dir,
        last=records[-1] if records else None,
        conns=conns,
        feeds={channel: heard_on(mark, conns) for channel, mark in feeds.items()},
        next_number=_next_numbers(extents),
        sealed=work.sealed,
        deleted=work.deleted,
        cut_bytes=work.cut_bytes,
    )


def verify_extents(path: Path, extents: Iterable[Extent]) -> bytes:
    """Return a segment's acknowledged bytes, each checked against the crc32 of the flush that named it.

    Raises CorruptError where bytes are missing or altered. Cost: one read of the file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorruptError(str(path), 0, "an acknowledged segment is missing") from None
    view = memoryview(data)
    at = 0
    for extent in extents:
        if extent.length > len(data) or extent.length < at:
            raise CorruptError(str(path), len(data), f"{extent.length} bytes were acknowledged")
        if zlib.crc32(view[at : extent.length]) != extent.crc32:
            raise CorruptError(str(path), at, "acknowledged bytes fail their checksum")
        at = extent.length
    return data[:at]


def _is_open(folder: Path) -> bool:
    names = {entry.name for entry in folder.iterdir()}
    return any(paths.parse_segment(name) and paths.sidecar_name(name) not in names for name in names)


def _next_numbers(names: Iterable[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for name in names:
        parsed = paths.parse_segment(name)
        if parsed:
            numbers[parsed[0]] = max(numbers.get(parsed[0], 0), parsed[1] + 1)
    return numbers


class _Work:
    """One hour's recovery: what it changes, and the account of it."""

    def __init__(self, hour_dir: Path, conns: dict[int, ConnMark]) -> None:
        self.dir = hour_dir
        self.conns = conns
        self.sealed: list[str] = []
        self.deleted: list[str] = []
        self.cut_bytes = 0

    def cut_flush(self, length: int) -> None:
        """Cut a torn last record off the flush file."""
        path = self.dir / paths.FLUSH_NAME
        if path.exists():
            self._cut(path, length)

    def remove_unacknowledged(self, named: set[str]) -> None:
        """Remove temporary files and the segments, with their sidecars, that no flush names."""
        keep = named | {paths.sidecar_name(name) for name in named} | {paths.FLUSH_NAME}
        for path in sorted(self.dir.iterdir()):
            stem = path.name.removesuffix(paths.TEMPORARY_SUFFIX).removesuffix(paths.SIDECAR_SUFFIX)
            if path.name not in keep and (paths.parse_segment(stem) or path.suffix == paths.TEMPORARY_SUFFIX):
                path.unlink()
                self.deleted.append(path.name)
        if self.deleted:
            durable.sync_folder(self.dir)

    def settle(self, name: str, extents: list[Extent]) -> None:
        """Check a segment's acknowledged bytes; where it is open, cut it to them and seal it."""
        path = self.dir / name
        data = verify_extents(path, extents)
        sidecar = segment.read_sidecar(path)
        whole = len(data) + len(framing.END_OF_STREAM)
        if sidecar and sidecar.bytes == path.stat().st_size == whole:
            return
        self._cut(path, len(data))
        found = framing.frames(data, 0, str(path))
        if sum(frame.rows for frame in found) != sum(extent.rows for extent in extents):
            raise CorruptError(str(path), 0, "rows are not those acknowledged")
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            durable.write_all(fd, framing.END_OF_STREAM)
            os.fsync(fd)
        finally:
            os.close(fd)
        sealed = segment.Sidecar(
            segment=name,
            bytes=whole,
            rows=sum(frame.rows for frame in found),
            crc32=zlib.crc32(framing.END_OF_STREAM, zlib.crc32(data)),
            batches=[
                (frame.offset, frame.end - frame.offset, frame.rows, zlib.crc32(data[frame.offset : frame.end]))
                for frame in found
            ],
            conns={str(conn): (mark.last_frame_us, mark.last_seq) for conn, mark in self.conns.items()},
        )
        segment.write_sidecar(path, sealed)
        self.sealed.append(name)

    def _cut(self, path: Path, length: int) -> None:
        size = path.stat().st_size
        if size > length:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.ftruncate(fd, length)
                os.fsync(fd)
            finally:
                os.close(fd)
            self.cut_bytes += size - length
