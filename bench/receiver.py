"""The receiving side of an ingest bench, one run: everything the collector does, or receive and discard.

Owns the reading of CPU time around it. Both sides use the same ``websockets`` client with the same options. The
pipeline is ``collector.recorder.Recorder`` itself: books of all markets first, then the stream.

Run as ``python -m bench.receiver WAY LOOP TAPE HOME PORT CONTROL CORE``; prints one JSON object.
"""

import asyncio
import gc
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from websockets.asyncio.client import connect

from bench import machine, tape
from bench.readback import Written, read_back
from collector import raw_archive
from collector.connection import MAX_FRAME_BYTES
from collector.journal import Journal
from collector.limits import Limits
from collector.recorder import Recorder
from ops.settings import Settings

POLL_S = 0.02
LIBRARY_QUEUE_FRAMES = 4096
"""The library's queue where ``recv`` is used: large enough that reading never pauses for it alone."""
QUEUE_FRAMES = 10_000_000
"""The collector's queue: no venue sends as fast as this pump, and a disk that holds a run up must not overflow it."""
DISCARD, PIPELINE = "discard", "pipeline"


class Run(msgspec.Struct):
    """Figures of one run; CPU of all threads of this process, user and system."""

    cpu_s: float
    wall_s: float
    frames: int
    sent_bytes: int
    written: Written = msgspec.field(default_factory=Written)


class Meter:
    """CPU and wall time since it was made."""

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Return CPU seconds and wall seconds."""
        return time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s


async def discard(url: str, control: int, frames: int) -> Run:
    """Receive ``frames`` messages and drop each."""
    options: dict[str, Any] = {
        "ping_interval": None, "max_size": MAX_FRAME_BYTES, "max_queue": LIBRARY_QUEUE_FRAMES, "compression": None,
        "proxy": None,
    }  # fmt: skip
    async with connect(url, **options) as socket:
        sent_bytes, go = await _ready(control)
        meter = Meter()
        go.write(b"go\n")
        receive = socket.recv
        for _ in range(frames):
            await receive(decode=False)
        cpu_s, wall_s = meter.read()
        socket.transport.abort()
    return Run(cpu_s, wall_s, frames, sent_bytes)


async def pipeline(url: str, control: int, played: tape.Tape, home: Path) -> Run:
    """Record the stream until every frame of it is durable."""
    settings = Settings()
    journal = Journal(home, 0, seal_s=settings.seal_s, monotonic_s=time.monotonic)
    # No audits: the pump answers nothing, and a venue that answers no audit is left for a new subscription.
    limits = Limits(audit_every_s=1e8, most_markets=len(played.books))
    recorder = Recorder(
        journal, limits, 0, lambda stamps: stamps, lambda *_, **__: None,
        queue_frames=QUEUE_FRAMES, rng=random.Random(1),
        archive=partial(
            raw_archive.begin, journal=journal, home=home, shard=0, days=7, published=lambda _: False,
            log=lambda *_, **__: None,
        ),
    )  # fmt: skip
    close_us = recorder.now_us()  # recorded markets end within the stream, by an empty book
    for ticker in played.books:
        recorder.session.list_market(ticker, None, close_us)
    running = asyncio.create_task(recorder.run(url, None))
    counts = recorder.session.intake.counts
    while counts["snapshots"] < len(played.books) or not all(recorder.session.figures().up.values()):
        await _pause(running)
    sent_bytes, go = await _ready(control)
    end = counts["frames"] + len(played.bodies)
    meter = Meter()
    go.write(b"go\n")
    while counts["frames"] < end:
        await _pause(running)
    recorder.stop()
    await running
    cpu_s, wall_s = meter.read()
    return Run(cpu_s, wall_s, len(played.bodies), sent_bytes, read_back(home, played))


async def _ready(control: int) -> tuple[int, asyncio.StreamWriter]:
    """Have the pump prepare its frames; return the bytes it will send, and where to say go."""
    reader, writer = await asyncio.open_connection("127.0.0.1", control)
    writer.write(b"ready\n")
    return int(await reader.readline()), writer


async def _pause(running: "asyncio.Task[None]") -> None:
    if running.done():
        running.result()
        raise RuntimeError("the recorder ended before the stream did")
    await asyncio.sleep(POLL_S)


def main(way: str, loop: str, tape_path: str, home: str, port: int, control: int, core: int) -> Run:
    """Run once, under asyncio or uvloop."""
    machine.pin(core)
    played = tape.load(Path(tape_path))
    gc.freeze()  # the tape is the bench's, not the product's: what is measured does not pay for its being looked over
    url = f"wss://127.0.0.1:{port}/trade-api/ws/v2"
    work = pipeline(url, control, played, Path(home)) if way == PIPELINE else discard(url, control, len(played.bodies))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        return runner.run(work)


if __name__ == "__main__":
    way, loop, tape_path, home, port, control, core = sys.argv[1:]
    done = main(way, loop, tape_path, home, int(port), int(control), int(core))
    print(msgspec.json.encode(done).decode())
