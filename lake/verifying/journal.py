"""The log of one hour of a shard, byte by byte.

Owns the proof that what was acknowledged stands as it was written: flush lines by their crc and number, segments by
the crc of the flush that named them, sidecars and END derived again. Never looks at what a row says.

An hour with an END is strict: nothing in its folder may differ from what a finished hour leaves. Without one a writer
may be at work, so that bytes no flush names prove and doubt nothing.
"""

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa
from pyarrow import ipc

from book.errors import CorruptError
from lake import paths
from lake.journal import ends, framing, segment
from lake.journal.flush import ConnMark, Extent, FlushRecord
from lake.journal.recovery import verify_extents
from lake.schemas import TABLES
from lake.verifying import flushes
from lake.verifying.findings import Findings

Marks = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Claim:
    """What a manifest says of a shard's hour: the newest flush it was made from, and whether there was an END."""

    flush: int
    ended: bool


def verify_journal(
    home: Path, hours: Collection[int] | None, claims: Mapping[tuple[int, int], Claim], findings: Findings
) -> None:
    """Prove the folders of these hours (None: all); ``claims`` are by (hour, shard).

    Cost: one read of every file of those hours.
    """
    for shard in paths.shards(home):
        known = paths.hours(home, shard)
        folders = [paths.hour_dir(home, shard, hour) for hour in known]
        for place, hour in enumerate(known):
            if hours is None or hour in hours:
                with findings.doubting(folders[place]):
                    _Folder(folders[place], shard, hour, folders[place + 1 :], findings).prove(
                        claims.get((hour, shard))
                    )
        _newest(folders, [claim.flush for (_, one), claim in claims.items() if one == shard], findings)


def _newest(folders: list[Path], claimed: list[int], findings: Findings) -> None:
    """Prove that a shard's log reaches the newest flush that anything was published from."""
    for folder in reversed(folders):
        found = flushes.read(folder)
        if found.records:
            newest = found.records[-1].n
            if max(claimed, default=0) > newest:
                findings.doubt(found.path, f"ends with flush {newest}; flush {max(claimed)} was published")
            return


class _Folder:
    """One hour of one shard. What a writer adds last is read first, so that the rest covers it."""

    def __init__(self, folder: Path, shard: int, hour: int, later: list[Path], findings: Findings) -> None:
        self.dir, self.shard, self.hour, self.later, self.findings = folder, shard, hour, later, findings
        names = sorted(entry.name for entry in folder.iterdir())
        suffix = paths.SIDECAR_SUFFIX
        self.segments = [name for name in names if paths.parse_segment(name)]
        self.sidecars = {
            name.removesuffix(suffix): (folder / name).read_bytes()
            for name in names
            if name.endswith(suffix) and paths.parse_segment(name.removesuffix(suffix))
        }
        self.end: ends.End | None = None
        self.has_end = paths.END_NAME in names

    def prove(self, claim: Claim | None) -> None:
        if self.has_end:
            with self.findings.doubting(self.dir / paths.END_NAME):
                self.end = ends.read_end(self.dir.parents[3], self.shard, self.hour)
        elif claim and claim.ended:
            self.findings.doubt(self.dir / paths.END_NAME, "missing, though the hour was published as ended")
        following = next((n for folder in self.later if (n := flushes.first_number(folder)) is not None), None)
        found = flushes.read(self.dir)
        if not found.exists:
            if claim or self.has_end or self.segments or self.sidecars:
                self.findings.doubt(found.path, "missing")
            return
        self._numbers(found, following)
        if found.fault:
            self.findings.doubt(found.path, found.fault)
            return
        self.findings.proved("flush records", len(found.records))
        self._segments(found.records)
        if self.end:
            with self.findings.doubting(self.dir / paths.END_NAME):
                self._end(self.end, found.records)

    def _numbers(self, found: flushes.Flushes, following: int | None) -> None:
        """Prove that the last line is there: the next folder, looked at before, goes on from it."""
        last = found.records[-1].n if found.records else None
        if found.fault is None and last is not None and following not in (None, last + 1):
            self.findings.doubt(found.path, f"ends with flush {last}; the next hour goes on with flush {following}")
        if found.torn and (self.has_end or following is not None):
            self.findings.doubt(found.path, f"{found.torn} bytes follow its last whole line")

    def _segments(self, records: list[FlushRecord]) -> None:
        extents: dict[str, list[Extent]] = {}
        named_last: dict[str, int] = {}
        for place, record in enumerate(records):
            for extent in record.tables.values():
                extents.setdefault(extent.segment, []).append(extent)
                named_last[extent.segment] = place
        marks = _Marks(records, self.sidecars, named_last)
        for name, parts in extents.items():
            with self.findings.doubting(self.dir / name):
                self._segment(name, parts, marks.of(name))
        for name in {*self.segments, *self.sidecars} - set(extents) if self.has_end else ():
            self.findings.doubt(self.dir / name, "no flush names it")

    def _segment(self, name: str, parts: list[Extent], marks: Marks | None) -> None:
        path = self.dir / name
        data = verify_extents(path, parts)
        found = framing.frames(data, 0, str(path))
        if sum(frame.rows for frame in found) != sum(part.rows for part in parts):
            raise CorruptError(str(path), 0, "rows are not those acknowledged")
        parsed = paths.parse_segment(name)
        if not parsed or not ipc.read_schema(pa.py_buffer(data)).equals(TABLES[parsed[0]]):
            raise CorruptError(str(path), 0, "its columns are not those of its table")
        self.findings.proved("acknowledged bytes of segments", len(data))
        whole = path.stat().st_size
        if name not in self.sidecars:
            if self.has_end and whole != len(data):
                self.findings.doubt(path, f"{whole - len(data)} bytes follow the last acknowledged one, and no sidecar")
            return
        end_mark = path.read_bytes()[len(data) :]
        if end_mark != framing.END_OF_STREAM:
            self.findings.doubt(path, "is sealed, but does not end with the end-of-stream mark")
        sidecar = self.dir / paths.sidecar_name(name)
        if marks is None:
            self.findings.doubt(sidecar, "its conns are those of no flush")
        elif _sidecar(name, data, found, marks) != self.sidecars[name]:
            self.findings.doubt(sidecar, "differs from what its segment says")
        else:
            self.findings.proved("sidecars")

    def _end(self, end: ends.End, records: list[FlushRecord]) -> None:
        """Derive the END again from the flushes, those of later folders up to its own last one included."""
        path = self.dir / paths.END_NAME
        last = reached = records[-1].n if records else 0
        may: dict[str, list[ConnMark]] = {}
        for record in records:
            may |= {conn: [mark] for conn, mark in record.conns.items()}
        for record in flushes.until(self.later, end.flush):
            reached = record.n
            for conn, mark in record.conns.items():
                if conn in may:
                    may[conn].append(mark)
        if not last <= end.flush == reached:
            self.findings.doubt(path, f"counts flushes up to {end.flush}; the log goes from {last} to {reached}")
        segments = sorted({extent.segment for record in records for extent in record.tables.values()})
        reach = sorted({hour for record in records for hour in record.reach})
        said = all(mark in may.get(conn, ()) for conn, mark in end.conns.items())
        if end.segments != segments or end.reach != reach or set(end.conns) != set(may) or not said:
            self.findings.doubt(path, "differs from what the flushes say")
        to_us = paths.hour_start_us(self.hour + 1)
        if any(mark.up and mark.last_frame_us < to_us for mark in end.conns.values()):
            self.findings.doubt(path, "was written before every conn had passed the hour")
        self.findings.proved("ENDs")


class _Marks:
    """Which marks of conns a sidecar may hold: those after a flush from the last one on that named its segment.

    A journal writes the conns that are up, those that the flush names, and the newest one; recovery writes every conn
    of the folder.
    """

    def __init__(
        self, records: list[FlushRecord], sidecars: Mapping[str, bytes], named_last: Mapping[str, int]
    ) -> None:
        self._found: dict[str, Marks] = {}
        self._from: dict[int, list[tuple[str, Marks]]] = {}
        for name, data in sidecars.items():
            marks = _conns(data)
            if name in named_last and marks is not None:
                self._from.setdefault(named_last[name], []).append((name, marks))
        if self._from:
            self._look(records)

    def of(self, name: str) -> Marks | None:
        """Return a sidecar's conns where they are what it may hold."""
        return self._found.get(name)

    def _look(self, records: list[FlushRecord]) -> None:
        kept: dict[str, ConnMark] = {}
        every: dict[str, ConnMark] = {}
        newest = ""
        waiting: list[tuple[str, Marks]] = []
        for place, record in enumerate(records):
            newest = max((newest, *record.conns), key=lambda conn: int(conn or 0))
            kept = {conn: mark for conn, mark in kept.items() if mark.up or conn == newest} | record.conns
            every |= record.conns
            waiting += self._from.get(place, ())
            if waiting:
                may = (_plain(kept), _plain(every))
                self._found |= {name: marks for name, marks in waiting if marks in may}
                waiting = [(name, marks) for name, marks in waiting if name not in self._found]


def _plain(conns: Mapping[str, ConnMark]) -> Marks:
    return {conn: (mark.last_frame_us, mark.last_seq) for conn, mark in conns.items()}


def _conns(sidecar: bytes) -> Marks | None:
    try:
        return msgspec.json.decode(sidecar, type=segment.Sidecar).conns
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _sidecar(name: str, data: bytes, found: list[framing.Frame], marks: Marks) -> bytes:
    """Return the sidecar that a segment of these acknowledged bytes has."""
    batches = [
        (frame.offset, frame.end - frame.offset, frame.rows, zlib.crc32(data[frame.offset : frame.end]))
        for frame in found
    ]
    derived = segment.Sidecar(
        segment=name,
        bytes=len(data) + len(framing.END_OF_STREAM),
        rows=sum(frame.rows for frame in found),
        crc32=zlib.crc32(framing.END_OF_STREAM, zlib.crc32(data)),
        batches=batches,
        conns=marks,
    )
    return segment.encode_sidecar(derived)
