"""Reading one hour of a shard's log, open or sealed, in this process or another than its writer's.

Owns what is durable of an hour: lengths come from the flush file's whole records only, never from the end of a file
and never from a sidecar. Each acknowledged byte is checked against its crc32 before it is read the first time.
Never decides what a row means.

Log order: segments in number order, batches in order, rows in order.
"""

import zlib
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import ipc

from book.errors import CorruptError
from lake import paths
from lake.journal import framing
from lake.journal.batches import BatchList, Ints
from lake.journal.files import OpenFiles
from lake.journal.flush import ConnMark, FeedMark, Fill, FlushRecord, FlushTail, Lapse, Silence
from lake.schemas import TABLES

NO_INSTANT = -(1 << 63)
"""What stands for a null instant in integer columns."""


class Hour:
    """One hour folder: what it holds now, after the last poll."""

    def __init__(self, folder: Path, shard: int, hour: int, files: OpenFiles | None = None) -> None:
        """Read an hour's folder; ``files`` is where its segments are kept open, shared with other hours or its own."""
        self.dir = folder
        self._folder = str(folder)
        self.shard = shard
        self.hour = hour
        self.flushes = 0
        """Records read so far: grows with every change."""
        self.last: FlushRecord | None = None
        self.conns: dict[int, ConnMark] = {}
        """The last mark of every conn that this hour names."""
        self.silences: list[Silence] = []
        self.feeds: dict[str, FeedMark] = {}
        """The last mark of every firehose that this hour names."""
        self.lapses: list[Lapse] = []
        self.fills: list[Fill] = []
        self.reach: set[int] = set()
        """Earlier hours that closes logged here are stamped in."""
        self._files = files or OpenFiles()
        self._tail = FlushTail(folder / paths.FLUSH_NAME)
        self._pending: dict[str, array[int]] = {}
        self._numbers: dict[str, int] = {}
        self._lists: dict[str, BatchList] = {}
        self._ends: dict[str, tuple[int, int]] = {}

    def poll(self) -> list[FlushRecord]:
        """Take in the flushes since the last poll and return them. Raises CorruptError as FlushTail.poll does."""
        records = self._tail.poll()
        for record in records:
            self.flushes += 1
            self.last = record
            for conn, mark in record.conns.items():
                self.conns[int(conn)] = mark
            self.silences.extend(record.silences)
            self.feeds |= record.feeds
            self.lapses.extend(record.lapses)
            self.fills.extend(record.fills)
            self.reach.update(record.reach)
            for table, extent in record.tables.items():
                pending = self._pending.setdefault(table, array("q"))
                pending.extend((self._number(extent.segment), extent.length, extent.crc32, extent.rows))
        return records

    def batches(self, table: str) -> BatchList:
        """Return a table's batches up to the last poll.

        Raises CorruptError where acknowledged bytes are missing or altered. Cost: bytes not seen yet are read once.
        """
        known = self._lists.setdefault(table, BatchList())
        pending = self._pending.get(table)
        if pending:
            extents = np.array(pending, np.int64).reshape(-1, 4)
            for number, chosen in _runs_of_equal(extents[:, 0]):
                self._add(table, number, extents[chosen, 1:].tolist(), known)
                del pending[: 4 * (chosen.stop - chosen.start)]
        return known

    def decode(self, table: str, numbers: Ints | Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of some batches (ascending numbers), in log order, with all columns or those named.

        Cost: the bytes of these batches are read and decoded; no other's.
        """
        return self._read(table, numbers, columns, plain=False)

    def integers(
        self, table: str, numbers: Ints | Sequence[int], columns: Sequence[str]
    ) -> dict[str, NDArray[np.signedinteger]]:
        """Return integer and instant columns of some batches as numpy arrays; null is 0, a null instant NO_INSTANT.

        Cost: as decode, without the batches' dictionaries.
        """
        rows = self._read(table, numbers, columns, plain=True)
        nulls = _nulls(table)
        return {
            name: _integers(column, null=nulls[name])
            for name, column in zip(rows.column_names, rows.columns, strict=True)
        }

    def table(self, table: str) -> pa.Table:
        """Return all durable rows of a table in log order. Cost: reads and decodes all of them."""
        return self.decode(table, np.arange(self.batches(table).count))

    def _read(
        self, table: str, numbers: Ints | Sequence[int], columns: Sequence[str] | None, *, plain: bool
    ) -> pa.Table:
        head, options = _reading(table, None if columns is None else tuple(columns), plain)
        wanted = np.asarray(numbers, np.int64)
        known = self.batches(table)
        parts: list[bytes | memoryview] = [head]
        starts = (known.body if plain else known.offset)[wanted]
        for number, chosen in _runs_of_equal(known.segment[wanted]):
            path = self._path(table, number)
            parts.extend(self._files.slices(path, starts[chosen].tolist(), known.end[wanted[chosen]].tolist()))
        with ipc.open_stream(pa.py_buffer(b"".join(parts)), options=options) as stream:
            return stream.read_all()

    def _path(self, table: str, number: int) -> str:
        return f"{self._folder}/{paths.segment_name(table, number)}"

    def _number(self, segment: str) -> int:
        number = self._numbers.get(segment)
        if number is None:
            parsed = paths.parse_segment(segment)
            if parsed is None:
                raise CorruptError(str(self.dir / segment), 0, "not a segment's name")
            number = self._numbers[segment] = parsed[1]
        return number

    def _add(self, table: str, number: int, extents: list[list[int]], known: BatchList) -> None:
        path = self._path(table, number)
        segment, start = self._ends.get(table, (-1, 0))
        if number < segment:
            raise CorruptError(path, 0, f"acknowledged after segment {segment}")
        start = start if number == segment else 0
        data = self._files.slices(path, [start], [extents[-1][0]])[0]
        found: list[framing.Frame] = []
        at = start
        for length, crc32, rows in extents:
            added = data[at - start : length - start]
            if zlib.crc32(added) != crc32:
                raise CorruptError(path, at, "acknowledged bytes fail their checksum")
            new = framing.frames(added, at, path)
            if sum(frame.rows for frame in new) != rows:
                raise CorruptError(path, at, "rows are not those acknowledged")
            found.extend(new)
            at = length
        if not start and not ipc.read_schema(pa.py_buffer(data)).equals(TABLES[table]):
            raise CorruptError(path, 0, f"its columns are not those of table {table}")
        known.add(number, found)
        self._ends[table] = (number, at)


def _runs_of_equal(values: Ints) -> Iterator[tuple[int, slice]]:
    """Yield each run of equal neighbours: value and slice."""
    cuts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, end in pairwise(cuts):
        if end > start:
            yield int(values[start]), slice(start, end)


@lru_cache(maxsize=64)
def _reading(table: str, columns: tuple[str, ...] | None, plain: bool) -> tuple[bytes, ipc.IpcReadOptions]:
    """Return what a table's batches are read behind and with.

    ``plain`` gives the same buffers without dictionaries: codes for text, integers for instants.
    """
    schema = TABLES[table]
    if plain:
        schema = pa.schema([pa.field(field.name, _plain_type(field.type)) for field in schema])
    fields = None if columns is None else sorted(schema.get_field_index(name) for name in columns)
    return framing.schema_message(schema), ipc.IpcReadOptions(use_threads=False, included_fields=fields)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.index_type
    return pa.int64() if pa.types.is_timestamp(kind) else kind


@lru_cache(maxsize=64)
def _nulls(table: str) -> dict[str, int]:
    """Return what stands for null in each column."""
    return {field.name: NO_INSTANT if pa.types.is_timestamp(field.type) else 0 for field in TABLES[table]}


def _integers(column: pa.ChunkedArray, null: int) -> NDArray[np.signedinteger]:
    if column.null_count:
        column = pc.fill_null(column, null)
    values: NDArray[np.signedinteger] = column.to_numpy()
    return values
