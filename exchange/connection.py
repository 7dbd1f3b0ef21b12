"""The socket's side of one connection: frames and control frames out, in one order, as fast as the client reads.

Owns the queue of what waits, what a fault does to the line (a stall that holds everything back, a dead line, late
pongs), and the moment at which a frame counts as sent. Makes no frame and knows no channel.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.protocol import OPEN

from exchange.sendlog import Frame, SendLog
from exchange.session import Session

_WRITE_BYTES = 1 << 17
_BOOKS_A_TURN = 64
_TEXT, _PONG = 0x81, 0x8A
"""First bytes of the server's frames of these kinds."""


class VenueConnection(ServerConnection):
    """A websocket whose whole output passes through one queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.port = 0
        self._waiting: deque[Frame | list[bytes]] = deque()
        self._session: Session | None = None
        self._log: SendLog | None = None
        self._now_us: Callable[[], int] = int
        self._now_ns: Callable[[], int] = int
        self._release: asyncio.TimerHandle | None = None
        self._is_scheduled = False
        self._is_dead = False
        self.lost = 0
        """Frames that a dead line, or the end of the connection, has swallowed."""
        self.delay_pong: Callable[[], float | None] = _no_delay
        """Asked at each pong how many machine seconds later it goes out, None for at once."""

    def attach(self, log: SendLog, now_us: Callable[[], int], now_ns: Callable[[], int]) -> None:
        """Name the log of what is sent, and the clocks that stamp it; called once, before anything is pushed."""
        self.port = self.remote_address[1]
        self._log, self._now_us, self._now_ns = log, now_us, now_ns

    def serve(self, session: Session) -> None:
        """Name the session whose snapshots are made as the client takes them."""
        self._session = session

    def push(self, frame: Frame) -> None:
        """Queue a frame; it goes out in this turn of the loop, or when the client can take it."""
        if self._is_dead:
            self.lost += 1
            return
        self._waiting.append(frame)
        self.schedule()

    def backlog(self) -> int:
        """Return how many frames wait."""
        return len(self._waiting)

    def schedule(self) -> None:
        """Write what waits, and make the snapshots owed, in the next turn of the loop."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop.call_soon(self._turn)

    @property
    def is_held(self) -> bool:
        """Whether a stall holds everything back."""
        return self._release is not None

    def hold(self, seconds: float) -> None:
        """Send nothing, not even a pong, for so many machine seconds; then everything in its order."""
        until_s = self.loop.time() + seconds
        if self._release is not None:
            until_s = max(until_s, self._release.when())
            self._release.cancel()
        self._release = self.loop.call_at(until_s, self.let_go)

    def let_go(self) -> None:
        """Go on after a stall."""
        if self._release is not None:
            self._release.cancel()
        self._release = None
        self.schedule()

    def die(self) -> None:
        """Let the line be dead both ways from now on: TCP stands, what is sent or received is lost."""
        self._is_dead = True
        self._lose()

    @property
    def is_dead(self) -> bool:
        """Whether the line is dead."""
        return self._is_dead

    def reset(self) -> None:
        """End the TCP connection with a reset; what waits is lost."""
        self._lose()
        peer = self.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def send_data(self) -> None:
        """Take what the protocol itself wants sent (pongs, pings, the end): behind what waits, if anything does."""
        chunks = self.protocol.data_to_send()
        if chunks and chunks[0][:1] == bytes((_PONG,)):
            delay_s = self.delay_pong()
            if delay_s is not None:
                self.loop.call_later(delay_s, self._take_chunks, chunks)
                return
        self._take_chunks(chunks)

    def data_received(self, data: bytes) -> None:
        """Hear the client, unless the line is dead."""
        if not self._is_dead:
            super().data_received(data)

    def resume_writing(self) -> None:
        """Go on when the client has read."""
        super().resume_writing()
        self.schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what waits for nobody."""
        self._lose()
        if self._release is not None:
            self._release.cancel()
        super().connection_lost(exc)

    def _turn(self) -> None:
        self._is_scheduled = False
        if self.is_held:
            return
        if self._session is not None and self._session.owes_books and len(self._waiting) < _BOOKS_A_TURN:
            self._session.pump(_BOOKS_A_TURN)
        while self._waiting and not self.paused and not self.transport.is_closing():
            self._write_some()
        if self._session is not None and self._session.owes_books and not self.paused:
            self.schedule()

    def _write_some(self) -> None:
        """Write a bounded part of what waits in one call, all of it stamped as it goes out."""
        sent_us, sent_ns = self._now_us(), self._now_ns()
        size_bytes = 0
        chunks: list[bytes] = []
        while self._waiting and size_bytes < _WRITE_BYTES:
            item = self._waiting.popleft()
            if isinstance(item, list):
                chunks += item
            elif self.protocol.state is OPEN:
                chunks += (_head(len(item.data)), item.data)
                size_bytes += len(item.data)
                if self._log is not None:
                    self._log.record(item, sent_us, sent_ns)
        self._write_out(chunks)

    def _take_chunks(self, chunks: list[bytes]) -> None:
        if self._is_dead:
            return
        if self._waiting or self.is_held:
            self._waiting.append(chunks)
            self.schedule()
        else:
            self._write_out(chunks)

    def _lose(self) -> None:
        """Forget what waits."""
        self.lost += sum(isinstance(item, Frame) for item in self._waiting)
        self._waiting.clear()

    def _write_out(self, chunks: list[bytes]) -> None:
        if b"" in chunks:  # the end of the stream, which the library knows how to write
            self.protocol.writes[:0] = chunks
            super().send_data()
        elif chunks:
            self.transport.write(b"".join(chunks))


@lru_cache(maxsize=4096)
def _head(size_bytes: int) -> bytes:
    """Return the head of an unmasked text frame, whole in itself."""
    if size_bytes < 126:
        return bytes((_TEXT, size_bytes))
    if size_bytes < 1 << 16:
        return struct.pack(">BBH", _TEXT, 126, size_bytes)
    return struct.pack(">BBQ", _TEXT, 127, size_bytes)


def _no_delay() -> float | None:
    return None


async def heartbeat(connection: VenueConnection, every_s: float, timeout_s: float) -> None:
    """Ping with the venue's payload for ever; end the connection when a pong is overdue and nothing holds it back."""
    while True:
        await asyncio.sleep(every_s)
        pong = await connection.ping(b"heartbeat")
        while not await _arrives(pong, timeout_s):
            if not connection.is_held and not connection.is_dead:
                await connection.close(1011, "pong timeout")
                return


async def _arrives(pong: Any, timeout_s: float) -> bool:
    done, _ = await asyncio.wait([pong], timeout=timeout_s)
    return bool(done)
