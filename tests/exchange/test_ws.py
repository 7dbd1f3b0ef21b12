"""The websocket port over a real socket: handshakes, pings, many markets, slow readers, stopping."""

import asyncio
import json
import time
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from book.ladder import Book
from book.wire.commands import Subscribe, encode_command
from book.wire.decode import decode
from book.wire.messages import Delta, Snapshot, VenueError


async def tickers_of(local: Any) -> list[str]:
    found: list[str] = []
    cursor = ""
    while True:
        page = await local.get("/trade-api/v2/markets", limit=1000, cursor=cursor)
        found += [market["ticker"] for market in page["markets"]]
        cursor = page["cursor"]
        if not cursor:
            return found


async def read_to_the_end(client: ClientConnection) -> None:
    while True:
        await asyncio.wait_for(client.recv(), 5)


async def status_of(attempt: connect) -> int:
    try:
        async with attempt:
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


def test_handshakes(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=0) as local:
            assert await status_of(local.connect()) == 101
            assert await status_of(connect(local.ws_url, proxy=None)) == 401
            assert await status_of(local.connect(key_id="unknown")) == 401
            assert await status_of(local.connect(path="/trade-api/v2/markets")) == 401
            assert await status_of(local.connect(skew_ms=-6_000)) == 401
            assert await status_of(local.connect(skew_ms=6_000)) == 401
            assert await status_of(local.connect(skew_ms=4_000)) == 101
            twice = [*local.keys.headers().items(), ("KALSHI-ACCESS-KEY", "second")]
            assert await status_of(connect(local.ws_url, additional_headers=twice, proxy=None)) == 401
            elsewhere = f"ws://127.0.0.1:{local.ports.ws}/elsewhere"
            assert await status_of(connect(elsewhere, additional_headers=local.keys.headers(), proxy=None)) == 404

    asyncio.run(main())


def test_connections_are_limited_and_freed(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=0, max_connections=2) as local:
            async with local.connect(), local.connect():
                assert await status_of(local.connect()) == 429
            while (await local.get("/control/state"))["connections"]:
                await asyncio.sleep(0.01)
            assert await status_of(local.connect()) == 101

    asyncio.run(main())


class PingWatcher(ClientConnection):
    """A client that keeps the payloads of the pings it gets, and can leave them unanswered."""

    pings: list[bytes]
    is_mute = False

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.__dict__.setdefault("pings", []).append(bytes(event.data))
        super().process_event(event)

    def send_data(self) -> None:
        if not self.is_mute:
            super().send_data()


def test_the_venue_pings_with_its_payload_and_ends_what_does_not_answer(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=0, ping_s=0.05, pong_timeout_s=0.3) as local:
            headers = local.keys.headers()
            async with connect(
                local.ws_url, additional_headers=headers, proxy=None, create_connection=PingWatcher, close_timeout=0.2
            ) as client:
                assert isinstance(client, PingWatcher)
                await asyncio.sleep(0.6)
                assert len(client.pings) >= 3
                assert set(client.pings) == {b"heartbeat"}
                await client.ping()
                client.is_mute = True
                with pytest.raises(ConnectionClosed) as caught:
                    await asyncio.wait_for(client.recv(), 5)
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1011

    asyncio.run(main())


def test_a_client_that_folds_what_it_is_sent_has_the_true_books(running: Any) -> None:
    async def main() -> None:
        async with running(markets=50, messages_per_s=3_000, cycle_s=3) as local:
            async with local.connect() as client:
                port = client.local_address[1]
                tickers = await tickers_of(local)
                await client.send(encode_command(Subscribe(1, ("orderbook_delta",), tuple(tickers))).decode())
                books: dict[str, Book] = {}
                seen: list[tuple[int, str, str]] = []
                last_seq = 0
                while len(seen) < 6_000:
                    message = decode(await client.recv())
                    if isinstance(message, Snapshot):
                        books[message.ticker] = Book(message.levels)
                    elif isinstance(message, Delta):
                        books[message.ticker].apply(message.side, message.price_e4, message.change_e2)
                    else:
                        continue
                    assert message.seq == last_seq + 1
                    last_seq = message.seq
                    seen.append((message.seq, message.ticker, books[message.ticker].digest()))
                for seq, ticker, digest in seen[::97]:
                    told = await local.get("/control/book", port=port, sid=1, seq=seq, ticker=ticker)
                    assert told["digest"] == digest
            assert books.keys() >= set(tickers)

    asyncio.run(main())


def test_many_markets_subscribe_at_once(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3_000, messages_per_s=200) as local:
            tickers = await tickers_of(local)
            async with local.connect() as client:
                await client.send(encode_command(Subscribe(1, ("orderbook_delta",), tuple(tickers))).decode())
                found = set()
                while len(found) < 3_000:
                    message = decode(await client.recv())
                    if isinstance(message, Snapshot):
                        found.add(message.ticker)
                    elif isinstance(message, Delta):
                        assert message.ticker in found, "a change before its book"
            assert found == set(tickers)

    asyncio.run(main())


def test_a_reader_that_stops_overflows_its_subscription_and_nobody_elses(running: Any) -> None:
    async def main() -> None:
        async with running(markets=20, messages_per_s=20_000, queue_frames=500) as local:
            tickers = tuple(await tickers_of(local))
            async with (
                connect(
                    local.ws_url,
                    additional_headers=local.keys.headers(),
                    proxy=None,
                    max_queue=1,
                    close_timeout=0.1,
                    compression=None,
                ) as slow,
                local.connect() as quick,
            ):
                for client in (slow, quick):
                    await client.send(encode_command(Subscribe(1, ("orderbook_delta",), tickers)).decode())
                slow_port = slow.local_address[1]
                sids: dict[str, int] = {"orderbook_delta": 1}
                counted = 0
                deadline = time.monotonic() + 60
                while sids and time.monotonic() < deadline:
                    for _ in range(2_000):
                        message = decode(await quick.recv())
                        assert not isinstance(message, VenueError)
                        counted += 1
                    state = await local.get("/control/state")
                    sids = next(c["sids"] for c in state["connections"] if c["port"] == slow_port)
                assert not sids
                last: Any = None
                while not isinstance(last, VenueError):
                    last = decode(await slow.recv())
                    assert getattr(last, "seq", None) is not None or type(last).__name__ == "Subscribed"
                assert (last.code, last.sid) == (25, 1)
                await slow.send(encode_command(Subscribe(2, ("orderbook_delta",), tickers[:1])).decode())
                again = [decode(await slow.recv()) for _ in range(2)]
                assert isinstance(again[1], Snapshot)
                assert (again[1].sid, again[1].seq) == (2, 1)

    asyncio.run(main())


def test_stopping_closes_connections_and_frees_the_ports(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=100) as local:
            client = await local.connect()
            ports = local.ports
        with pytest.raises(ConnectionClosed) as caught:
            await read_to_the_end(client)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
        async with running(markets=5, messages_per_s=0, ws_port=ports.ws, http_port=ports.http) as again:
            assert again.ports == ports

    asyncio.run(main())


def test_what_is_no_command_is_answered_and_survived(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=0) as local, local.connect() as client:
            for text in ("{", b"\xff\xfe", "[]", json.dumps({"id": 4, "cmd": "fly"})):
                await client.send(text)
            codes = [json.loads(await client.recv())["msg"]["code"] for _ in range(4)]
            assert codes == [1, 1, 1, 5]

    asyncio.run(main())
