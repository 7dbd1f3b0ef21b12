"""A websocket server on loopback and a connection to it.

Owns what the tests of the socket share.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from collector.connection import Connection, Queue, dial

Attend = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def server(attend: Attend, **options: Any) -> AsyncIterator[str]:
    async with serve(attend, "127.0.0.1", 0, compression=None, ping_interval=None, close_timeout=0.1, **options) as one:
        yield f"ws://127.0.0.1:{next(iter(one.sockets)).getsockname()[1]}/trade-api/ws/v2"


@asynccontextmanager
async def dialled(url: str, queue: Queue) -> AsyncIterator[Connection]:
    """Run a connection for the length of a block."""
    connection = await dial(url, None, 7, queue)
    running = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def queue(most: int = 10_000) -> Queue:
    return Queue(most, lambda: None)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():
            await asyncio.sleep(0.005)


async def silent(websocket: ServerConnection) -> None:
    await websocket.wait_closed()


def payloads(items: list[Any]) -> list[Any]:
    return [payload for _, _, payload in items]
