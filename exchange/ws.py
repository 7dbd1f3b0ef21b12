"""The websocket port: handshakes checked, messages handed to sessions.

Owns the listening socket, the door (who is let in or refused, by right or by fault) and the life of a connection. What
a command means is the session's, what goes out when is the connection's.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import NamedTuple

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from exchange.auth import Verifier
from exchange.config import ExchangeConfig
from exchange.connection import VenueConnection, heartbeat
from exchange.errors import AuthError
from exchange.orders import HANDSHAKE, LATE_PONG, SLOW_HANDSHAKE, TOO_MANY, UNAUTHORIZED
from exchange.venue import Venue

WS_PATH = "/trade-api/ws/v2"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_OPEN_TIMEOUT_S = 120
_ENDED_KEPT = 10_000
_REFUSALS = (
    (UNAUTHORIZED, HTTPStatus.UNAUTHORIZED, "authentication error\n"),
    (TOO_MANY, HTTPStatus.TOO_MANY_REQUESTS, '{"error":"too many requests"}'),
)

_log = logging.getLogger(__name__)


class Past(NamedTuple):
    """A connection that has ended, by the client's port; clock's and machine's time."""

    port: int
    opened_us: int
    opened_ns: int
    ended_us: int
    ended_ns: int


class WsServer:
    """Serves ``venue`` to clients that ``verifier`` lets in; ``connections`` are those open, by the client's port."""

    def __init__(self, venue: Venue, verifier: Verifier, config: ExchangeConfig) -> None:
        self._venue = venue
        self._verifier = verifier
        self._config = config
        self.max_connections = config.max_connections
        self.connections: dict[int, VenueConnection] = {}
        self.ended: deque[Past] = deque(maxlen=_ENDED_KEPT)
        self._closing: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen; gives the port. Leaving closes every connection with code 1001."""
        async with serve(
            self._attend,
            self._config.host,
            self._config.ws_port,
            process_request=self._admit,
            create_connection=VenueConnection,
            compression=None,
            ping_interval=None,
            max_size=MAX_MESSAGE_BYTES,
            close_timeout=1,
            open_timeout=_OPEN_TIMEOUT_S,
            logger=logging.getLogger("exchange.websockets"),
        ) as server:
            yield _port(server)

    def close(self, connection: VenueConnection, code: int, reason: str) -> None:
        """Begin to close a connection; what waits for it is lost."""
        task = asyncio.ensure_future(connection.close(code, reason))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path != WS_PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "not found\n")
        refusal = await self._at_the_door(connection)
        if refusal is not None:
            return refusal
        limit = self.max_connections
        if limit is not None and len(self.connections) >= limit:
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, '{"error":"too many requests"}')
        try:
            self._verifier.check(request.headers, "GET", path)
        except AuthError as error:
            _log.info("handshake refused: %s", error.details)
            return connection.respond(HTTPStatus.UNAUTHORIZED, "authentication error\n")
        except Exception:  # noqa: BLE001 - headers that cannot be read are a refusal, not a server error
            _log.exception("handshake refused: it could not be checked")
            return connection.respond(HTTPStatus.UNAUTHORIZED, "authentication error\n")
        return None

    async def _at_the_door(self, connection: ServerConnection) -> Response | None:
        """Let faults slow a handshake down, or refuse it."""
        faults, port = self._venue.faults, int(connection.remote_address[1])
        slow = faults.take(SLOW_HANDSHAKE, port=port)
        if slow is not None:
            seconds = slow.order.seconds or 0.0
            faults.has_happened(slow, port=port, until_ns=self._venue.now_ns() + round(seconds * 1e9))
            await asyncio.sleep(seconds)
        if self._venue.halts.is_closed:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "exchange is paused\n")
        for kind, status, text in _REFUSALS:
            fault = faults.take(kind, port=port)
            if fault is not None:
                faults.has_happened(fault, port=port, code=int(status))
                return connection.respond(status, text)
        return None

    async def _attend(self, connection: ServerConnection) -> None:
        """Serve one connection until it ends."""
        if not isinstance(connection, VenueConnection):
            raise TypeError("the server makes connections of its own kind")
        venue = self._venue
        connection.attach(venue.log, venue.now_us, venue.now_ns)
        connection.delay_pong = lambda: self._pong_delay_s(connection.port)
        opened = (venue.now_us(), venue.now_ns())
        session = self._venue.connect(connection)
        connection.serve(session)
        self.connections[connection.port] = connection
        venue.faults.occasion(HANDSHAKE, port=connection.port)
        beat = asyncio.create_task(heartbeat(connection, self._config.ping_s, self._config.pong_timeout_s))
        try:
            async for message in connection:
                session.handle(message)
                connection.schedule()
        except ConnectionClosed:
            pass  # an end without a closing handshake is an end like any other
        finally:
            await _stopped(beat)
            self._venue.disconnect(session)
            if self.connections.get(connection.port) is connection:
                del self.connections[connection.port]
            self.ended.append(Past(connection.port, *opened, venue.now_us(), venue.now_ns()))

    def _pong_delay_s(self, port: int) -> float | None:
        """Return how late a pong is to be, where a fault wants it late."""
        faults = self._venue.faults
        if not faults.is_waiting(LATE_PONG):
            return None
        session = self._venue.sessions.get(port)
        fault = faults.take(LATE_PONG, port=port, channels=session.channels() if session is not None else ())
        if fault is None:
            return None
        seconds = fault.order.seconds or 0.0
        faults.has_happened(fault, port=port, until_ns=self._venue.now_ns() + round(seconds * 1e9))
        return seconds


async def _stopped(task: asyncio.Task[None]) -> None:
    """Cancel a heartbeat; one that met the end of its connection has ended by itself."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
        await task


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])
