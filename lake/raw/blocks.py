"""The files of the archive: blocks of one zstd stream, each framed with its length, its number and a crc32.

Owns the bytes of a file and the judgement whether it is whole. What stands in the blocks is lake.raw.entries' matter.

A file is ``MAGIC`` and blocks. A block is a head (little-endian: crc32 of all that follows it in the block, number from
0, stored bytes, plain bytes: u32 each; first and last stamp in microseconds: i64 each) and its stored bytes. The stored
bytes of all blocks, joined, are one zstd stream, flushed at each block's end. A block of no bytes is the end mark.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from book.errors import CorruptError, DeadWriterError
from lake import durable

MAGIC = b"KALRAW1\n"
_HEAD = struct.Struct("<IIIIqq")
_CRC_BYTES = 4


class Block(NamedTuple):
    """Where the stored bytes of a block stand in its file, how many they are and were, and its stamps (us)."""

    offset: int
    stored: int
    plain: int
    first_us: int
    last_us: int


class Scan(NamedTuple):
    """The whole blocks of a file; ``ended`` where it has its end mark, ``torn_bytes`` of a last block that is not."""

    blocks: list[Block]
    ended: bool
    torn_bytes: int


class BlockWriter:
    """Write a new file of the archive, a block at a time. After any exception the writer is dead.

    Nothing is made durable but by ``close``: the archive promises nothing that the journal does not hold.
    """

    def __init__(self, path: Path) -> None:
        """Create the file and its folder. Raises FileExistsError where it is taken, OSError."""
        self.path = path
        self.length = 0
        self._number = 0
        self._dead = False
        durable.make_folder(path.parent)
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._stored = _Stored()
        self._zstd = pa.CompressedOutputStream(pa.PythonFile(self._stored, "w"), "zstd")
        self._write(MAGIC)

    def append(self, plain: bytes, first_us: int, last_us: int) -> None:
        """Write a block; readers get it whole or not at all. Raises OSError. Cost: zstd, some 0.3 us a frame."""
        if self._dead:
            raise DeadWriterError(f"{self.path}: used after an error")
        try:
            self._zstd.write(plain)
            self._zstd.flush()
        except BaseException:
            self._dead = True
            raise
        self._write(_block(self._number, self._stored.take(), len(plain), first_us, last_us))
        self._number += 1

    def end(self) -> None:
        """Write the end mark. Raises OSError."""
        self._write(_block(self._number, b"", 0, 0, 0))

    def close(self, *, sync: bool) -> None:
        """Close the file, with ``sync`` durable on return. Raises OSError; the file is closed then too."""
        self._dead = True
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        if sync:
            durable.sync_folder(self.path.parent)

    def _write(self, data: bytes) -> None:
        if self._dead:
            raise DeadWriterError(f"{self.path}: used after an error")
        try:
            durable.write_all(self._fd, data)
        except BaseException:
            self._dead = True
            raise
        self.length += len(data)


def scan(path: Path) -> Scan:
    """Check every block of a file by its crc32 and number. Raises CorruptError where bytes are altered, OSError.

    A last block that is cut short is no damage: a process was killed, or is writing. Cost: one read of the file.
    """
    blocks: list[Block] = []
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            if MAGIC.startswith(magic):
                return Scan([], ended=False, torn_bytes=len(magic))
            raise CorruptError(str(path), 0, "not a file of the archive")
        at = len(MAGIC)
        while at < size:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return Scan(blocks, ended=False, torn_bytes=size - at)
            crc32, number, stored, plain, first_us, last_us = _HEAD.unpack(head)
            data = file.read(stored) if at + _HEAD.size + stored <= size else b""
            if len(data) < stored:
                return Scan(blocks, ended=False, torn_bytes=size - at)
            if crc32 != zlib.crc32(data, zlib.crc32(head[_CRC_BYTES:])):
                raise CorruptError(str(path), at, "a block fails its checksum")
            if number != len(blocks):
                raise CorruptError(str(path), at, f"block {number} stands after {len(blocks)} blocks")
            at += _HEAD.size + stored
            if not stored:
                if at < size:
                    raise CorruptError(str(path), at, "bytes follow the end mark")
                return Scan(blocks, ended=True, torn_bytes=0)
            blocks.append(Block(at - stored, stored, plain, first_us, last_us))
    return Scan(blocks, ended=False, torn_bytes=0)


def contents(path: Path, blocks: list[Block]) -> Iterator[bytes]:
    """Yield the plain bytes of a file's blocks, in order. Raises CorruptError where they are not as their heads say."""
    with path.open("rb") as file:
        plain = pa.CompressedInputStream(pa.PythonFile(_Joined(file, blocks), "r"), "zstd")
        for block in blocks:
            try:
                data = plain.read(block.plain)
            except OSError as error:
                raise CorruptError(str(path), block.offset, f"a block cannot be decompressed: {error}") from None
            if len(data) != block.plain:
                raise CorruptError(str(path), block.offset, "a block holds fewer bytes than its head says")
            yield data


def _block(number: int, data: bytes, plain: int, first_us: int, last_us: int) -> bytes:
    head = _HEAD.pack(0, number, len(data), plain, first_us, last_us)[_CRC_BYTES:]
    return struct.pack("<I", zlib.crc32(data, zlib.crc32(head))) + head + data


class _Stored:
    """Where the compressor writes: what it has given since the last ``take``."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


class _Joined:
    """The stored bytes of blocks, joined, as a file that is read once."""

    closed = False

    def __init__(self, file: BinaryIO, blocks: list[Block]) -> None:
        self._file = file
        self._blocks = iter(blocks)
        self._left = b""

    def read(self, count: int) -> bytes:
        """Return the next bytes, at most ``count``; none at the end."""
        while not self._left and (block := next(self._blocks, None)) is not None:
            self._file.seek(block.offset)
            self._left = self._file.read(block.stored)
        data, self._left = self._left[:count], self._left[count:]
        return data

    def close(self) -> None:
        """Leave the file open: it is the caller's."""
