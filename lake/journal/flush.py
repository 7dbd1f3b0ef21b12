"""The flush file of an hour: the acknowledgement.

Owns the record that says how far each segment is durable, how far each conn has been heard, and what was silent.
What a record names is never lost; what none names never was. Readers in other processes poll the file.

A line is the record as JSON, a tab, the crc32 of that JSON as 8 hex digits, a newline.
"""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from book.errors import CorruptError, DeadWriterError
from lake import durable


class Extent(NamedTuple):
    """What a flush added to a table: its segment, that file's durable length in bytes, crc32 and rows added."""

    segment: str
    length: int
    crc32: int
    rows: int


NOT_COUNTED = -1


class ConnMark(NamedTuple):
    """How far a conn is known: stamp of the last frame of any kind, seq of the last message, 1 while it lives.

    ``apart`` is how many sequence numbers up to ``last_seq`` stand in no table: control messages, unreadable and
    unwanted ones, lost ones. With the distinct numbers of its rows (orderbook but for checkpoints and closes, audits,
    trades, lifecycle) they make up ``last_seq``. NOT_COUNTED in logs from before they were counted.
    """

    last_frame_us: int
    last_seq: int
    up: int
    apart: int = NOT_COUNTED


class Silence(NamedTuple):
    """A stretch [from_us, to_us) in which nothing was heard on a conn; no instant inside it is complete."""

    conn: int
    from_us: int
    to_us: int


class FeedMark(NamedTuple):
    """How far a firehose is known: what was received of it in [since_us, known_us] is in the log, but for its lapses.

    ``conn`` is its subscription, the last one where it is not ``up``; then ``reason`` says why. While it is up, what is
    heard on its conn later makes more of it known, without another mark.
    """

    conn: int
    known_us: int
    up: int
    since_us: int
    reason: str = ""

    @property
    def lapse_us(self) -> int:
        """Where a lapse begins where nothing follows: at the last frame heard, whose stamp a lost one may have had."""
        return self.known_us if self.up else self.known_us + 1


def heard_on(mark: FeedMark, conns: Mapping[int, ConnMark]) -> FeedMark:
    """Return a firehose's mark up to the last frame heard on its conn, while that is up."""
    heard = conns.get(mark.conn)
    if heard is None or not mark.up:
        return mark
    return mark._replace(known_us=max(mark.known_us, heard.last_frame_us))


class Lapse(NamedTuple):
    """A stretch [from_us, to_us) that has ended, in which rows of a firehose may be missing; ``conn`` was its last."""

    channel: str
    conn: int
    from_us: int
    to_us: int
    reason: str


class Fill(NamedTuple):
    """A lapse whose rows were asked for later: ``rows`` of them were missing, and stand in the log by this flush."""

    channel: str
    conn: int
    from_us: int
    to_us: int
    rows: int


class FlushRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One acknowledgement.

    ``n`` grows by one a record within a shard. ``at_us`` is the clock that stamps records. ``tables`` names those
    that grew, one segment each. ``conns`` names every conn that is up, and those that ended since the last record
    (key: the conn as text). ``reach`` lists the hours before this file's that a close of this flush is stamped in.
    ``feeds`` has, by table, the mark of each firehose whose subscription changed; an hour's first record has them all.
    A group of rows never spans two flushes.
    """

    n: int
    at_us: int
    tables: dict[str, Extent] = {}
    conns: dict[str, ConnMark] = {}
    silences: list[Silence] = []
    reach: list[int] = []
    feeds: dict[str, FeedMark] = {}
    lapses: list[Lapse] = []
    fills: list[Fill] = []


_OPENING = b'{"n":'
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(FlushRecord)


def encode(record: FlushRecord) -> bytes:
    """Return a record's line."""
    text = _encoder.encode(record)
    return b"%s\t%08x\n" % (text, zlib.crc32(text))


def decode(line: bytes) -> FlushRecord | None:
    """Return the record of a line without its newline, None where it is torn or altered."""
    text, tab, crc32 = line.rpartition(b"\t")
    if not tab or crc32 != b"%08x" % zlib.crc32(text):
        return None
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _holds_record(line: bytes) -> bool:
    """Say whether a line ends in a whole record, also one whose newline before it was lost."""
    start = line.find(_OPENING)
    while start >= 0:
        if decode(line[start:]):
            return True
        start = line.find(_OPENING, start + 1)
    return False


class FlushWriter:
    """Append records to an hour's flush file; after any exception the writer is dead, and a new one is opened.

    Opening an existing file cuts a torn last line off.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file, its name durable on return. Raises OSError, CorruptError."""
        self.path = path
        self.dead = False
        self.last: FlushRecord | None = None
        self._fd = -1
        try:
            self._fd = durable.create(path)
            self.length = 0
        except FileExistsError:
            self._reopen()

    def append(self, record: FlushRecord) -> None:
        """Write a record and make it durable: on return it is acknowledged.

        Raises OSError; then it is not, though a reader may see it once the file is opened again.
        """
        if self.dead:
            raise DeadWriterError(f"{self.path}: used after an error")
        line = encode(record)
        try:
            durable.write_all(self._fd, line)
            os.fdatasync(self._fd)
        except BaseException:
            self.close()
            raise
        self.length += len(line)
        self.last = record

    def close(self) -> None:
        """Close the file; the writer is dead afterwards."""
        self.dead = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _reopen(self) -> None:
        tail = FlushTail(self.path)
        records = tail.poll()
        self.last = records[-1] if records else None
        self.length = tail.offset
        fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, tail.offset)
            # A failed fdatasync leaves pages clean though not on disk: the last line is made dirty again.
            start = tail.offset - tail.last_bytes
            line = os.pread(fd, tail.last_bytes, start)
            os.lseek(fd, start, os.SEEK_SET)
            durable.write_all(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


class FlushTail:
    """Read an hour's flush file as it grows, also from another process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        """Bytes of whole records read so far."""
        self.last_bytes = 0
        """Bytes of the last of them."""
        self._n = -1

    def poll(self) -> list[FlushRecord]:
        """Return the records added since the last call; a torn or altered last line is left for a later call.

        A file that does not exist yet holds none. Raises CorruptError where whole lines follow a bad one, or where
        the numbers do not grow. Cost: one read of the new bytes, about 4 us a record.
        """
        try:
            if self.path.stat().st_size <= self.offset:
                return []
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return []
        lines = data.split(b"\n")[:-1]
        found: list[FlushRecord] = []
        for index, line in enumerate(lines):
            record = decode(line)
            if record is None:
                if any(map(_holds_record, lines[index + 1 :])) or _holds_record(line):
                    raise CorruptError(str(self.path), self.offset, "a bad record stands before whole ones")
                break
            if record.n <= self._n:
                raise CorruptError(str(self.path), self.offset, f"record {record.n} follows record {self._n}")
            self._n = record.n
            self.last_bytes = len(line) + 1
            self.offset += self.last_bytes
            found.append(record)
        return found
