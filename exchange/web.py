"""The HTTP port: an application served inside a running loop, stopped by cancelling.

Owns the listening socket and the server's signals, of which it takes none: the process decides when to stop.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers alone."""
        yield


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. Connections wait in it until it is served."""
    return socket.create_server((host, port), backlog=128)


async def serve_http(app: Any, listener: socket.socket) -> None:
    """Serve an ASGI application on a bound socket until cancelled; then requests under way are cut off."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none")
    server = _QuietServer(config)
    serving = asyncio.ensure_future(server.serve([listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = server.force_exit = True
        await serving
        raise
