"""Lines of a capture: ``{"recv_ms":..,"event":{frame}}``, each with what can be told of its frame.

Owns the reading of one file. Decodes no book but to see whether it is empty, and judges nothing.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from book.errors import FrameError
from book.wire.decode import decode
from book.wire.messages import Snapshot
from exchange.errors import SourceError

SNAPSHOT = "orderbook_snapshot"
_YEAR_10000_MS = 253_402_300_800_000


class Read(NamedTuple):
    """A line: its time, never before the line above it, and what could be told of its frame."""

    at_us: int
    kind: str | None
    sid: int | None
    seq: int | None
    ticker: str | None
    code: int | None
    body: bytes
    event: msgspec.Raw


class _Line(msgspec.Struct, gc=False):
    recv_ms: Annotated[int, msgspec.Meta(ge=0, lt=_YEAR_10000_MS)]
    event: msgspec.Raw


class _Envelope(msgspec.Struct, gc=False):
    type: str | None = None
    sid: int | None = None
    seq: int | None = None
    msg: msgspec.Raw = msgspec.Raw(b"")


class _Body(msgspec.Struct, gc=False):
    market_ticker: str | None = None
    code: int | None = None


_line = msgspec.json.Decoder(_Line).decode
_envelope = msgspec.json.Decoder(_Envelope).decode
_body = msgspec.json.Decoder(_Body).decode
_NOTHING = _Body()


def lines(path: Path) -> Iterator[Read]:
    """Yield each line; times that go back are held. Raises SourceError for one that is no line of a capture."""
    at_us = 0
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        try:
            for number, text in enumerate(file, 1):
                try:
                    line = _line(text)
                except msgspec.DecodeError as error:
                    raise SourceError(f"{path}:{number}", str(error)) from error
                at_us = max(at_us, line.recv_ms * 1000)
                yield _read(at_us, line.event)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(str(path), str(error)) from error


def _read(at_us: int, event: msgspec.Raw) -> Read:
    try:
        frame = _envelope(event)
    except msgspec.DecodeError:
        return Read(at_us, None, None, None, None, None, b"", event)
    body = _told(frame.msg)
    return Read(at_us, frame.type, frame.sid, frame.seq, body.market_ticker, body.code, bytes(frame.msg), event)


def _told(msg: Any) -> _Body:
    try:
        return _body(msg) if msg else _NOTHING
    except msgspec.DecodeError:
        return _NOTHING


def is_empty_book(line: Read) -> bool:
    """Say whether a line is a full book without a level."""
    if line.kind != SNAPSHOT:
        return False
    try:
        message = decode(bytes(line.event))
    except FrameError:
        return False
    return isinstance(message, Snapshot) and not message.levels
