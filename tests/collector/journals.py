"""Numbered flushes, what a reader finds of them, and a disk that fails on demand.

Owns what the tests of the journal share.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from book.records import HOUR_US, Kind
from collector.journal import Journal
from collector.rows import OrderbookRows, TableRows
from collector.taken import Taken
from lake import durable, paths
from lake.journal.reader import Hour

H0 = 490_000
T0 = H0 * HOUR_US
CONN = T0 // 1000 * 1024


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def opened(home: Path, clock: Clock | None = None, *, seal_s: float = 10.0) -> Journal:
    return Journal(home, 0, seal_s=seal_s, monotonic_s=clock or Clock())


def taken(number: int, *, at_us: int | None = None, up: bool = True, tables: tuple[str, ...] = ("trades",)) -> Taken:
    """Return flush ``number``: two rows a table, numbered; the conn heard up to the flush."""
    at_us = T0 + number * 1_000_000 if at_us is None else at_us
    batches: dict[str, Any] = {}
    if "trades" in tables:
        rows = TableRows("trades")
        for part in range(2):
            rows.add(
                ticker="A", trade_id=f"{number}/{part}", ts_recv=at_us, conn=CONN, seq=number, yes_price_e4=1, qty_e2=1,
                source="ws",
            )  # fmt: skip
        batches["trades"] = rows.take()
    if "orderbook" in tables:
        book = OrderbookRows(["A"])
        for part in range(2):
            book.add_change(Kind.DELTA, 0, at_us, at_us, CONN, 2 * number + part, (0, 4500, 1))
        batches["orderbook"] = book.take()
    return Taken(batches, {CONN: (at_us, number, up, 0)}, [], set(), at_us)


def stored(home: Path) -> list[str]:
    """Return the trades in the log, in log order, as a reader in another process finds them."""
    return [row for hour in hours(home) for row in hour.table("trades")["trade_id"].to_pylist()]


def hours(home: Path) -> list[Hour]:
    found = [Hour(paths.hour_dir(home, 0, number), 0, number) for number in paths.hours(home, 0)]
    for hour in found:
        hour.poll()
    return found


def expected(numbers: range) -> list[str]:
    return [f"{number}/{part}" for number in numbers for part in range(2)]


def drop(journal: Journal) -> None:
    """Let go of a journal as a process that dies does."""
    for one in journal._open.values():
        one.writer._close()
    if journal._flush is not None:
        journal._flush.close()
    journal._fence.close()


def names(home: Path, hour: int = H0) -> list[str]:
    return sorted(path.name for path in paths.hour_dir(home, 0, hour).iterdir())


class Killed(BaseException):
    """The process is gone."""


Fault = Callable[[str, Callable[[], Any]], Any]


@contextmanager
def faulty(fault: Fault) -> Iterator[None]:
    """Let ``fault`` stand before every call that changes the disk."""
    with pytest.MonkeyPatch.context() as patch:

        def wrap(owner: Any, name: str, *, partly: bool = False) -> None:
            real = getattr(owner, name)

            def call(*args: Any, **more: Any) -> Any:
                try:
                    return fault(name, lambda: real(*args, **more))
                except (Killed, OSError):
                    if partly:  # a write may have happened in part
                        real(args[0], memoryview(args[1])[: len(args[1]) // 2])
                    raise

            patch.setattr(owner, name, call)

        wrap(durable, "write_all", partly=True)
        for name in ("fdatasync", "fsync", "ftruncate"):
            wrap(os, name)
        wrap(Path, "replace")
        wrap(Path, "unlink")
        yield


def steps_of(run: Callable[[], object]) -> int:
    """Return how many times a run touches the disk."""
    count = 0

    def note(_: str, act: Callable[[], Any]) -> Any:
        nonlocal count
        count += 1
        return act()

    with faulty(note):
        run()
    return count
