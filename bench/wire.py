"""Websocket framing by hand, for a sender that must never be the slow side.

Owns the bytes of frames from server to client, and the reading of a client's. Not for use outside a bench: no limits,
no fragments, no extensions.
"""

import base64
import hashlib
import struct

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a whole, unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 1 << 16:
        return struct.pack(">BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack(">BBQ", 0x80 | opcode, 127, size) + payload


def accept(key: bytes) -> bytes:
    """Return the answer to a handshake's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def upgrade(request: bytes) -> bytes:
    """Return the response that accepts a handshake. Raises KeyError where the request has no key."""
    fields = dict(line.split(b":", 1) for line in request.split(b"\r\n")[1:] if b":" in line)
    key = {name.strip().lower(): value.strip() for name, value in fields.items()}[b"sec-websocket-key"]
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: " + accept(key) + b"\r\n\r\n"


class ClientFrames:
    """Cut a client's bytes into (opcode, payload), masks undone."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes as they come and return the frames that are whole now."""
        self._data += data
        found = []
        while (one := self._one()) is not None:
            found.append(one)
        return found

    def _one(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        opcode, size, at = data[0] & 0x0F, data[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(data) < at + width:
                return None
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        if len(data) < at + 4 + size:
            return None
        mask = bytes(data[at : at + 4]) * (size // 4 + 1)
        body = bytes(data[at + 4 : at + 4 + size])
        del data[: at + 4 + size]
        masked = int.from_bytes(body, "big") ^ int.from_bytes(mask[:size], "big")
        return opcode, masked.to_bytes(size, "big")
