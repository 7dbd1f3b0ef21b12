"""The log of an hour rebuilt from raw frames: a journal of its own that holds that hour.

Owns its making: segments, one flush, its END, and beside them how the conns stood when the hour began and in which
state each process left it. It is read as any journal is (lake.settling.sources); that it counts, a manifest says.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from lake import durable, paths
from lake.journal.ends import End, write_end
from lake.journal.flush import ConnMark, Extent, FlushRecord, FlushWriter, Silence
from lake.journal.segment import SegmentWriter
from lake.raw import entries
from lake.raw.blocks import BlockWriter, contents, scan
from lake.raw.hours import SESSION
from lake.schemas import TABLES

State = tuple[Mapping[str, Any], Sequence[pa.Table]]


def claim(home: Path) -> int:
    """Take the next number of a rebuild; its folder is there, and empty, on return. Raises OSError."""
    while True:
        number = max(paths.rebuilt_numbers(home), default=0) + 1
        durable.make_folder(paths.rebuilt_root(home))
        try:
            paths.rebuilt_home(home, number).mkdir()
        except FileExistsError:
            continue
        return number


class RebuiltLog:
    """Write the log of one shard's hour under ``home``, the folder of a rebuild. Raises OSError."""

    def __init__(self, home: Path, shard: int, hour: int) -> None:
        self.conns: dict[int, ConnMark] = {}
        """The newest mark of each conn."""
        self._home, self._shard, self._hour = home, shard, hour
        self._folder = paths.hour_dir(home, shard, hour)
        self._segments: dict[str, SegmentWriter] = {}
        self._silences: list[Silence] = []
        self._reach: set[int] = set()
        self._carried: list[FlushRecord] = []
        durable.make_folder(self._folder)

    def append(self, table: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Add rows of a table, in log order."""
        for batch in batches:
            if batch.num_rows:
                self._segment(table).append(batch)

    def tell(self, marks: Mapping[int, ConnMark], silences: Iterable[Silence], reach: Iterable[int]) -> None:
        """Add what a flush says beside its rows."""
        self.conns.update(marks)
        self._silences.extend(silences)
        self._reach.update(hour for hour in reach if hour < self._hour)

    def carry(self, record: FlushRecord) -> None:
        """Take over what a flush of the hour's own log says of the firehoses: that is not read from frames anew."""
        if record.feeds or record.lapses or record.fills:
            kept = FlushRecord(
                n=record.n, at_us=record.at_us, feeds=record.feeds, lapses=record.lapses, fills=record.fills
            )
            self._carried.append(kept)

    def finish(self, flush: int, at_us: int, *, ended: Mapping[str, ConnMark] | None) -> None:
        """Acknowledge everything as one flush; with ``ended``, the conns as its END has them, end the hour."""
        extents = {}
        for table, writer in self._segments.items():
            added = writer.sync()
            extents[table] = Extent(writer.path.name, added.length, added.crc32, added.rows)
        last = FlushRecord(flush, at_us)
        if self._carried and self._carried[-1].n == flush:
            last = self._carried.pop()
        record = msgspec.structs.replace(
            last,
            tables=extents,
            conns={str(conn): mark for conn, mark in self.conns.items()},
            silences=self._silences,
            reach=sorted(self._reach),
        )
        self._flush(self._hour, *(one for one in self._carried if one.n < flush), record)
        for writer in self._segments.values():
            writer.seal({conn: (mark.last_frame_us, mark.last_seq) for conn, mark in self.conns.items()})
        if ended is not None:
            names = sorted(writer.path.name for writer in self._segments.values())
            conns = record.conns | dict(ended)
            write_end(self._home, End(self._shard, self._hour, flush, names, conns, record.reach))

    def begin_with(self, flush: int, at_us: int, marks: Mapping[int, ConnMark]) -> None:
        """Say how the conns stood when the hour began: the flush of the hour before that came last."""
        if marks:
            conns = {str(conn): mark for conn, mark in marks.items()}
            self._flush(self._hour - 1, FlushRecord(n=flush, at_us=at_us, conns=conns))

    def leave(self, start_us: int, state: State) -> None:
        """Keep the state in which a process left the hour, for a rebuild of the next."""
        writer = BlockWriter(self._folder / paths.raw_name(start_us, SESSION))
        fields, tables = state
        parts = [entries.encode_event(0, {"at": "state", **fields})]
        parts += [entries.encode_table(1 + place, table) for place, table in enumerate(tables)]
        writer.append(b"".join(parts), 0, 0)
        writer.end()
        writer.close(sync=True)

    def _segment(self, table: str) -> SegmentWriter:
        if table not in self._segments:
            self._segments[table] = SegmentWriter(self._folder / paths.segment_name(table, 0), TABLES[table])
        return self._segments[table]

    def _flush(self, hour: int, *records: FlushRecord) -> None:
        folder = paths.hour_dir(self._home, self._shard, hour)
        durable.make_folder(folder)
        writer = FlushWriter(folder / paths.FLUSH_NAME)
        for record in records:
            writer.append(record)
        writer.close()


def left_state(home: Path, shard: int, hour: int, start_us: int) -> State | None:
    """Return the state in which a process left an hour that was rebuilt under ``home``; None where it ended in it."""
    path = paths.hour_dir(home, shard, hour) / paths.raw_name(start_us, SESSION)
    if not path.exists():
        return None
    found = [entry.body for block in contents(path, scan(path).blocks) for entry in entries.decode(block, SESSION)]
    return found[0], found[1:]
