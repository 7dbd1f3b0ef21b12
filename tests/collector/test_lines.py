"""Connections by slot: paced, with the right wait after each end, and a bug is never taken for the network's."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from book.errors import HandshakeError
from book.records import Reason
from collector import lines as lines_module
from collector.connection import Connection, Queue
from collector.lines import HANDSHAKES_AT_ONCE, Lines, is_permanent
from collector.links import Ended, Role, Slot
from tests.collector.sockets import payloads, queue, server, silent, until

TAPE, BOOKS = Slot(0, Role.TAPE), Slot(0, Role.BOOKS)


class Told:
    """What the session would be told."""

    def __init__(self) -> None:
        self.links: list[tuple[int, Slot]] = []
        self.away: list[tuple[Slot, int]] = []
        self.logged: list[tuple[str, dict[str, Any]]] = []
        self.ended: list[tuple[Slot, str]] = []

    def opened(self, link_id: int, port: int, now_ns: int, slot: Slot) -> None:
        assert port
        assert now_ns
        self.links.append((link_id, slot))

    def turned_away(self, slot: Slot, status: int) -> None:
        self.away.append((slot, status))

    def log(self, event: str, **fields: Any) -> None:
        self.logged.append((event, fields))

    def named(self, event: str) -> list[dict[str, Any]]:
        return [fields for one, fields in self.logged if one == event]


def lines(url: str, told: Told, arrived: Queue | None = None) -> Lines:
    note: Callable[[Slot, str], None] = lambda slot, code: told.ended.append((slot, code))  # noqa: E731 - short
    arrived = queue() if arrived is None else arrived
    return Lines(url, None, arrived, told, told.log, random.Random(1), ended=note)


def refusing(monkeypatch: pytest.MonkeyPatch, status: int) -> list[float]:
    """Let every handshake be refused and no wait take time; return the waits."""
    waits: list[float] = []
    real_sleep = asyncio.sleep

    async def refuse(*_: Any) -> None:
        raise HandshakeError(status, "no")

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await real_sleep(0.001)

    monkeypatch.setattr(lines_module, "dial", refuse)
    monkeypatch.setattr("collector.lines.asyncio.sleep", sleep)
    return waits


async def reached(done: Callable[[], bool], turn: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    async with asyncio.timeout(10):
        while not done():
            await turn(0.002)


@pytest.mark.parametrize(
    ("status", "event", "first_s", "most_s"),
    [
        (0, "handshake_failed", 0.2, 30),
        (503, "handshake_failed", 0.2, 30),
        (401, "handshake_refused", 5, 120),
        (429, "handshake_refused", 5, 120),
    ],
)
def test_refusals_are_told_with_their_remedy_and_tried_again_with_growing_waits(
    monkeypatch: pytest.MonkeyPatch, status: int, event: str, first_s: float, most_s: float
) -> None:
    turn = asyncio.sleep
    waits = refusing(monkeypatch, status)
    told = Told()

    async def scenario() -> None:
        pool = lines("ws://127.0.0.1:1/", told)
        pool.keep([BOOKS])
        await reached(lambda: len(waits) >= 14, turn)
        await pool.end(Reason.SHUTDOWN)

    asyncio.run(scenario())
    assert first_s / 2 <= waits[0] <= first_s
    assert most_s / 2 <= waits[13] <= most_s
    assert waits[:5] == sorted(waits[:5])
    failed = told.named(event)
    assert len(failed) >= 14
    assert all(("remedy" in fields) == (status in (401, 429)) for fields in failed)
    assert told.away[:3] == ([(BOOKS, status)] * 3 if status else [])


def test_few_handshakes_are_under_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way = most = 0

    async def slow(*_: Any) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        raise HandshakeError(0, "no")

    monkeypatch.setattr(lines_module, "dial", slow)
    told = Told()

    async def scenario() -> None:
        pool = lines("ws://127.0.0.1:1/", told)
        pool.keep([Slot(number, Role.BOOKS) for number in range(14)])
        await reached(lambda: len(told.logged) >= 14)
        await pool.end(Reason.SHUTDOWN)

    asyncio.run(scenario())
    assert most == HANDSHAKES_AT_ONCE


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1002, 1008, 4001])
def test_a_goodbye_is_told_with_its_code_and_words_and_waited_on_by_what_it_means(code: int) -> None:
    async def attend(websocket: ServerConnection) -> None:
        await websocket.close(code, "why")

    told = Told()

    async def scenario() -> None:
        async with server(attend) as url:
            pool = lines(url, told)
            pool.keep([TAPE])
            name = "connection_refused_for_good" if is_permanent(code) else "connection_ended"
            await reached(lambda: bool(told.named(name)))
            await pool.end(Reason.SHUTDOWN)
            (fields, *_) = told.named(name)
            assert (fields["code"], fields["text"]) == (code, "why")
            assert (fields["wait_s"] >= 2.5) == is_permanent(code)

    asyncio.run(scenario())
    assert told.ended[0] == (TAPE, str(code))
    assert is_permanent(code) == (code in (1002, 1008, 4001))


def test_a_slot_that_is_no_longer_wanted_ends_and_its_end_is_in_the_queue() -> None:
    told = Told()

    async def scenario() -> None:
        arrived = queue()
        async with server(silent) as url:
            pool = lines(url, told, arrived)
            pool.keep([TAPE, BOOKS])
            await until(lambda: pool.standing == {TAPE, BOOKS})
            pool.keep([TAPE])
            await until(lambda: Ended(Reason.DISCONNECT) in payloads(arrived._items))
            assert pool.standing == {TAPE}
            await pool.end(Reason.SHUTDOWN)
            assert pool.idle
        ends = [(link, payload) for link, _, payload in arrived.take(1 << 62) if isinstance(payload, Ended)]
        of = dict(told.links)
        assert [(of[link], end.reason) for link, end in ends] == [(BOOKS, Reason.DISCONNECT), (TAPE, Reason.SHUTDOWN)]

    asyncio.run(scenario())


def test_each_connection_has_a_link_of_its_own_and_is_dialled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()

    async def scenario() -> None:
        async with server(silent) as url:
            pool = lines(url, told)
            pool.keep([TAPE])
            await until(lambda: len(told.links) == 1)
            pool.abort(1, Reason.STALL)
            await until(lambda: len(told.links) == 2)
            await pool.end(Reason.SHUTDOWN)

    asyncio.run(scenario())
    assert told.links == [(1, TAPE), (2, TAPE)]
    assert told.named("connection_ended")[0]["reason"] == "stall"


@pytest.mark.parametrize("where", ["dial", "run"])
def test_a_bug_is_raised(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    if where == "dial":
        monkeypatch.setattr(lines_module, "dial", broken)
    else:
        monkeypatch.setattr(Connection, "run", broken)

    async def scenario() -> None:
        async with server(silent) as url:
            pool = lines(url, Told())
            pool.keep([TAPE])
            await until(lambda: bool(pool._bugs))
            with pytest.raises(RuntimeError, match="a bug"):
                pool.check()

    asyncio.run(scenario())
