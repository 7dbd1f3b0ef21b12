"""Where each batch of an Arrow stream begins and ends, read from the messages' heads alone.

Owns the stream's framing: schema message, then for each batch a dictionary message for each dictionary column and
a record batch message, each ``FFFFFFFF``, int32 length of the head, head (a flatbuffer), body. Never decodes a body.
"""

import struct
from typing import NamedTuple

import pyarrow as pa

from book.errors import CorruptError

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_CONTINUATION = 0xFFFFFFFF
_DICTIONARY, _RECORD_BATCH = 2, 3
_HEAD = struct.Struct("<Ii")
_I32 = struct.Struct("<i")
_U16 = struct.Struct("<H")
_I64 = struct.Struct("<q")


class Frame(NamedTuple):
    """One batch in its segment: bytes from the file's start.

    ``offset`` is where its dictionaries begin, ``body`` where its record batch message begins.
    """

    offset: int
    body: int
    end: int
    rows: int


def schema_message(schema: pa.Schema) -> bytes:
    """Return the bytes that open a stream of this schema."""
    return bytes(schema.serialize())


def frames(data: bytes | memoryview, offset: int, path: str) -> list[Frame]:
    """Return the batches in ``data``, which begins at byte ``offset`` of the file and holds whole batches only.

    Where offset is 0 the data opens with the schema message, which is passed over.
    Raises CorruptError, naming ``path``, where the data is not such messages. Cost: about 1 us a message.
    """
    found: list[Frame] = []
    at = 0
    start = -1
    try:
        while at < len(data):
            mark, head_bytes = _HEAD.unpack_from(data, at)
            if mark != _CONTINUATION or head_bytes <= 0:
                raise CorruptError(path, offset + at, "no message begins here")
            kind, rows, body_bytes = _message(data, at + 8)
            end = at + 8 + head_bytes + body_bytes
            if body_bytes < 0 or (rows <= 0 and kind == _RECORD_BATCH) or end > len(data):
                raise CorruptError(path, offset + at, "a message runs past its end")
            if kind == _RECORD_BATCH:
                found.append(Frame(offset + (at if start < 0 else start), offset + at, offset + end, rows))
                start = -1
            elif kind == _DICTIONARY:
                start = at if start < 0 else start
            elif offset + at:
                raise CorruptError(path, offset + at, f"unexpected message of kind {kind}")
            at = end
    except struct.error as error:
        raise CorruptError(path, offset + at, f"not a message: {error}") from None
    if start >= 0:
        raise CorruptError(path, offset + start, "dictionaries without their batch")
    return found


def _message(data: bytes | memoryview, at: int) -> tuple[int, int, int]:
    """Return kind, rows and body length in bytes of the message whose head begins at ``at``."""
    table = at + int(_I32.unpack_from(data, at)[0])
    kind_at, header_at, body_at = (_slot(data, table, index) for index in (1, 2, 3))
    kind = data[kind_at] if kind_at else 0
    rows = 0
    if kind == _RECORD_BATCH and header_at:
        header = header_at + int(_I32.unpack_from(data, header_at)[0])
        length_at = _slot(data, header, 0)
        rows = int(_I64.unpack_from(data, length_at)[0]) if length_at else 0
    return kind, rows, int(_I64.unpack_from(data, body_at)[0]) if body_at else 0


def _slot(data: bytes | memoryview, table: int, index: int) -> int:
    """Return where a flatbuffer table keeps its field number ``index``, 0 where the field is left out."""
    vtable = table - int(_I32.unpack_from(data, table)[0])
    if vtable < 0 or 4 + 2 * index >= int(_U16.unpack_from(data, vtable)[0]):
        return 0
    inside = int(_U16.unpack_from(data, vtable + 4 + 2 * index)[0])
    return table + inside if inside else 0
