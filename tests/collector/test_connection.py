"""The socket against a real server on loopback: order, bounds, ends."""

import asyncio
import base64
import hashlib
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from book.records import Reason
from collector import connection as connection_module
from collector.connection import Connection, Queue, dial
from collector.links import Ended, Mark
from tests.collector.sockets import dialled, payloads, queue, server, silent, until


@pytest.fixture(autouse=True)
def _fast_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "PING_EVERY_S", 0.02)


# frames and pongs


def test_frames_come_in_order_with_ascending_stamps_and_pongs_among_them() -> None:
    async def attend(websocket: ServerConnection) -> None:
        for number in range(40):
            await websocket.send(b"%d" % number if number % 2 else str(number))
            await asyncio.sleep(0.002)
        await websocket.wait_closed()

    async def scenario() -> None:
        arrived = queue()
        async with server(attend) as url, dialled(url, arrived):
            await until(lambda: sum(isinstance(payload, bytes) for payload in payloads(arrived._items)) >= 40)
            await until(lambda: Mark.PONG in payloads(arrived._items))
        items = arrived.take(1 << 62)
        frames = [payload for payload in payloads(items) if isinstance(payload, bytes)]
        assert frames == [b"%d" % number for number in range(40)]
        assert Mark.PONG in payloads(items)
        stamps = [at_ns for _, at_ns, _ in items]
        assert stamps == sorted(stamps)
        assert {link for link, _, _ in items} == {7}

    asyncio.run(scenario())


def test_a_pong_stands_behind_everything_that_was_sent_before_it() -> None:
    """Each ping makes the server send a hundred frames before its pong, all in one write."""

    class Busy(ServerConnection):
        def send_data(self) -> None:
            writes = self.protocol.writes
            if writes and writes[0][:1] == b"\x8a":
                pong = writes.pop(0)
                for number in range(100):
                    self.protocol.send_text(b"%d" % number)
                writes.append(pong)
            super().send_data()

    async def scenario() -> None:
        arrived = queue()
        async with server(silent, create_connection=Busy) as url, dialled(url, arrived):
            await until(lambda: sum(payload is Mark.PONG for payload in payloads(arrived._items)) >= 3)
        items = payloads(arrived.take(1 << 62))
        pongs = [place for place, payload in enumerate(items) if payload is Mark.PONG]
        frames = [sum(isinstance(payload, bytes) for payload in items[:place]) for place in pongs]
        assert all(have >= 100 * (count + 1) for count, have in enumerate(frames)), "a pong claims frames not in yet"

    asyncio.run(scenario())


def test_a_message_in_parts_comes_whole() -> None:
    async def attend(websocket: ServerConnection) -> None:
        await websocket.send(iter([b"ab", b"cd", b"ef"]))
        await websocket.send("after")
        await websocket.wait_closed()

    async def scenario() -> None:
        arrived = queue()
        async with server(attend) as url, dialled(url, arrived):
            await until(lambda: sum(isinstance(payload, bytes) for payload in payloads(arrived._items)) == 2)
        assert [one for one in payloads(arrived.take(1 << 62)) if isinstance(one, bytes)] == [b"abcdef", b"after"]

    asyncio.run(scenario())


# the bound


def test_past_the_bound_frames_are_dropped_and_the_mark_says_so() -> None:
    arrived = queue(3)
    for number in range(5):
        arrived.put(1, b"%d" % number, number)
    arrived.put(2, b"other", 6)
    arrived.mark(1, Mark.PONG, 7)
    arrived.mark(2, Ended(Reason.STALL), 8)
    items = arrived.take(9)
    assert items[:3] == [(1, 0, b"0"), (1, 1, b"1"), (1, 2, b"2")]
    assert items[3:] == [(2, 8, Ended(Reason.STALL)), (1, 9, Mark.OVERFLOW), (2, 9, Mark.OVERFLOW)]
    arrived.put(1, b"next", 10)
    assert arrived.take(11) == [(1, 10, b"next")]


def test_once_dropping_a_link_drops_until_the_queue_is_taken() -> None:
    arrived = queue(2)
    for number in range(3):
        arrived.put(1, b"x", number)
    arrived._items.clear()
    arrived.put(1, b"late", 5)
    assert payloads(arrived.take(9)) == [Mark.OVERFLOW]


def test_the_taker_is_woken_when_a_batch_is_full() -> None:
    woken: list[int] = []
    arrived = Queue(100, lambda: woken.append(len(arrived)), wake_at=4)
    for number in range(9):
        arrived.put(1, b"x", number)
    assert woken == [4]


def test_a_slow_taker_never_stops_the_receiving() -> None:
    async def attend(websocket: ServerConnection) -> None:
        for _ in range(500):
            await websocket.send(b"x" * 1000)
        await websocket.wait_closed()

    async def scenario() -> None:
        arrived = queue(50)
        async with server(attend) as url, dialled(url, arrived):
            await until(lambda: arrived._dropping.get(7, 0) >= 450)
        items = payloads(arrived.take(1 << 62))
        assert items.count(Mark.OVERFLOW) == 1
        assert items.index(Mark.OVERFLOW) > items.index(b"x" * 1000)

    asyncio.run(scenario())


# ends


@pytest.mark.parametrize("reason", [Reason.STALL, Reason.DISCONNECT])
def test_an_abort_ends_the_connection_with_its_reason(reason: Reason) -> None:
    async def scenario() -> None:
        arrived = queue()
        async with server(silent) as url:
            connection = await dial(url, None, 7, arrived)
            running = asyncio.create_task(connection.run())
            await until(lambda: len(arrived) >= 2)
            connection.abort(reason)
            await asyncio.wait_for(running, 5)
        assert payloads(arrived.take(1 << 62))[-1] == Ended(reason)

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["close", "reset", "cancel"])
def test_every_end_is_told_once_and_last(way: str) -> None:
    async def attend(websocket: ServerConnection) -> None:
        await websocket.send(b"last")
        if way == "close":
            await websocket.close(1001)
        elif way == "reset":
            websocket.transport.abort()
        await websocket.wait_closed()

    async def scenario() -> None:
        arrived = queue()
        async with server(attend) as url:
            connection = await dial(url, None, 7, arrived)
            running = asyncio.create_task(connection.run())
            await asyncio.sleep(0)
            await until(lambda: b"last" in payloads(arrived._items) or way == "reset")
            if way == "cancel":
                connection.reason = Reason.SHUTDOWN
                running.cancel()
            await asyncio.wait([running], timeout=5)
            assert running.done()
        items = [payload for payload in payloads(arrived.take(1 << 62)) if payload is not Mark.PONG]
        assert items[-1] == Ended(Reason.SHUTDOWN if way == "cancel" else Reason.DISCONNECT)
        assert sum(isinstance(payload, Ended) for payload in items) == 1

    asyncio.run(scenario())


def test_a_venue_that_says_goodbye_and_holds_the_socket_open_is_left() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n\x82\x01x\x88\x02\x03\xe8"
        )
        await reader.read()
        writer.close()

    async def scenario() -> None:
        arrived = queue()
        listener = await asyncio.start_server(rude, "127.0.0.1", 0)
        async with listener:
            connection = await dial(f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}/", None, 7, arrived)
            await asyncio.wait_for(connection.run(), 5)
        assert payloads(arrived.take(1 << 62)) == [b"x", Ended(Reason.DISCONNECT)]

    asyncio.run(scenario())


def test_a_message_past_the_largest_size_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MAX_FRAME_BYTES", 1000)

    async def attend(websocket: ServerConnection) -> None:
        await websocket.send(b"x" * 2000)
        await websocket.wait_closed()

    async def scenario() -> None:
        arrived = queue()
        async with server(attend) as url:
            connection = await dial(url, None, 7, arrived)
            await asyncio.wait_for(connection.run(), 5)
        assert payloads(arrived.take(1 << 62))[-1] == Ended(Reason.DISCONNECT)

    asyncio.run(scenario())


@pytest.mark.parametrize("task", ["_ping", "_send_all"])
def test_a_bug_in_a_task_is_raised_and_the_end_is_told(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    async def broken(_: Connection) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Connection, task, broken)

    async def scenario() -> None:
        arrived = queue()
        async with server(silent) as url:
            connection = await dial(url, None, 7, arrived)
            with pytest.raises(ExceptionGroup) as raised:
                await asyncio.wait_for(connection.run(), 5)
        assert raised.group_contains(RuntimeError, match="a bug")
        assert payloads(arrived.take(1 << 62))[-1] == Ended(Reason.DISCONNECT)

    asyncio.run(scenario())


# sending


def test_commands_are_sent_in_order_as_text() -> None:
    heard: list[Any] = []

    async def attend(websocket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                heard.append(await websocket.recv())

    async def scenario() -> None:
        async with server(attend) as url, dialled(url, queue()) as connection:
            for number in range(50):
                connection.send(b"%d" % number)
            await until(lambda: len(heard) == 50)

    asyncio.run(scenario())
    assert heard == [str(number) for number in range(50)]


def test_a_venue_that_takes_no_command_is_left_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SEND_WITHIN_S", 0.1)

    async def scenario() -> None:
        over = asyncio.Event()

        async def deaf(websocket: ServerConnection) -> None:
            websocket.transport.pause_reading()
            await over.wait()

        arrived = queue()
        async with server(deaf) as url:
            connection = await dial(url, None, 7, arrived)
            running = asyncio.create_task(connection.run())
            began = asyncio.get_running_loop().time()
            for _ in range(30):
                connection.send(b"x" * (1 << 20))
            assert asyncio.get_running_loop().time() - began < 1.0
            await asyncio.wait_for(running, 10)
            over.set()
        assert payloads(arrived.take(1 << 62))[-1] == Ended(Reason.DISCONNECT)

    asyncio.run(scenario())
