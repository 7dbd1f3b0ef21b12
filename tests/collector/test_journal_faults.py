"""What is acknowledged stays, once; what is not leaves no trace."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from book.errors import CorruptError
from book.records import HOUR_US
from lake import paths
from lake.journal.flush import FlushTail
from tests.collector.journals import (
    H0,
    T0,
    Clock,
    Killed,
    drop,
    expected,
    faulty,
    hours,
    names,
    opened,
    steps_of,
    stored,
    taken,
)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the disk, and in which order, matters here; whether the power may fail does not."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


# faults while writing


def run(home: Path, acknowledged: list[int], count: int = 6) -> None:
    """Write flushes over two hours, sealing now and then; note each that is acknowledged."""
    clock = Clock()
    journal = opened(home, clock, seal_s=2.0)
    try:
        journal.close_crashed(H0)
        for number in range(count):
            clock.now_s += 1.0
            hour = H0 + (number >= count // 2)
            tables = ("trades", "orderbook") if number % 3 else ("trades",)
            at_us = T0 + number * 1_000_000 + (HOUR_US if hour > H0 else 0)
            journal.write(hour, taken(number, at_us=at_us, tables=tables))
            acknowledged.append(number)
        journal.close()
    except BaseException:
        drop(journal)
        raise


def steps(tmp_path: Path) -> int:
    return steps_of(lambda: run(tmp_path / "whole", []))


def test_killed_at_any_step_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    for step in range(steps(tmp_path)):
        for after in (False, True):
            home = tmp_path / f"{step}-{after}"
            acknowledged: list[int] = []
            calls = 0

            def fault(name: str, act: Callable[[], Any], step: int = step, after: bool = after) -> Any:
                nonlocal calls
                calls += 1
                if calls > step + 1:
                    raise Killed(name)
                if calls == step + 1 and not after:
                    raise Killed(name)
                done = act()
                if calls == step + 1:
                    raise Killed(name)
                return done

            with faulty(fault), pytest.raises(Killed):
                run(home, acknowledged)
            again = opened(home)
            found = stored(home)
            whole = len(acknowledged)
            assert found in (expected(range(whole)), expected(range(whole + 1))), (step, after)
            assert not acknowledged or again.last_us >= T0 + acknowledged[-1] * 1_000_000
            again.close_crashed(H0 + 1)
            again.write(H0 + 1, taken(99, at_us=T0 + HOUR_US + 99_000_000))
            again.close()
            assert stored(home) == [*found, "99/0", "99/1"], (step, after)
            for hour in hours(home):
                assert hour.table("orderbook").num_rows >= 0


def test_one_failing_call_at_any_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    raised = 0
    for step in range(steps(tmp_path)):
        home = tmp_path / f"{step}"
        acknowledged: list[int] = []
        calls = 0

        def fault(name: str, act: Callable[[], Any], step: int = step) -> Any:
            nonlocal calls
            calls += 1
            if calls == step + 1:
                raise OSError(errno.EIO, name)
            return act()

        with faulty(fault):
            try:
                run(home, acknowledged)
            except OSError:
                raised += 1
        found = stored(home)
        whole = len(acknowledged)
        assert found in (expected(range(whole)), expected(range(whole + 1))), step
        again = opened(home)
        assert stored(home) == found, step
        again.close()
        for hour in paths.hours(home, 0):
            FlushTail(paths.hour_dir(home, 0, hour) / paths.FLUSH_NAME).poll()
    assert raised < steps(tmp_path / "more") // 4, "most single failures are survived without a restart"


@pytest.mark.parametrize("failing", ["fdatasync", "write_all"])
def test_a_table_that_cannot_be_written_goes_to_a_new_segment(tmp_path: Path, failing: str) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0))
    failures = [OSError(errno.EIO, "once")]

    def fault(name: str, act: Callable[[], Any]) -> Any:
        if name == failing and failures:
            raise failures.pop()
        return act()

    with faulty(fault):
        journal.write(H0, taken(1))
    assert stored(tmp_path) == expected(range(2))
    assert "trades-000001.arrow" in names(tmp_path)
    journal.write(H0, taken(2))
    journal.close()
    opened(tmp_path).close()
    assert stored(tmp_path) == expected(range(3))


def test_an_acknowledgement_whose_sync_failed_is_written_once(tmp_path: Path) -> None:
    """Its line may be whole in the file already: a second one of the same number would spoil the file for readers."""
    journal = opened(tmp_path)
    journal.write(H0, taken(0))
    syncs = 0

    def fault(name: str, act: Callable[[], Any]) -> Any:
        nonlocal syncs
        syncs += name == "fdatasync"
        if name == "fdatasync" and syncs == 2:  # the first is the table's
            raise OSError(errno.EIO, "once")
        return act()

    with faulty(fault):
        journal.write(H0, taken(1))
    journal.write(H0, taken(2))
    (hour,) = hours(tmp_path)
    assert hour.flushes == 3
    assert stored(tmp_path) == expected(range(3))
    journal.close()


def test_a_full_disk_is_raised_and_nothing_of_the_flush_is_acknowledged(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0, tables=("orderbook", "trades")))

    def full(name: str, act: Callable[[], Any]) -> Any:
        if name == "write_all":
            raise OSError(errno.ENOSPC, "No space left on device")
        return act()

    with faulty(full), pytest.raises(OSError, match="No space"):
        journal.write(H0, taken(1, tables=("orderbook", "trades")))
    drop(journal)
    assert stored(tmp_path) == expected(range(1))
    again = opened(tmp_path)
    again.write(H0, taken(2))
    again.close()
    assert stored(tmp_path) == ["0/0", "0/1", "2/0", "2/1"]


def test_a_seal_that_fails_is_left_to_recovery(tmp_path: Path) -> None:
    clock = Clock()
    journal = opened(tmp_path, clock)
    journal.write(H0, taken(0))
    clock.now_s += 60

    def fault(name: str, act: Callable[[], Any]) -> Any:
        if name == "replace":
            raise OSError(errno.EIO, name)
        return act()

    with faulty(fault):
        journal.write(H0, taken(1))
    journal.write(H0, taken(2))
    assert stored(tmp_path) == expected(range(3))
    journal.close()
    again = opened(tmp_path)
    assert [name for one in again.recovered for name in one.sealed] == ["trades-000000.arrow"]
    again.close()
    assert stored(tmp_path) == expected(range(3))


def test_acknowledged_bytes_that_were_altered_are_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0))
    journal.close()
    path = paths.hour_dir(tmp_path, 0, H0) / "trades-000000.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptError):
        opened(tmp_path)
