"""A disk that refuses for a while, at any step: the same flush is written again, and stands once."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from book.errors import CollectorError
from book.records import HOUR_US
from collector.journal import Journal
from lake import paths
from lake.journal.ends import read_end
from lake.journal.recovery import verify_extents
from tests.collector.journals import H0, T0, Clock, drop, expected, faulty, hours, opened, steps_of, stored, taken

FLUSHES = 6


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the disk, and in which order, matters here; whether the power may fail does not."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


class Outside:
    """Another process's view: what it has seen acknowledged must stay readable."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.seen: list[str] = []

    def look(self) -> None:
        found = stored(self.home)
        assert found[: len(self.seen)] == self.seen
        self.seen = found


def run(home: Path, patience: int) -> list[int]:
    """Write flushes over two hours, each again until it is taken; return how often each was refused."""
    clock, outside = Clock(), Outside(home)
    journal = opened(home, clock, seal_s=2.0)
    refused = []
    for number in range(FLUSHES):
        clock.now_s += 1.0
        hour = H0 + (number >= FLUSHES // 2)
        at_us = T0 + number * 1_000_000 + (HOUR_US if hour > H0 else 0)
        flush = taken(number, at_us=at_us, tables=("trades", "orderbook") if number % 3 else ("trades",))
        tries = 0
        while tries <= patience:
            try:
                journal.write(hour, flush)
            except OSError:
                outside.look()
                tries += 1
            else:
                break
        assert tries <= patience, "refused for good"
        refused.append(tries)
        outside.look()
        assert outside.seen == expected(range(number + 1))
    journal.close()
    outside.look()
    return refused


def failing(first: int, count: int, code: int) -> Callable[[str, Callable[[], Any]], Any]:
    """Return a fault that refuses ``count`` calls from number ``first`` on."""
    calls = 0

    def fault(name: str, act: Callable[[], Any]) -> Any:
        nonlocal calls
        calls += 1
        if first < calls <= first + count:
            raise OSError(code, name)
        return act()

    return fault


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12])
def test_refused_for_a_while_from_any_step_on_every_flush_stands_once(tmp_path: Path, count: int) -> None:
    """Each folder is read back by a recovery too, which must find nothing amiss and lose nothing."""
    steps = steps_of(lambda: run(tmp_path / "whole", 0))
    refused = 0
    for step in range(steps - 12):  # the last of them are the end of the process, which recovery makes good
        home = tmp_path / f"{step}"
        with faulty(failing(step, count, errno.EIO if step % 2 else errno.ENOSPC)):
            try:
                refused += sum(run(home, count))
            except OSError:  # at the very start: opening is tried again by the next process
                assert not stored(home)
                continue
        opened(home).close()
        assert stored(home) == expected(range(FLUSHES)), step
        for hour in hours(home):
            books = hour.table("orderbook")["seq"].to_pylist()
            assert len(books) == len(set(books)), step
        end = read_end(home, 0, H0)
        assert end is None or end.flush >= FLUSHES // 2
    assert refused > 0
    assert count > 1 or refused < steps // 8, "one failure alone is made good within the write, but for a new folder's"


def test_a_flush_that_may_stand_already_is_not_followed_by_another(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0))
    syncs = 0

    def fault(name: str, act: Callable[[], Any]) -> Any:
        nonlocal syncs
        syncs += name in ("fdatasync", "fsync")
        if name in ("fdatasync", "fsync") and syncs > 1:  # the first is the table's
            raise OSError(errno.EIO, name)
        return act()

    flush = taken(1)
    with faulty(fault):
        with pytest.raises(OSError, match="fsync"):
            journal.write(H0, flush)
        with pytest.raises(CollectorError, match="not known whether"):
            journal.write(H0, taken(2))
    journal.write(H0, flush)
    journal.write(H0, taken(2))
    journal.close()
    assert stored(tmp_path) == expected(range(3))


def test_no_row_of_a_refused_flush_stays_in_any_segment(tmp_path: Path) -> None:
    """The first table's rows were durable when the second's were refused; the next flush has none of them."""
    journal = opened(tmp_path)
    journal.write(H0, taken(0, tables=("trades", "orderbook")))

    def fault(name: str, act: Callable[[], Any]) -> Any:
        fault.calls = getattr(fault, "calls", 0) + (name == "write_all")  # type: ignore[attr-defined]
        if name == "write_all" and fault.calls > 1:  # type: ignore[attr-defined]
            raise OSError(errno.ENOSPC, name)
        return act()

    with faulty(fault), pytest.raises(OSError, match="write_all"):
        journal.write(H0, taken(1, tables=("trades", "orderbook")))
    folder = paths.hour_dir(tmp_path, 0, H0)
    (hour,) = hours(tmp_path)
    for extent in hour.last.tables.values() if hour.last else ():
        assert (folder / extent.segment).stat().st_size == extent.length
        verify_extents(folder / extent.segment, [extent])
    journal.write(H0, taken(2, tables=("trades", "orderbook")))
    journal.close()
    assert stored(tmp_path) == ["0/0", "0/1", "2/0", "2/1"]


def test_a_crash_is_closed_though_the_disk_refuses_at_first(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0, tables=("trades",)))
    drop(journal)
    again = opened(tmp_path)
    with faulty(failing(0, 5, errno.ENOSPC)):
        for _ in range(6):
            with suppress(OSError):
                again.close_crashed(H0 + 1)
    assert again.close_crashed(H0 + 1) == 0
    assert not hours(tmp_path)[-1].conns[next(iter(hours(tmp_path)[-1].conns))].up
    again.close()


def test_on_a_full_disk_a_shard_is_opened_with_its_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path)
    assert journal.reserve.hold()
    journal.write(H0, taken(0))
    drop(journal)
    reserve = paths.reserve_path(tmp_path, 0)

    def fault(name: str, act: Callable[[], Any]) -> Any:
        if name in ("write_all", "replace") and reserve.exists():
            raise OSError(errno.ENOSPC, name)
        return act()

    with faulty(fault):
        Journal(tmp_path, 0, seal_s=1.0, monotonic_s=Clock()).close()
    assert not reserve.exists()
    assert stored(tmp_path) == expected(range(1))
    with faulty(failing(0, 1, errno.ENOSPC)), pytest.raises(OSError, match="write_all"):
        opened(tmp_path)
