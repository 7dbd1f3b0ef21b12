"""Stopping and resuming by free space, and the patience with a disk that refuses."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from collector import room as room_module
from collector.disk import Disk, Reserve, reserve_bytes
from collector.room import Room

SIZE = 1000


class Bench:
    """A room on a disk whose free bytes are told: ``free`` is what is free beside an existing reserve."""

    def __init__(self, home: Path, *, stop: int = 100, resume: int = 200) -> None:
        self.free = 10_000
        self.halts = 0
        self.logged: list[str] = []
        self.reserve = Reserve(home / "reserve", SIZE)
        self.disk = Disk(self.reserve, stop_bytes=stop, resume_bytes=resume)
        self.disk.free_bytes = lambda: self.free  # type: ignore[method-assign]
        self.room = Room(self.disk, self._log, self._halt)

    def _log(self, event: str, **_: Any) -> None:
        self.logged.append(event)

    def _halt(self) -> None:
        self.halts += 1


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_reserve_takes_its_bytes_and_gives_them_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 1 << 20)
    assert not reserve.path.exists()
    assert not reserve.release()
    assert reserve.hold()
    assert reserve.hold()
    assert reserve.path.stat().st_blocks * 512 >= 1 << 20
    assert reserve.release()
    assert not reserve.path.exists()


def test_a_reserve_that_cannot_be_made_whole_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("collector.disk.os.posix_fallocate", full)
    reserve = Reserve(tmp_path / "reserve", 1 << 20)
    assert not reserve.hold()
    assert not reserve.path.exists()


def test_a_reserve_has_room_for_the_closes_of_all_markets() -> None:
    assert reserve_bytes(20_000) >= 20_000 * 300
    assert reserve_bytes(1_000_000) >= 1_000_000 * 300


def test_recording_stops_below_one_mark_and_resumes_from_the_other(bench: Bench) -> None:
    bench.room.begin()
    assert bench.reserve.held
    for free, idle, stopped in (
        (100, False, False),
        (99, False, True),
        (99, True, True),
        (199 + SIZE, True, True),
        (200 + SIZE, False, True),
        (200 + SIZE, True, False),
    ):
        bench.free = free
        bench.room.look(idle=idle)
        assert bench.room.stopped == stopped
        assert bench.reserve.held != stopped
    assert bench.halts == 1
    assert bench.logged == ["recording_stopped", "recording_resumed"]


def test_a_disk_that_is_short_at_the_start_is_not_recorded_on(bench: Bench) -> None:
    bench.free = 50
    bench.room.begin()
    assert bench.room.stopped
    assert not bench.reserve.held


def refusing(code: int, times: int) -> tuple[list[int], Any]:
    """Return work that the disk refuses so many times, and where its tries are counted."""
    tries: list[int] = []

    def work() -> str:
        tries.append(1)
        if len(tries) <= times:
            raise OSError(code, "refused")
        return "done"

    return tries, work


def test_a_full_disk_stops_recording_and_gives_the_reserve(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "RETRY_S", 0.001)
    bench.room.begin()
    _, work = refusing(errno.ENOSPC, 3)
    assert asyncio.run(bench.room.durable(work)) == "done"
    assert bench.room.stopped
    assert not bench.reserve.held
    assert bench.halts == 1


def test_a_disk_that_fails_for_a_while_is_waited_for_without_a_stop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "RETRY_S", 0.001)
    bench.room.begin()
    tries, work = refusing(errno.EIO, 5)
    assert asyncio.run(bench.room.durable(work)) == "done"
    assert len(tries) == 6
    assert not bench.room.stopped
    assert bench.logged == ["disk_refused"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_refuses_for_good_is_an_error_while_something_is_owed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(room_module, "RETRY_S", 0.001)
    monkeypatch.setattr(room_module, "GIVE_UP_S", 0.02)
    tries, work = refusing(code, 1 << 30)
    with pytest.raises(OSError, match="refused"):
        asyncio.run(bench.room.durable(work))
    assert len(tries) > 2


def test_with_nothing_owed_a_stopped_recorder_waits_for_the_disk_until_it_is_told_to_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_module, "RETRY_S", 0.001)
    monkeypatch.setattr(room_module, "GIVE_UP_S", 0.0)
    monkeypatch.setattr(room_module, "HURRY_S", 0.0)
    _, work = refusing(errno.ENOSPC, 30)
    assert asyncio.run(bench.room.durable(work, owed=False)) == "done"
    bench.room.hurried = True
    _, work = refusing(errno.ENOSPC, 30)
    with pytest.raises(OSError, match="refused"):
        asyncio.run(bench.room.durable(work, owed=False))


def test_a_bug_is_not_waited_out(bench: Bench) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(bench.room.durable(broken))
