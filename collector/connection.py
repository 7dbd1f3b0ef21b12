"""One websocket connection to the venue: bytes in with their time of arrival, bytes out.

Owns the socket, our pings and the bound of the queue. Reads nothing of what it carries.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from book.errors import HandshakeError
from book.records import Reason
from collector.links import Ended, Item, Mark
from collector.signing import Signer

MAX_FRAME_BYTES = 16 << 20
OPEN_WITHIN_S = 10.0
SEND_WITHIN_S = 10.0
PING_EVERY_S = 1.0
PONG_WITHIN_S = 20.0
"""How long a connection may leave pings unanswered while other things arrive on it."""
COMMANDS_MOST = 10_000
MARKS_MOST = 100_000
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TEXT = Opcode.TEXT
_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


class Queue:
    """What has arrived and is not decoded yet, in order, of at most ``most`` frames.

    Past the bound frames are dropped, and the next thing taken is preceded by Mark.OVERFLOW of their link.
    """

    def __init__(self, most: int, wake: Callable[[], None], wake_at: int = 4096) -> None:
        self._most = most
        self._wake = wake
        self._wake_at = wake_at
        self._items: list[Item] = []
        self._dropping: dict[int, int] = {}

    def put(self, link: int, data: bytes, now_ns: int) -> None:
        """Add a frame, or drop it where there is no room."""
        items = self._items
        if len(items) >= self._most or link in self._dropping:
            self._dropping[link] = self._dropping.get(link, 0) + 1
            return
        items.append((link, now_ns, data))
        if len(items) == self._wake_at:
            self._wake()

    def mark(self, link: int, payload: Mark | Ended, now_ns: int) -> None:
        """Add something that is no frame; there is room for every end, and for pongs nearly always.

        Without one of these less is known of its link, never more.
        """
        if payload is Mark.PONG and (link in self._dropping or len(self._items) >= self._most + MARKS_MOST):
            return
        self._items.append((link, now_ns, payload))

    def take(self, now_ns: int) -> list[Item]:
        """Take everything; links that lost frames end with the mark that says so."""
        items, self._items = self._items, []
        items += [(link, now_ns, Mark.OVERFLOW) for link in self._dropping]
        self._dropping.clear()
        return items

    def __len__(self) -> int:
        """Return the number of items waiting."""
        return len(self._items)


class _Socket(ClientConnection):
    """The library's connection, but each message is handed over as it is parsed.

    Its own queue and ``recv`` would cost a third of the whole receiving; the bound is that of ``Queue``.
    """

    def __init__(self, deliver: Callable[[bytes, int], None], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deliver = deliver
        self._parts: list[bytes] = []

    def process_event(self, event: Event) -> None:
        """Take one message, or a part of one."""
        if type(event) is Frame and event.opcode is _TEXT and event.fin:
            self._deliver(bytes(event.data), time.monotonic_ns())
        elif type(event) is not Frame or event.opcode not in _DATA:
            super().process_event(event)
        else:
            self._parts.append(bytes(event.data))
            if event.fin:
                self._deliver(b"".join(self._parts), time.monotonic_ns())
                self._parts = []


class Connection:
    """A connection that stands; made by ``dial``."""

    def __init__(self, socket: ClientConnection, link: int, queue: Queue) -> None:
        self._socket = socket
        self._link = link
        self._queue = queue
        self._commands: asyncio.Queue[bytes] = asyncio.Queue(COMMANDS_MOST)
        self._pinged_ns: int | None = None
        self.reason = Reason.DISCONNECT

    @property
    def port(self) -> int:
        """Local port."""
        return int(self._socket.local_address[1])

    @property
    def close_code(self) -> int | None:
        """What the end said: a close code, 1006 where there was no goodbye, None while the connection stands."""
        return self._socket.close_code

    @property
    def close_text(self) -> str:
        """The words with the close code, empty where there were none."""
        return self._socket.close_reason or ""

    async def run(self) -> None:
        """Receive and send until the connection ends, then put its end, with its reason, into the queue.

        A bug in what pings or sends ends the connection too, and is raised.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                busy = [tasks.create_task(work) for work in (self._ping(), self._send_all())]
                await self._socket.wait_closed()
                for task in busy:
                    task.cancel()
        finally:
            self._socket.transport.abort()
            self._queue.mark(self._link, Ended(self.reason), time.monotonic_ns())

    def send(self, command: bytes) -> None:
        """Have a command sent after those before it; a connection that does not take them in time is ended."""
        try:
            self._commands.put_nowait(command)
        except asyncio.QueueFull:
            self._socket.transport.abort()

    def abort(self, reason: Reason) -> None:
        """End the connection at once."""
        self.reason = reason
        self._socket.transport.abort()

    async def _send_all(self) -> None:
        try:
            while True:
                command = await self._commands.get()
                async with asyncio.timeout(SEND_WITHIN_S):
                    await self._socket.send(command, text=True)
        except (ConnectionClosed, TimeoutError):
            self._socket.transport.abort()

    async def _ping(self) -> None:
        """Ping each second; each pong is marked where it arrived among the frames."""
        try:
            while True:
                now_ns = time.monotonic_ns()
                if self._pinged_ns is None:
                    self._pinged_ns = now_ns
                elif now_ns - self._pinged_ns > PONG_WITHIN_S * 1_000_000_000:
                    self.abort(Reason.STALL)
                    return
                async with asyncio.timeout(SEND_WITHIN_S):
                    pong = cast("asyncio.Future[float]", await self._socket.ping())
                pong.add_done_callback(self._heard)
                await asyncio.sleep(PING_EVERY_S)
        except ConnectionClosed:
            return  # where the venue has said goodbye and holds the socket open, the ping has made the library end it
        except TimeoutError:
            self._socket.transport.abort()

    def _heard(self, pong: "asyncio.Future[float]") -> None:
        if not pong.cancelled() and pong.exception() is None:
            self._pinged_ns = None
            self._queue.mark(self._link, Mark.PONG, time.monotonic_ns())


async def dial(
    url: str, signer: Signer | None, link: int, queue: Queue, tls: ssl.SSLContext | None = None
) -> Connection:
    """Connect and shake hands; signed anew each time. Raises HandshakeError, retryable."""
    where = urlsplit(url)
    headers = signer.headers("GET", where.path, time.time_ns() // 1_000_000) if signer else {}
    try:
        socket = await connect(
            url,
            create_connection=cast("type[ClientConnection]", partial(_Socket, partial(queue.put, link))),
            additional_headers=headers,
            open_timeout=OPEN_WITHIN_S,
            ping_interval=None,
            close_timeout=1.0,
            max_size=MAX_FRAME_BYTES,
            compression=None,
            proxy=None if where.hostname in LOOPBACK else True,
            ssl=(tls or True) if where.scheme == "wss" else None,
        )
    except InvalidStatus as error:
        raise HandshakeError(error.response.status_code, str(error)) from error
    except (OSError, TimeoutError, WebSocketException) as error:
        raise HandshakeError(0, f"{type(error).__name__}: {error}") from error
    return Connection(socket, link, queue)
