"""The connections of one shard: a task a slot that dials, runs, waits and dials again.

Owns how often the venue is asked for a connection, what its refusals and goodbyes mean, and the links' numbers. Reads
nothing of what they carry, and never decides which slots there are.

Every attempt is signed anew. Waits grow from a fraction of a second to half a minute; where the venue has said that
trying again soon is of no use (its refusal of the key, too many connections, a close code that names a mistake), from
seconds to minutes. Nothing is ever given up.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from book.errors import HandshakeError
from book.records import Reason
from collector.connection import Connection, Queue, dial
from collector.links import Slot
from collector.signing import Signer
from ops.backoff import Backoff

HANDSHAKES_AT_ONCE = 3
STEADY_S = 30.0
LONG_FIRST_S = 5.0
LONG_MOST_S = 120.0
PERMANENT = frozenset({1002, 1003, 1007, 1008, 1009, 1010})
"""Close codes by which one side says that the other is mistaken; so does every one from 4000 on."""
REMEDIES = {
    401: "the key is refused: look at KALSHI_API_KEY_ID, its private key and this machine's clock",
    403: "this key may not connect: look at its permissions",
    429: "the account has too many connections: lower KALSHIBOOK_CONNECTIONS, or end what else uses the key",
}
_OWN_CODES = range(4000, 5000)

Log = Callable[..., None]


class Sink(Protocol):
    """What is told of connections: the session."""

    def opened(self, link_id: int, port: int, now_ns: int, slot: Slot) -> None:
        """Take a connection that stands."""

    def turned_away(self, slot: Slot, status: int) -> None:
        """Take that the venue has refused one, with an HTTP status."""


def is_permanent(code: int | None) -> bool:
    """Say whether a close code means that the same connection would end so again."""
    return code in PERMANENT or code in _OWN_CODES


class _Line:
    """One slot: its task, its connection while one stands, and its waits."""

    def __init__(self, slot: Slot, rng: random.Random) -> None:
        self.slot = slot
        self.connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None
        self.soon = Backoff(rng)
        self.late = Backoff(rng, first_s=LONG_FIRST_S, most_s=LONG_MOST_S)

    def steady(self) -> None:
        """Note that an attempt has held."""
        self.soon.reset()
        self.late.reset()


class Lines:
    """Connections to ``url``, whatever arrives going to ``queue``; ``ended`` is told how each came to its end.

    Use ``keep`` to say which should stand, ``check`` now and then, and ``end``.
    """

    def __init__(
        self,
        url: str,
        signer: Signer | None,
        queue: Queue,
        sink: Sink,
        log: Log,
        rng: random.Random,
        *,
        ended: Callable[[Slot, str], None] = lambda _slot, _code: None,
    ) -> None:
        self._url = url
        self._signer = signer
        self._queue = queue
        self._sink = sink
        self._log = log
        self._rng = rng
        self._ended = ended
        self._gate = asyncio.Semaphore(HANDSHAKES_AT_ONCE)
        self._lines: dict[Slot, _Line] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._standing: dict[int, Connection] = {}
        self._links = 0
        self._bugs: list[BaseException] = []

    @property
    def standing(self) -> frozenset[Slot]:
        """The slots whose connection stands."""
        return frozenset(slot for slot, line in self._lines.items() if line.connection is not None)

    @property
    def idle(self) -> bool:
        """Whether no connection stands and none is being made: the end of each is in the queue."""
        return not self._lines and not self._leaving

    def keep(self, slots: Iterable[Slot], reason: Reason = Reason.DISCONNECT) -> None:
        """Have a connection for each of these slots and for no other; those that go end for ``reason``."""
        wanted = dict.fromkeys(slots)
        for slot in [slot for slot in self._lines if slot not in wanted]:
            self._leave(self._lines.pop(slot), reason)
        for slot in wanted:
            if slot not in self._lines:
                self._begin(slot)

    def check(self) -> None:
        """Raise the first error of a connection's task that is not the network's or the venue's: a bug."""
        if self._bugs:
            raise self._bugs[0]

    def abort(self, link: int, reason: Reason) -> None:
        """End a link at once; its slot is dialled again."""
        if link in self._standing:
            self._standing[link].abort(reason)

    def send(self, link: int, command: bytes) -> None:
        """Have a command sent on a link, where it stands."""
        if link in self._standing:
            self._standing[link].send(command)

    async def end(self, reason: Reason) -> None:
        """End every connection for ``reason`` and wait until their ends are in the queue; raise as ``check`` does."""
        self.keep((), reason)
        if self._leaving:
            await asyncio.wait(self._leaving)
        await asyncio.sleep(0)  # the tasks' last words
        self.check()

    def _begin(self, slot: Slot) -> None:
        line = self._lines[slot] = _Line(slot, self._rng)
        line.task = asyncio.create_task(self._run(line), name=f"{slot.role.value}-{slot.number}")
        line.task.add_done_callback(self._done)

    def _leave(self, line: _Line, reason: Reason) -> None:
        if line.connection is not None:
            line.connection.reason = reason
        if line.task is not None:
            self._leaving.add(line.task)
            line.task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._bugs.append(error)

    async def _run(self, line: _Line) -> None:
        while True:
            wait_s = await self._attempt(line)
            await asyncio.sleep(wait_s)

    async def _attempt(self, line: _Line) -> float:
        """Dial once and stay until the connection ends; return the seconds to wait before the next attempt."""
        self._links += 1
        link, where = self._links, {"role": line.slot.role.value, "number": line.slot.number}
        try:
            async with self._gate:
                connection = await dial(self._url, self._signer, link, self._queue)
        except HandshakeError as error:
            return self._refused(line, error)
        began_s = time.monotonic()
        self._standing[link] = line.connection = connection
        self._sink.opened(link, connection.port, time.monotonic_ns(), line.slot)
        self._log("connected", link=link, port=connection.port, **where)
        try:
            await connection.run()
        finally:
            line.connection = None
            del self._standing[link]
            self._ended(line.slot, str(connection.close_code))
        if time.monotonic() - began_s > STEADY_S:
            line.steady()
        permanent = is_permanent(connection.close_code)
        wait_s = (line.late if permanent else line.soon).next_s()
        self._log(
            "connection_refused_for_good" if permanent else "connection_ended",
            link=link,
            reason=connection.reason.value,
            code=connection.close_code,
            text=connection.close_text,
            wait_s=round(wait_s, 3),
            **where,
        )
        return wait_s

    def _refused(self, line: _Line, error: HandshakeError) -> float:
        remedy = REMEDIES.get(error.status)
        wait_s = (line.soon if remedy is None else line.late).next_s()
        self._log(
            "handshake_failed" if remedy is None else "handshake_refused",
            status=error.status,
            error=error.error,
            wait_s=round(wait_s, 3),
            role=line.slot.role.value,
            number=line.slot.number,
            **({} if remedy is None else {"remedy": remedy}),
        )
        if error.status:
            self._sink.turned_away(line.slot, error.status)
        return wait_s
