"""The shell around the session: slow disks, refusals, stops at awkward moments."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from book.records import Kind
from collector import connection as connection_module
from collector import lines as lines_module
from collector import recorder as recorder_module
from collector.disk import Disk
from collector.journal import Journal
from collector.limits import Limits
from collector.recorder import Recorder, read_clocks
from collector.signing import Signer
from collector.taken import Taken
from lake import paths
from lake.journal.reader import Hour
from ops.backoff import Backoff


class Bench:
    """A recorder over a journal, and what it has logged."""

    def __init__(
        self,
        home: Path,
        journal: type[Journal] = Journal,
        *,
        queue_frames: int = 100_000,
        disk: bool = False,
        reserve_bytes: int = 1 << 20,
        **limits: Any,
    ) -> None:
        self.home = home
        self.journal = journal(home, 0, seal_s=9.0, monotonic_s=time.monotonic, reserve_bytes=reserve_bytes)
        self.disk = Disk(self.journal.reserve, stop_bytes=1 << 30, resume_bytes=2 << 30) if disk else None
        self.logged: list[tuple[str, dict[str, Any]]] = []
        self.recorder = Recorder(
            self.journal,
            Limits(**limits),
            0,
            lambda stamps: stamps,
            self._log,
            queue_frames=queue_frames,
            rng=random.Random(1),
            disk=self.disk,
        )

    def _log(self, event: str, **fields: Any) -> None:
        self.logged.append((event, fields))

    def named(self, event: str) -> list[dict[str, Any]]:
        return [fields for one, fields in self.logged if one == event]

    def rows(self) -> list[dict[str, Any]]:
        found = []
        for number in paths.hours(self.home, 0):
            hour = Hour(paths.hour_dir(self.home, 0, number), 0, number)
            hour.poll()
            found += hour.table("orderbook").to_pylist()
        return found


async def until(reached: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not reached():
            await asyncio.sleep(0.005)


async def listed(bench: Bench, exchange: Any, count: int) -> None:
    """List the exchange's markets into the session."""
    documents = (await exchange._http.get("/trade-api/v2/markets?status=open&limit=1000")).json()["markets"]
    for document in documents[:count]:
        bench.recorder.session.list_market(document["ticker"], None, None)


def test_a_slow_disk_is_no_silence_of_the_venues(venue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames wait in the queue meanwhile: the connection is not dead, and its answers are not late."""
    monkeypatch.setattr(connection_module, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(recorder_module, "TICK_NS", 0)

    class Slow(Journal):
        def write(self, hour: int, taken: Taken) -> None:
            super().write(hour, taken)
            if self._number == 6:
                time.sleep(1.4)

    async def scenario() -> Bench:
        async with venue(markets=3, messages_per_s=300) as exchange:
            bench = Bench(tmp_path, Slow, watchdog_s=1.0)
            running = asyncio.create_task(bench.recorder.run(exchange.ws_url, Signer("test-key", exchange.private_pem)))
            await listed(bench, exchange, 3)
            await until(lambda: bench.journal._number > 12)
            bench.recorder.stop()
            await asyncio.wait_for(running, 10)
            return bench

    bench = asyncio.run(scenario())
    assert bench.named("connection_ended") == []
    assert len(bench.named("connected")) == 3
    assert {row["reason"] for row in bench.rows() if row["kind"] == Kind.CLOSE} == {"shutdown"}


def test_a_stop_during_a_flush_loses_nothing_of_it(venue: Any, tmp_path: Path) -> None:
    writing = asyncio.Event()
    loop: list[asyncio.AbstractEventLoop] = []

    class Slow(Journal):
        def write(self, hour: int, taken: Taken) -> None:
            if "orderbook" in taken.tables and not writing.is_set():
                loop[0].call_soon_threadsafe(writing.set)
                time.sleep(0.3)
            super().write(hour, taken)

    async def scenario() -> Bench:
        loop.append(asyncio.get_running_loop())
        async with venue(markets=3, messages_per_s=300) as exchange:
            bench = Bench(tmp_path, Slow)
            running = asyncio.create_task(bench.recorder.run(exchange.ws_url, Signer("test-key", exchange.private_pem)))
            await listed(bench, exchange, 3)
            await asyncio.wait_for(writing.wait(), 10)
            bench.recorder.stop()
            await asyncio.wait_for(running, 10)
            return bench

    rows = asyncio.run(scenario()).rows()
    opened = {row["ticker"] for row in rows if row["kind"] == Kind.SNAPSHOT}
    assert len(opened) == 3
    assert {row["ticker"] for row in rows if row["reason"] == "shutdown"} == opened
    seqs = [row["seq"] for row in rows if row["kind"] in (Kind.DELTA, Kind.ORPHAN)]
    assert len(seqs) == len(set(seqs))


def test_a_stop_while_it_waits_to_try_again_returns_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next_s", lambda _: 3600.0)

    async def scenario() -> Bench:
        bench = Bench(tmp_path)
        running = asyncio.create_task(bench.recorder.run("ws://127.0.0.1:1/", None))
        await until(lambda: bool(bench.named("handshake_failed")))
        bench.recorder.stop()
        await asyncio.wait_for(running, 5)
        return bench

    asyncio.run(scenario())
    Journal(tmp_path, 0, seal_s=1.0, monotonic_s=time.monotonic).close()


@pytest.mark.parametrize("stopping", [False, True])
def test_a_bug_in_connecting_is_raised_even_while_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: bool
) -> None:
    async def scenario() -> None:
        bench = Bench(tmp_path)

        async def broken(*_: Any) -> None:
            if stopping:
                bench.recorder.stop()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
            raise RuntimeError("a bug")

        monkeypatch.setattr(lines_module, "dial", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            await asyncio.wait_for(bench.recorder.run("ws://127.0.0.1:1/", None), 10)

    asyncio.run(scenario())


def test_there_is_a_flush_a_second_without_anything_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "FLUSH_AT_LEAST_NS", 30_000_000)

    async def scenario() -> None:
        bench = Bench(tmp_path)
        running = asyncio.create_task(bench.recorder.run("ws://127.0.0.1:1/", None))
        await until(lambda: bench.journal._number >= 5)
        bench.recorder.stop()
        await asyncio.wait_for(running, 5)

    asyncio.run(scenario())


def test_a_crash_is_closed_before_anything_is_recorded(venue: Any, tmp_path: Path) -> None:
    """The first run is left as a dead process leaves it; the second closes its spans and goes on above them."""

    async def scenario() -> Bench:
        async with venue(markets=3, messages_per_s=300) as exchange:
            signer = Signer("test-key", exchange.private_pem)
            dead = Bench(tmp_path)
            running = asyncio.create_task(dead.recorder.run(exchange.ws_url, signer))
            await listed(dead, exchange, 3)
            await until(lambda: dead.journal._number >= 8 and len(dead.rows()) > 10)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            dead.journal.close()
            bench = Bench(tmp_path)
            assert bench.recorder.now_us() > dead.journal.last_us
            running = asyncio.create_task(bench.recorder.run(exchange.ws_url, signer))
            await listed(bench, exchange, 3)
            await until(lambda: bench.journal._number > dead.journal._number + 8)
            bench.recorder.stop()
            await asyncio.wait_for(running, 5)
            return bench

    bench = asyncio.run(scenario())
    assert bench.named("crash_closed") == [{"spans": 3}]
    rows = bench.rows()
    crash = [place for place, row in enumerate(rows) if row["reason"] == "crash"]
    first, second = sorted({row["conn"] for row in rows})
    assert len(crash) == 3
    assert {row["conn"] for row in rows[: crash[-1] + 1]} == {first}
    assert {row["conn"] for row in rows[crash[-1] + 1 :]} == {second}
    last_us = max(row["ts_recv"] for row in rows[: crash[-1] + 1])
    assert all(row["ts_recv"] >= last_us for row in rows[crash[-1] + 1 :])


def test_the_clocks_are_read_as_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    mono_ns = iter([1_000, 900_000, 1_000_000, 1_000_100, 2_000_000, 2_700_000])
    wall_ns = iter([5_000_000_500, 5_001_000_001, 5_002_000_000])
    monkeypatch.setattr("collector.recorder.time.monotonic_ns", lambda: next(mono_ns))
    monkeypatch.setattr("collector.recorder.time.time_ns", lambda: next(wall_ns))
    assert read_clocks() == (5_001_001, 1_000_000, 100)
