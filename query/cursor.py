"""Where a page ended, as text that callers hand back unread.

Owns the form of a cursor. A cursor belongs to one question: another one's is refused.
"""

import base64
import binascii
import zlib
from typing import NamedTuple

import msgspec

from book.errors import ApiError


class Cursor(NamedTuple):
    """The last row of a page: ``question`` fingerprints what was asked, the rest is that row's place."""

    question: int
    shard: int
    ts_us: int
    conn: int
    seq: int
    kind: int
    text: str = ""
    """A further part of the place, where one is needed."""
    pin: int = 0
    """The newest publication when the first page was asked for: hours replaced since go on as they stood then."""


def question(*parts: object) -> int:
    """Return the fingerprint of a question."""
    return zlib.crc32("|".join(map(str, parts)).encode())


def encode(cursor: Cursor) -> str:
    """Return a cursor as URL-safe text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def decode(text: str, question: int) -> Cursor:
    """Return the cursor of a page of this question. Raises ApiError invalid_cursor."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(raw, type=Cursor)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise ApiError("invalid_cursor", "the cursor is not one of ours") from None
    if cursor.question != question:
        raise ApiError("invalid_cursor", "the cursor belongs to another question")
    return cursor
