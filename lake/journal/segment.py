"""Writing a segment: one table's batches of one stretch of time, appended to one file.

Owns the segment's bytes and its sidecar. Bytes are acknowledged by the flush file alone (lake.journal.flush), never
here.

A segment is an Arrow IPC stream: the schema, then batches that each carry a dictionary of their own, so that any
batch can be read behind the schema alone. A sealed one ends with the stream's end mark and has a sidecar.
"""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import pyarrow as pa
from pyarrow import ipc

from book.errors import DeadWriterError
from lake import durable, paths
from lake.journal import framing

COMPRESS_FROM_ROWS = 512
"""Batches from here on are compressed: below, zstd costs more than 10 times the rest of a write or a read.

It takes about 15 us a buffer, whatever its size; a batch has twenty.
"""
_PLAIN = ipc.IpcWriteOptions(use_threads=False)
_ZSTD = ipc.IpcWriteOptions(compression="zstd", use_threads=False)


class Added(NamedTuple):
    """What an append or a sync added: ``length`` of the segment afterwards, crc32 of just the added bytes, rows."""

    length: int
    crc32: int
    rows: int


class Sidecar(msgspec.Struct, frozen=True):
    """A sealed segment's index.

    ``bytes`` and ``crc32`` are of the whole file, end mark included. ``batches`` are (offset, length, rows, crc32),
    the first begins behind the schema. ``conns`` are the values of the last flush before the seal:
    conn -> (last_frame_us, last_seq).
    """

    segment: str
    bytes: int
    rows: int
    crc32: int
    batches: list[tuple[int, int, int, int]]
    conns: dict[str, tuple[int, int]]


class SegmentWriter:
    """Append batches to a new segment; after any exception the writer is dead and only ``abandon`` may be called.

    Append, sync, write the flush record: in that order, and seal only then.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Create the file, its name durable on return. Raises FileExistsError where it is taken."""
        self.path = path
        self.schema = schema
        self.length = 0
        self.rows = 0
        self.dead = False
        self._head = framing.schema_message(schema)
        self._crc32 = 0
        self._added_crc32 = 0
        self._added_rows = 0
        self._synced = 0
        self._batches: list[tuple[int, int, int, int]] = []
        self._fd = durable.create(path)

    def append(self, batch: pa.RecordBatch) -> Added:
        """Write a batch to the end of the file, not yet durable; return what this call added.

        The first batch's bytes include the schema. A batch without rows writes nothing.
        Raises OSError as the system gives it, ValueError where the batch is of another schema.
        """
        self._check_alive()
        if not batch.schema.equals(self.schema):
            self.dead = True
            raise ValueError(f"{self.path.name}: batch has schema {batch.schema}")
        if not batch.num_rows:
            return Added(self.length, 0, 0)
        body = _encode(batch, self.schema, len(self._head))
        data = body if self.length else self._head + bytes(body)
        offset = self.length or len(self._head)
        try:
            durable.write_all(self._fd, data)
        except BaseException:
            self.dead = True
            raise
        body_crc32 = zlib.crc32(body)
        crc32 = body_crc32 if self.length else zlib.crc32(data)
        self._batches.append((offset, len(body), batch.num_rows, body_crc32))
        self._crc32 = zlib.crc32(data, self._crc32)
        self._added_crc32 = zlib.crc32(data, self._added_crc32) if self._added_rows else crc32
        self.length += len(data)
        self.rows += batch.num_rows
        self._added_rows += batch.num_rows
        return Added(self.length, crc32, batch.num_rows)

    def sync(self) -> Added:
        """Make every appended byte durable; return what was added since the last sync, for the flush record.

        Raises OSError; then none of the bytes since the last sync may be acknowledged.
        """
        self._check_alive()
        added = Added(self.length, self._added_crc32, self._added_rows)
        if self.length > self._synced:
            try:
                os.fdatasync(self._fd)
            except BaseException:
                self.dead = True
                raise
        self._synced = self.length
        self._added_crc32 = self._added_rows = 0
        return added

    def seal(self, conns: Mapping[int, tuple[int, int]]) -> Sidecar | None:
        """End the stream, make the file durable and write its sidecar; the writer is closed.

        ``conns`` are those of the last flush: conn -> (last_frame_us, last_seq). A segment without a batch is
        removed, and None returned. Raises OSError; ValueError where bytes were appended and not synced.
        """
        self._check_alive()
        if self.length > self._synced:
            self.dead = True
            raise ValueError(f"{self.path.name}: sealed before its last bytes were flushed")
        if not self.length:
            self.abandon(0)
            return None
        try:
            durable.write_all(self._fd, framing.END_OF_STREAM)
            os.fsync(self._fd)
            sidecar = Sidecar(
                segment=self.path.name,
                bytes=self.length + len(framing.END_OF_STREAM),
                rows=self.rows,
                crc32=zlib.crc32(framing.END_OF_STREAM, self._crc32),
                batches=self._batches,
                conns={str(conn): mark for conn, mark in conns.items()},
            )
            write_sidecar(self.path, sidecar)
        except BaseException:
            self.dead = True
            raise
        self._close()
        return sidecar

    def abandon(self, durable_length: int) -> None:
        """Cut the file back to its acknowledged length and close it; a file never acknowledged is removed.

        The writer is dead afterwards; recovery seals what is left. Raises OSError; then recovery cuts the file.
        """
        try:
            if durable_length:
                os.ftruncate(self._fd, durable_length)
                os.fsync(self._fd)
            else:
                self.path.unlink()
                durable.sync_folder(self.path.parent)
        finally:
            self._close()

    def _check_alive(self) -> None:
        if self.dead:
            raise DeadWriterError(f"{self.path.name}: used after an error or a seal")

    def _close(self) -> None:
        self.dead = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_sidecar(segment: Path, sidecar: Sidecar) -> None:
    """Write a segment's sidecar, whole and durable."""
    durable.replace_file(segment.with_name(paths.sidecar_name(segment.name)), encode_sidecar(sidecar))


def encode_sidecar(sidecar: Sidecar) -> bytes:
    """Return a sidecar's bytes: the same for the same sidecar."""
    return msgspec.json.encode(sidecar, order="deterministic")


def read_sidecar(segment: Path) -> Sidecar | None:
    """Return a segment's sidecar, None where there is none that can be read."""
    try:
        data = segment.with_name(paths.sidecar_name(segment.name)).read_bytes()
        return msgspec.json.decode(data, type=Sidecar)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _encode(batch: pa.RecordBatch, schema: pa.Schema, head_bytes: int) -> memoryview:
    """Return a batch's messages, its dictionaries always among them."""
    sink = pa.BufferOutputStream()
    options = _ZSTD if batch.num_rows >= COMPRESS_FROM_ROWS else _PLAIN
    # A stream of its own for each batch: one that goes on leaves a dictionary out where it equals the last.
    with ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_batch(batch)
    return memoryview(sink.getvalue())[head_bytes : -len(framing.END_OF_STREAM)]
