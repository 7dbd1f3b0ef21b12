"""The websocket port: handshakes checked, messages handed to sessions.

Owns the listening socket and the life of a connection. What a command means is the session's, what goes out when is
the connection's.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from exchange.auth import Verifier
from exchange.config import ExchangeConfig
from exchange.connection import VenueConnection, heartbeat
from exchange.errors import AuthError
from exchange.venue import Venue

WS_PATH = "/trade-api/ws/v2"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

_log = logging.getLogger(__name__)


class WsServer:
    """Serves ``venue`` to clients that ``verifier`` lets in; ``connections`` are those open, by the client's port."""

    def __init__(self, venue: Venue, verifier: Verifier, config: ExchangeConfig) -> None:
        self._venue = venue
        self._verifier = verifier
        self._config = config
        self.connections: dict[int, VenueConnection] = {}

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
            logger=logging.getLogger("exchange.websockets"),
        ) as server:
            yield _port(server)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path != WS_PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "not found\n")
        limit = self._config.max_connections
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

    async def _attend(self, connection: ServerConnection) -> None:
        """Serve one connection until it ends."""
        if not isinstance(connection, VenueConnection):
            raise TypeError("the server makes connections of its own kind")
        connection.attach(self._venue.log, self._venue.now_us, self._venue.now_ns)
        session = self._venue.connect(connection)
        connection.serve(session)
        self.connections[connection.port] = connection
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


async def _stopped(task: asyncio.Task[None]) -> None:
    """Cancel a heartbeat; one that met the end of its connection has ended by itself."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
        await task


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])
