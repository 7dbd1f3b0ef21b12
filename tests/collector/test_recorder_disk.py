"""A recorder on a disk that stalls, fills, fails and comes back, against a venue on real sockets."""

import asyncio
import errno
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from book.records import Kind
from collector import recorder as recorder_module
from collector import room as room_module
from collector.disk import Disk
from collector.journal import Journal
from collector.recorder import Recorder
from collector.signing import Signer
from collector.taken import Taken
from lake import paths
from tests.collector.test_recorder import Bench, listed, until
from tests.e2e.journalwatch import JournalWatch


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "LOOK_NS", 100_000_000)
    monkeypatch.setattr(recorder_module, "FLUSH_AT_LEAST_NS", 200_000_000)
    monkeypatch.setattr(room_module, "RETRY_S", 0.02)


def record(
    bench: Bench, venue: Any, trouble: Callable[[Bench], Any], markets: int = 3
) -> tuple[list[dict[str, Any]], JournalWatch]:
    """Record until ``trouble``, a coroutine function, returns; return the rows and an outside view of the log."""
    watch = JournalWatch(bench.home)

    async def scenario() -> None:
        async with venue(markets=markets, messages_per_s=300) as exchange:
            signer = Signer("test-key", exchange.private_pem)
            running = asyncio.create_task(bench.recorder.run(exchange.ws_url, signer))
            await listed(bench, exchange, markets)
            await until(lambda: bench.recorder.session.figures().live == markets)
            doing = asyncio.create_task(trouble(bench))
            await asyncio.wait({running, doing}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
            if running.done():
                doing.cancel()
                running.result()
            doing.result()
            bench.recorder.stop()
            await asyncio.wait_for(running, 20)

    try:
        asyncio.run(scenario())
    finally:
        watch.stop()
    return bench.rows(), watch


def known_again(bench: Bench, markets: int = 3) -> Callable[[], bool]:
    return lambda: bench.recorder.session.figures().live == markets


def closes(rows: list[dict[str, Any]], reason: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == Kind.CLOSE and row["reason"] == reason]


def assert_nothing_is_served_in_between(rows: list[dict[str, Any]], reason: str, markets: int = 3) -> None:
    """After each close of that reason the market has no change until a book of a later moment opens it again."""
    closed = closes(rows, reason)
    assert len({row["ticker"] for row in closed}) == markets
    for close in closed:
        own = [row for row in rows if row["ticker"] == close["ticker"]]
        after = [row for row in own[own.index(close) + 1 :] if row["kind"] != Kind.ORPHAN]
        assert after, "it was recorded again"
        assert after[0]["kind"] == Kind.SNAPSHOT
        assert after[0]["ts_recv"] >= close["ts_recv"]


def test_a_disk_that_stalls_fills_the_queue_and_what_was_dropped_is_an_overflow(venue: Any, tmp_path: Path) -> None:
    go = threading.Event()
    stalled = threading.Event()

    class Stalling(Journal):
        def write(self, hour: int, taken: Taken) -> None:
            if self.stalls:
                stalled.set()
                assert go.wait(30)
            super().write(hour, taken)

        stalls = False

    bench = Bench(tmp_path, Stalling, queue_frames=200)

    async def trouble(bench: Bench) -> None:
        Stalling.stalls = True
        queue = bench.recorder._queue
        await until(stalled.is_set)
        await until(lambda: sum(queue._dropping.values()) > 200)
        assert len(queue) < 400, "the bound holds"
        Stalling.stalls = False
        go.set()
        await until(lambda: bool(bench.named("overflow")))
        await until(known_again(bench))
        await asyncio.sleep(0.3)

    rows, watch = record(bench, venue, trouble)
    assert_nothing_is_served_in_between(rows, "overflow")
    for close in closes(rows, "overflow"):
        before = [
            row for row in rows[: rows.index(close)] if row["conn"] == close["conn"] and row["kind"] != Kind.CLOSE
        ]
        last = max(before, key=lambda row: row["seq"])  # a book connection carries changes alone once it stands
        assert (close["seq"], close["ts_recv"]) == (last["seq"], last["ts_recv"] + timedelta(microseconds=1))
    assert watch.lost() == []


def test_too_little_space_stops_recording_and_enough_resumes_it(venue: Any, tmp_path: Path) -> None:
    bench = Bench(tmp_path, disk=True)
    free = [10 << 30]
    bench.disk.free_bytes = lambda: free[0]

    async def trouble(bench: Bench) -> None:
        reserve = paths.reserve_path(bench.home, 0)
        assert reserve.exists()
        free[0] = 1
        await until(lambda: bool(bench.named("recording_stopped")))
        await until(lambda: not bench.recorder.session.links)
        assert not reserve.exists()
        flushes = bench.journal._number
        await until(lambda: bench.journal._number > flushes + 1)
        assert any("stopped" in text for text in bench.recorder._watch.missing())
        assert len(bench.named("connected")) == 3
        free[0] = 10 << 30
        await until(known_again(bench))
        assert reserve.exists()

    rows, watch = record(bench, venue, trouble)
    assert bench.named("recording_resumed")
    assert_nothing_is_served_in_between([row for row in rows if not _last_closes(rows, row)], "shutdown")
    assert watch.lost() == []


def _last_closes(rows: list[dict[str, Any]], row: dict[str, Any]) -> bool:
    """Say whether a row is one of those that the end of the run has written."""
    return bool(row["reason"] == "shutdown" and row["conn"] == max(one["conn"] for one in rows))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "kalshibook-test", place], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_fills_in_mid_write_stops_recording_and_room_resumes_it(venue: Any, small_disk: Path) -> None:
    """Another program takes every byte; the closes are written with the reserve, and nothing acknowledged is lost."""
    bench = Bench(small_disk, reserve_bytes=4 << 20)
    hog = small_disk / "hog"

    async def trouble(bench: Bench) -> None:
        reserve = paths.reserve_path(bench.home, 0)
        assert reserve.stat().st_blocks * 512 >= 4 << 20
        with hog.open("wb") as file:
            while not bench.named("recording_stopped"):
                await asyncio.to_thread(_take_all, file.fileno())
                await asyncio.sleep(0.01)
        await until(lambda: not bench.recorder.session.links and bench.recorder._lines.idle)  # type: ignore[union-attr]
        assert not reserve.exists()
        hog.unlink()
        await until(lambda: bool(bench.named("recording_resumed")))
        await until(known_again(bench))
        assert reserve.exists()

    rows, watch = record(bench, venue, trouble)
    assert_nothing_is_served_in_between([row for row in rows if not _last_closes(rows, row)], "shutdown")
    assert watch.lost() == []


def _take_all(fd: int) -> None:
    for size in (1 << 20, 4096):
        while True:
            try:
                os.write(fd, bytes(size))
            except OSError:
                break


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_refuses_for_a_while_and_comes_back_loses_nothing(
    venue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Every write and sync fails for a time; a disk that is full stops recording, another is waited for."""
    bench = Bench(tmp_path)
    broken = threading.Event()
    for name in ("fdatasync", "fsync"):
        real = getattr(os, name)

        def call(fd: int, real: Callable[[int], None] = real) -> None:
            if broken.is_set():
                raise OSError(code, "refused")
            real(fd)

        monkeypatch.setattr(os, name, call)

    async def trouble(bench: Bench) -> None:
        broken.set()
        await until(lambda: bool(bench.named("disk_refused")))
        await asyncio.sleep(0.5)
        broken.clear()
        flushes = bench.journal._number
        await until(lambda: bench.journal._number > flushes + 3)
        await until(known_again(bench))

    rows, watch = record(bench, venue, trouble)
    assert watch.lost() == []
    if code == errno.ENOSPC:
        assert_nothing_is_served_in_between([row for row in rows if not _last_closes(rows, row)], "shutdown")
    else:
        assert {row["conn"] for row in rows} == {rows[0]["conn"]}, "no connection was lost by it"
        changes = [row["seq"] for row in rows if row["kind"] == Kind.DELTA]
        assert len(changes) == len(set(changes))


def test_a_disk_that_refuses_for_good_ends_the_process_and_its_spans_close_as_a_crash(
    venue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "GIVE_UP_S", 0.2)
    bench = Bench(tmp_path)
    real = os.fdatasync
    broken = threading.Event()

    def call(fd: int) -> None:
        if broken.is_set():
            raise OSError(errno.EIO, "refused")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", call)

    async def trouble(bench: Bench) -> None:
        await until(lambda: len({row["ticker"] for row in bench.rows()}) == 3)
        broken.set()
        await asyncio.sleep(30)

    with pytest.raises(OSError, match="refused"):
        record(bench, venue, trouble)
    broken.clear()
    bench.journal.close()
    again = Journal(tmp_path, 0, seal_s=1.0, monotonic_s=time.monotonic)
    assert again.close_crashed(paths.hour_of(bench.recorder.now_us())) == 3
    again.close()


def test_the_disk_of_a_recorder_without_marks_is_never_short(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert isinstance(bench.recorder, Recorder)
    assert not Disk(bench.journal.reserve, stop_bytes=0, resume_bytes=0).short()
    bench.journal.close()
