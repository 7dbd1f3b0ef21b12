"""The recorder of one shard: sockets, clocks and files around the session.

Owns the tasks and their order: what has arrived is decoded, flushed, and only then the next is taken.
"""

import asyncio
import random
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from book.records import HOUR_US, Reason
from collector.clock import Stamper
from collector.connection import Queue
from collector.conns import ConnNumbers
from collector.disk import Disk
from collector.journal import Journal
from collector.limits import Limits
from collector.lines import Lines
from collector.links import Ended
from collector.metrics import Seen, Watch
from collector.raw_archive import Archive
from collector.room import Room
from collector.session import Session
from collector.signing import Signer

BATCH_S = 0.05
BATCH_FRAMES = 8192
"""A batch that does not wait for its time: about what one core takes in BATCH_S. Smaller ones cost more a frame."""
FLUSH_FRAMES = 2 * BATCH_FRAMES
"""What one flush takes at most: after a slow one more than a batch has arrived, and a disk that hesitates is caught up
with rather than fallen behind."""
TICK_NS = 100_000_000
LOOK_NS = 1_000_000_000
FLUSH_AT_LEAST_NS = 900_000_000
ONE_MOMENT_NS = 20_000

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
    """Record through a pool of connections until stopped."""

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
        disk: Disk | None = None,
        watch: Watch | None = None,
        archive: Callable[[Session, int], Archive] | None = None,
    ) -> None:
        """Start the session on what the journal has recovered; ``show`` turns machine time into the time shown.

        Without ``disk`` only a disk that takes nothing more stops the recording. ``archive`` begins the archive of raw
        frames, given the session and its first stamp.
        """
        self._journal = journal
        self._log = log
        self._rng = rng
        self._watch = Watch() if watch is None else watch
        wall_us, mono_ns, _ = read_clocks()
        # Above the last durable stamp: a crash's closes stand up to 1 us after it, and no new span before them.
        self._stamper = Stamper(wall_us, mono_ns, show, floor_us=journal.last_us + 1)
        self.session = Session(self._stamper, ConnNumbers(shard, journal.last_conn), rng, limits)
        self._archive = None if archive is None else archive(self.session, self.session.stamp(mono_ns))
        self._wake = asyncio.Event()
        self._queue = Queue(queue_frames, self._wake.set, BATCH_FRAMES)
        self._lines: Lines | None = None
        self._room = Room(disk or Disk(journal.reserve, stop_bytes=0, resume_bytes=0), log, self._halt)
        self._ticked_ns = 0
        self._looked_ns = 0
        self._flushed_ns = 0
        self._stop = asyncio.Event()
        self._bug: BaseException | None = None

    def now_us(self) -> int:
        """Return the time shown now, in microseconds."""
        return self.session.peek(time.monotonic_ns())

    def stop(self) -> None:
        """End the connections, flush and return from ``run``."""
        self._room.hurried = True
        self._stop.set()
        self._wake.set()

    def fail(self, error: BaseException) -> None:
        """Have ``run`` raise an error that was met where nobody waits for it."""
        self._bug = self._bug or error
        self._wake.set()

    async def run(self, url: str, signer: Signer | None) -> None:
        """Record until ``stop``; raises what is a bug, and OSError of a disk that does not take the log."""
        hour = self.session.stamp(time.monotonic_ns()) // HOUR_US
        closed = await self._room.durable(lambda: self._journal.close_crashed(hour))
        self.session.intake.feeds.resume(self._journal.feeds)
        if closed:
            self._log("crash_closed", spans=closed)
        lines = Lines(url, signer, self._queue, self.session, self._log, self._rng, ended=self._watch.ended)
        self._lines = lines
        self._room.begin()
        try:
            while not self._stop.is_set():
                await self._wait()
                await self._turn(lines)
                self._raise_bugs(lines)
        finally:
            await lines.end(Reason.SHUTDOWN)
        await self._drain()

    def _raise_bugs(self, lines: Lines) -> None:
        if self._bug is not None:
            raise self._bug
        lines.check()

    async def _wait(self) -> None:
        if len(self._queue) < BATCH_FRAMES:
            self._wake.clear()
            try:
                async with asyncio.timeout(BATCH_S):
                    await self._wake.wait()
            except TimeoutError:
                pass  # the batch is due by time

    async def _turn(self, lines: Lines) -> None:
        """Take what has arrived, make it durable, and let time ask for the rest."""
        taken_ns = time.monotonic_ns()
        items = self._queue.take(taken_ns)
        for start in range(0, len(items), FLUSH_FRAMES):
            part = items[start : start + FLUSH_FRAMES]
            for hour in self.session.feed(part):
                await self._flush(hour)
            self._watch.waits.add((time.monotonic_ns() - part[0][1]) / 1e9, len(part))
        wall_us, mono_ns, apart_ns = read_clocks()
        if apart_ns <= ONE_MOMENT_NS:  # else something came between the readings, and they say nothing of the clock
            self.session.clock(wall_us, mono_ns)
        # By the time of taking: what arrived while a slow disk kept us is no silence of the venue's, nor unanswered.
        if taken_ns - self._ticked_ns >= TICK_NS:
            self._ticked_ns = taken_ns
            self.session.tick(taken_ns, self.session.peek(taken_ns))
            self._act(lines)
        # Metadata goes out in the hour of the tick that has stamped it.
        if self.session.metadata.waiting or time.monotonic_ns() - self._flushed_ns >= FLUSH_AT_LEAST_NS:
            await self._flush(self.session.stamp(taken_ns) // HOUR_US)
        if taken_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = taken_ns
            self._look(lines)

    async def _flush(self, hour: int, *, last: bool = False) -> None:
        taken = self.session.take()
        tap, noted = self.session.tap, []
        if tap is not None:
            noted.append(tap.take(hour, self._journal.next_flush, stopping=last))

        def write() -> None:
            while noted and self._archive is not None:  # once, however often the disk refuses the flush
                self._archive.write(noted.pop())
            self._journal.write(hour, taken)

        began_s = time.monotonic()
        await self._room.durable(write, owed=bool(taken.conns))
        self._flushed_ns = time.monotonic_ns()
        self._watch.flushed(time.monotonic() - began_s, taken.tables)
        for event, fields in self.session.notes():
            self._log(event, **fields)

    def _act(self, lines: Lines) -> None:
        if self._room.stopped:
            lines.keep((), Reason.SHUTDOWN)
        else:
            lines.keep(self.session.slots())
        for link, reason in list(self.session.dead.items()):
            lines.abort(link, reason)
        for link, command in self.session.commands():
            lines.send(link, command)

    def _halt(self) -> None:
        """End every connection, now that recording stops; their ends follow what is in the queue."""
        if self._lines is not None:
            self._lines.keep((), Reason.SHUTDOWN)

    def _look(self, lines: Lines) -> None:
        """Look at the disk, and show how things stand."""
        self._room.look(idle=lines.idle and not self.session.links)
        self._watch.seen = Seen(
            figures=self.session.figures(),
            queued=len(self._queue),
            segment_age_s=self._journal.open_for_s(),
            offset_us=self._stamper.offset_us,
            free_bytes=self._room.free_bytes,
            stopped=self._room.stopped,
            raw_bytes=0 if self._archive is None else self._archive.written_bytes,
            raw_failures=0 if self._archive is None else self._archive.failures,
        )

    async def _drain(self) -> None:
        """Flush what is left; the connections' ends are in the queue already, or are put there now."""
        now_ns = time.monotonic_ns()
        for link in list(self.session.links):
            self._queue.mark(link, Ended(Reason.SHUTDOWN), now_ns)
        for hour in self.session.feed(self._queue.take(now_ns)):
            await self._flush(hour)
        await self._flush(self.session.stamp(now_ns) // HOUR_US, last=True)
        if self._archive is not None:
            await asyncio.to_thread(self._archive.close)
        await asyncio.to_thread(self._journal.close)
