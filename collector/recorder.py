"""The recorder of one shard: sockets, clocks and files around the session.

Owns the tasks and their order: what has arrived is decoded, flushed, and only then the next is taken.
"""

import asyncio
import random
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from book.errors import HandshakeError
from book.records import HOUR_US, Reason
from collector.clock import Stamper
from collector.connection import Connection, Queue, dial
from collector.conns import ConnNumbers
from collector.journal import Journal
from collector.links import Ended
from collector.session import Limits, Session
from collector.signing import Signer
from ops.backoff import Backoff

BATCH_S = 0.05
BATCH_FRAMES = 8192
"""A batch that does not wait for its time: about what one core takes in BATCH_S. Smaller ones cost more a frame."""
FLUSH_FRAMES = 2 * BATCH_FRAMES
"""What one flush takes at most: after a slow one more than a batch has arrived, and a disk that hesitates is caught up
with rather than fallen behind."""
TICK_NS = 100_000_000
FLUSH_AT_LEAST_NS = 900_000_000
ONE_MOMENT_NS = 20_000
STEADY_S = 30.0

Log = Callable[..., None]
Show = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.int64]]


def read_clocks() -> tuple[int, int, int]:
    """Read the wall clock (us) and the monotonic one (ns) as of one moment, and how far apart the readings are (ns).

    The monotonic reading is the earlier one, so that a stamp errs late and never lies before its frame was sent.
    The closest of three readings is taken: a process may be put aside between two of them.
    """
    readings = []
    for _ in range(3):
        mono_ns = time.monotonic_ns()
        wall_us = -(-time.time_ns() // 1000)
        readings.append((time.monotonic_ns() - mono_ns, wall_us, mono_ns))
    apart_ns, wall_us, mono_ns = min(readings)
    return wall_us, mono_ns, apart_ns


class Recorder:
    """Record through one connection until stopped."""

    def __init__(
        self,
        journal: Journal,
        limits: Limits,
        shard: int,
        show: Show,
        log: Log,
        *,
        queue_frames: int,
        rng: random.Random,
    ) -> None:
        """Start the session on what the journal has recovered; ``show`` turns machine time into the time shown."""
        self._journal = journal
        self._log = log
        self._rng = rng
        self._show = show
        wall_us, mono_ns, _ = read_clocks()
        # Above the last durable stamp: a crash's closes stand up to 1 us after it, and no new span before them.
        stamper = Stamper(wall_us, mono_ns, show, floor_us=journal.last_us + 1)
        self.session = Session(stamper, ConnNumbers(shard, journal.last_conn), rng, limits)
        self._wake = asyncio.Event()
        self._queue = Queue(queue_frames, self._wake.set, BATCH_FRAMES)
        self._connections: dict[int, Connection] = {}
        self._links = 0
        self._ticked_ns = 0
        self._flushed_ns = 0
        self._stop = asyncio.Event()

    def now_us(self) -> int:
        """Return the time shown now, in microseconds."""
        return self.session.peek(time.monotonic_ns())

    def stop(self) -> None:
        """End the connection, flush and return from ``run``."""
        self._stop.set()
        self._wake.set()

    async def run(self, url: str, signer: Signer | None) -> None:
        """Record until ``stop``; raises what is a bug or a disk that does not take the log."""
        hour = self.session.stamp(time.monotonic_ns()) // HOUR_US
        closed = await asyncio.to_thread(self._journal.close_crashed, hour)
        if closed:
            self._log("crash_closed", spans=closed)
        connecting = asyncio.create_task(self._connect(url, signer))
        try:
            while not self._stop.is_set():
                await self._wait()
                await self._turn()
                if connecting.done():
                    connecting.result()
        finally:
            for connection in self._connections.values():
                connection.reason = Reason.SHUTDOWN
            connecting.cancel()
            ends = await asyncio.gather(connecting, return_exceptions=True)
        await self._drain()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _wait(self) -> None:
        if len(self._queue) < BATCH_FRAMES:
            self._wake.clear()
            try:
                async with asyncio.timeout(BATCH_S):
                    await self._wake.wait()
            except TimeoutError:
                pass  # the batch is due by time

    async def _turn(self) -> None:
        """Take what has arrived, make it durable, and let time ask for the rest."""
        taken_ns = time.monotonic_ns()
        items = self._queue.take(taken_ns)
        for start in range(0, len(items), FLUSH_FRAMES):
            for hour in self.session.feed(items[start : start + FLUSH_FRAMES]):
                await self._flush(hour)
        wall_us, mono_ns, apart_ns = read_clocks()
        if apart_ns <= ONE_MOMENT_NS:  # else something came between the readings, and they say nothing of the clock
            self.session.clock(wall_us, mono_ns)
        # By the time of taking: what arrived while a slow disk kept us is no silence of the venue's, nor unanswered.
        if taken_ns - self._ticked_ns >= TICK_NS:
            self._ticked_ns = taken_ns
            self.session.tick(taken_ns, self.session.peek(taken_ns))
            self._act()
        if time.monotonic_ns() - self._flushed_ns >= FLUSH_AT_LEAST_NS:
            await self._flush(self.session.stamp(taken_ns) // HOUR_US)

    async def _flush(self, hour: int) -> None:
        taken = self.session.take()
        await asyncio.to_thread(self._journal.write, hour, taken)
        self._flushed_ns = time.monotonic_ns()
        for event, fields in self.session.notes():
            self._log(event, **fields)

    def _act(self) -> None:
        for link, reason in list(self.session.dead.items()):
            if link in self._connections:
                self._connections[link].abort(reason)
        for link, command in self.session.commands():
            connection = self._connections.get(link)
            if connection is not None:
                connection.send(command)

    async def _connect(self, url: str, signer: Signer | None) -> None:
        backoff = Backoff(self._rng)
        while True:
            self._links += 1
            link = self._links
            try:
                connection = await dial(url, signer, link, self._queue)
            except HandshakeError as error:
                wait_s = backoff.next_s()
                self._log("handshake_failed", status=error.status, error=error.error, wait_s=round(wait_s, 3))
                await asyncio.sleep(wait_s)
                continue
            began_s = time.monotonic()
            self._connections[link] = connection
            self.session.opened(link, connection.port, time.monotonic_ns())
            self._log("connected", link=link, port=connection.port)
            try:
                await connection.run()
            finally:
                del self._connections[link]
            if time.monotonic() - began_s > STEADY_S:
                backoff.reset()
            wait_s = backoff.next_s()
            self._log("connection_ended", link=link, reason=connection.reason.value, wait_s=round(wait_s, 3))
            await asyncio.sleep(wait_s)

    async def _drain(self) -> None:
        """Flush what is left; the connection's end is in the queue already, or is put there now."""
        now_ns = time.monotonic_ns()
        for link in list(self.session.links):
            self._queue.mark(link, Ended(Reason.SHUTDOWN), now_ns)
        for hour in self.session.feed(self._queue.take(now_ns)):
            await self._flush(hour)
        await self._flush(self.session.stamp(now_ns) // HOUR_US)
        await asyncio.to_thread(self._journal.close)
