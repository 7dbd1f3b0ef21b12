"""A client that keeps all it gets, and what tests do with it. Independent of the exchange's own code."""

import asyncio
import time
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

from book.ladder import Book
from book.wire.commands import Subscribe, encode_command
from book.wire.decode import decode
from book.wire.messages import Delta, Snapshot


class Recorder(ClientConnection):
    """A client that keeps everything it gets, pongs too, in the order of arrival, with the machine's time."""

    def connection_made(self, transport: Any) -> None:
        self.got: list[tuple[float, str, bytes]] = []
        super().connection_made(transport)

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode in {Opcode.TEXT, Opcode.PONG}:
            self.got.append((time.monotonic(), event.opcode.name, bytes(event.data)))
        super().process_event(event)

    def texts(self) -> list[Any]:
        return [decode(data) for _, kind, data in self.got if kind == "TEXT"]

    def raw(self) -> list[bytes]:
        return [data for _, kind, data in self.got if kind == "TEXT"]

    @property
    def port(self) -> int:
        return int(self.local_address[1])


def recorder(local: Any) -> connect:
    return connect(
        local.ws_url, additional_headers=local.keys.headers(), proxy=None, create_connection=Recorder, max_queue=None,
        ping_interval=None, compression=None, close_timeout=0.3,
    )  # fmt: skip


async def subscribed(local: Any, client: Any, *channels: str) -> list[str]:
    rows = (await local.get("/trade-api/v2/markets", limit=1000))["markets"]
    tickers = [market["ticker"] for market in rows]
    await client.send(encode_command(Subscribe(1, channels or ("orderbook_delta",), tuple(tickers))).decode())
    await until(lambda: len([m for m in client.texts() if isinstance(m, Snapshot)]) >= len(tickers))
    return tickers


async def until(condition: Any, timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


async def read_to_the_end(client: ClientConnection) -> None:
    while True:
        await asyncio.wait_for(client.recv(), 5)


def folded(messages: list[Any]) -> dict[str, Book]:
    books: dict[str, Book] = {}
    for message in messages:
        if isinstance(message, Snapshot):
            books[message.ticker] = Book(message.levels)
        elif isinstance(message, Delta):
            books[message.ticker].apply(message.side, message.price_e4, message.change_e2)
    return books
