"""What stands in the archive: entries in the order in which the collector's session took them.

Owns the form of an entry. Knows no session: an entry says what arrived or was decided, never what came of it.

An entry is a head (little-endian: kind u8, number u64, bytes of the body u32) and its body. Numbers run over all files
of one process, from 0, without a gap. Kinds: 1 a turn, 2 an event as JSON, 3 a table as an Arrow IPC stream.

A turn is what arrived on one link within one part of the session's input, in which no link was silent: first and last
reading of the machine's monotonic clock in ns (i64 each), the first stamp in us (i64), the count (u32), how many turns
of the same part, of other links, follow (u32); of each item its place among the part's items less that of the item
before it (u32; the first's place is its own); of each its stamp minus the first (u32); of each its size (u32; 2**32 - 1
is a pong, 2**32 - 2 says that frames were dropped here for want of room); then the frames.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

TURN, EVENT, TABLE = 1, 2, 3
PONG, OVERFLOW = "pong", "overflow"
"""Items of a turn that are no frames."""

_HEAD = struct.Struct("<BQI")
_TURN = struct.Struct("<qqqII")
_MARKS = {PONG: 2**32 - 1, OVERFLOW: 2**32 - 2}
_NAMES = {size: name for name, size in _MARKS.items()}
_LEAST_MARK = min(_NAMES)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Ints = npt.NDArray[np.int64]
Item = bytes | str


class Turn(NamedTuple):
    """What arrived on one link within a part; ``places`` in it and ``stamps`` in microseconds, one an item.

    ``following`` turns are of the same part.
    """

    first_ns: int
    last_ns: int
    following: int
    places: Ints
    stamps: Ints
    items: Sequence[Item]


Body = Any
"""Turn, an event as a dict, or a table."""


class Entry(NamedTuple):
    """One entry: its number, the link whose file it stands in (0: of no link), and what it says."""

    number: int
    link: int
    body: Body


def encode_turn(number: int, turn: Turn) -> bytes:
    """Return the bytes of a turn; its stamps ascend within one hour. Cost: 0.1 us a frame."""
    first_us = int(turn.stamps[0])
    frames = [item for item in turn.items if isinstance(item, bytes)]
    if len(frames) == len(turn.items):
        sizes = np.fromiter(map(len, frames), "<u4", len(frames))
    else:
        sizes = np.array([len(item) if isinstance(item, bytes) else _MARKS[item] for item in turn.items], "<u4")
    body = b"".join(
        (
            _TURN.pack(turn.first_ns, turn.last_ns, first_us, len(turn.items), turn.following),
            np.diff(turn.places, prepend=0).astype("<u4").tobytes(),
            (turn.stamps - first_us).astype("<u4").tobytes(),
            sizes.tobytes(),
            *frames,
        )
    )
    return _HEAD.pack(TURN, number, len(body)) + body


def encode_event(number: int, event: dict[str, Any]) -> bytes:
    """Return the bytes of an event; ``at`` names it."""
    body = _encode(event)
    return _HEAD.pack(EVENT, number, len(body)) + body


def encode_table(number: int, table: pa.Table) -> bytes:
    """Return the bytes of a table; its schema's metadata names it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return _HEAD.pack(TABLE, number, len(body)) + body


def decode(plain: bytes, link: int) -> Iterator[Entry]:
    """Yield the entries of a block. Raises ValueError where the bytes are none."""
    at = 0
    while at < len(plain):
        try:
            kind, number, size = _HEAD.unpack_from(plain, at)
        except struct.error:
            raise ValueError("an entry is cut short") from None
        at += _HEAD.size
        body = plain[at : at + size]
        if len(body) != size:
            raise ValueError("an entry is cut short")
        at += size
        yield Entry(number, link, _body(kind, body))


def _body(kind: int, body: bytes) -> Body:
    if kind == TURN:
        return _turn(body)
    if kind == EVENT:
        found: dict[str, Any] = _decode(body)
        return found
    if kind == TABLE:
        return pa.ipc.open_stream(body).read_all()
    raise ValueError(f"an entry of kind {kind}")


def _turn(body: bytes) -> Turn:
    first_ns, last_ns, first_us, count, following = _TURN.unpack_from(body)
    apart, after, sizes = np.frombuffer(body, "<u4", 3 * count, _TURN.size).astype(np.int64).reshape(3, count)
    at = _TURN.size + 12 * count
    items: list[Item] = []
    for size in sizes.tolist():
        if size >= _LEAST_MARK:
            items.append(_NAMES[size])
        else:
            items.append(body[at : at + size])
            at += size
    if at != len(body):
        raise ValueError("a turn holds other frames than it says")
    return Turn(first_ns, last_ns, following, np.cumsum(apart), first_us + after, items)
