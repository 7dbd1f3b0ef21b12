"""What is acknowledged stays, once; what is not leaves no trace; what a crash cut short is closed."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from book.errors import CollectorError, CorruptError
from book.records import HOUR_US, Kind, Reason
from collector import journal as journal_module
from collector.conns import Conn
from collector.journal import Journal
from collector.rows import OrderbookRows, TableRows
from collector.session import Taken
from collector.spans import Spans
from lake import durable, paths
from lake.flush import FlushTail
from lake.reader import Hour
from lake.segment import read_sidecar

H0 = 490_000
T0 = H0 * HOUR_US
CONN = T0 // 1000 * 1024


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the disk, and in which order, matters here; whether the power may fail does not."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


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
    return Taken(batches, {CONN: (at_us, number, up)}, [], set(), at_us)


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
    os.close(journal._lock)


def names(home: Path, hour: int = H0) -> list[str]:
    return sorted(path.name for path in paths.hour_dir(home, 0, hour).iterdir())


# writing


def test_what_is_written_is_there_for_another_reader_at_once(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(3):
        journal.write(H0, taken(number))
        assert stored(tmp_path) == expected(range(number + 1))
    (hour,) = hours(tmp_path)
    assert hour.conns == {CONN: (T0 + 2_000_000, 2, 1)}
    assert hour.last is not None
    assert hour.last.at_us == T0 + 2_000_000
    journal.close()


def test_an_empty_flush_is_an_acknowledgement_too(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, Taken({}, {CONN: (T0 + 5, 9, True)}, [(CONN, T0 + 1, T0 + 4)], set(), T0 + 7))
    (hour,) = hours(tmp_path)
    assert names(tmp_path) == ["flush.jsonl"]
    assert hour.silences == [(CONN, T0 + 1, T0 + 4)]
    journal.close()


def test_a_segment_is_sealed_by_age_and_the_next_one_begins(tmp_path: Path) -> None:
    clock = Clock()
    journal = opened(tmp_path, clock)
    journal.write(H0, taken(0))
    clock.now_s += 9.9
    journal.write(H0, taken(1))
    assert names(tmp_path) == ["flush.jsonl", "trades-000000.arrow"]
    clock.now_s += 0.1
    journal.write(H0, taken(2))
    journal.write(H0, taken(3))
    sidecar = read_sidecar(paths.hour_dir(tmp_path, 0, H0) / "trades-000000.arrow")
    assert sidecar is not None
    assert (sidecar.rows, sidecar.conns) == (6, {str(CONN): (T0 + 2_000_000, 2)})
    assert "trades-000001.arrow" in names(tmp_path)
    assert stored(tmp_path) == expected(range(4))
    journal.close()


def test_a_segment_without_new_rows_is_sealed_by_age_too(tmp_path: Path) -> None:
    clock = Clock()
    journal = opened(tmp_path, clock)
    journal.write(H0, taken(0))
    clock.now_s += 10
    journal.write(H0, taken(1, tables=()))
    assert "trades-000000.arrow.json" in names(tmp_path)
    journal.close()


def test_a_segment_is_sealed_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SEAL_BYTES", 1)
    journal = opened(tmp_path)
    for number in range(3):
        journal.write(H0, taken(number))
    assert [name for name in names(tmp_path) if name.endswith(".arrow")] == [f"trades-{n:06d}.arrow" for n in range(3)]
    assert stored(tmp_path) == expected(range(3))
    journal.close()


def test_a_new_hour_seals_the_old_one_and_begins_anew(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0))
    journal.write(H0 + 1, taken(1))
    assert "trades-000000.arrow.json" in names(tmp_path)
    assert names(tmp_path, H0 + 1) == ["flush.jsonl", "trades-000000.arrow"]
    assert stored(tmp_path) == expected(range(2))
    first, second = hours(tmp_path)
    assert first.last is not None
    assert second.last is not None
    assert (first.last.n, second.last.n) == (1, 2)
    journal.close()


def test_an_hour_that_goes_back_is_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0 + 1, taken(0))
    with pytest.raises(CollectorError):
        journal.write(H0, taken(1))
    drop(journal)


def test_the_hours_that_closes_reach_are_named(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0)._replace(close_hours={H0 - 2, H0 - 1, H0, H0 + 1}))
    assert hours(tmp_path)[0].reach == {H0 - 2, H0 - 1}
    journal.close()


def test_closing_seals_everything(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0, tables=("trades", "orderbook")))
    journal.close()
    assert [name for name in names(tmp_path) if name.endswith(".json")] == [
        "orderbook-000000.arrow.json",
        "trades-000000.arrow.json",
    ]


def test_a_shard_belongs_to_one_process(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    with pytest.raises(CollectorError, match="belongs to another process"):
        opened(tmp_path)
    other = Journal(tmp_path, 1, seal_s=1.0, monotonic_s=Clock())
    other.close()
    journal.close()
    opened(tmp_path).close()


def test_the_lock_holds_against_a_second_process(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(journal._lock)  # the child's copy of the parent's descriptor would hold the lock, not take it
        try:
            opened(tmp_path)
        except CollectorError:
            os.write(writer, b"refused")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 99) == b"refused"
    os.close(reader)
    journal.close()


# restarts


def test_numbers_go_on_over_restarts(tmp_path: Path) -> None:
    for start in range(3):
        journal = opened(tmp_path)
        assert journal.last_us == (T0 + (2 * start - 1) * 1_000_000 if start else 0)
        for number in (2 * start, 2 * start + 1):
            journal.write(H0, taken(number, up=False))
        journal.close()
    (hour,) = hours(tmp_path)
    assert hour.flushes == 6
    assert stored(tmp_path) == expected(range(6))


def test_the_last_conn_is_kept_when_it_has_ended_and_later_flushes_name_none(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0, up=False))
    journal.write(H0, Taken({}, {}, [], set(), T0 + 9))
    journal.close()
    again = opened(tmp_path)
    assert again.last_conn == CONN
    assert again.close_crashed(H0) == 0
    again.close()


def test_the_last_conn_is_carried_over_hours_and_runs_without_any(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0, up=False))
    journal.close()
    for later in range(1, 4):
        again = opened(tmp_path)
        assert again.last_conn == CONN
        again.write(H0 + later, Taken({}, {}, [], set(), T0 + later * HOUR_US))
        again.write(H0 + later, Taken({}, {}, [], set(), T0 + later * HOUR_US + 1))
        again.close()
    last = opened(tmp_path)
    assert (last.last_conn, last.last_us) == (CONN, T0 + 3 * HOUR_US + 1)
    last.close()


def test_an_hour_that_was_begun_and_never_acknowledged_hides_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0))
    durable.make_folder(paths.hour_dir(tmp_path, 0, H0 + 1))
    drop(journal)
    again = opened(tmp_path)
    assert (again.last_conn, again.last_us) == (CONN, T0)
    assert again.close_crashed(H0 + 1) == 0
    again.close()


# faults while writing


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


def run(home: Path, acknowledged: list[int], count: int = 8) -> None:
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
    """Return how many times a whole run touches the disk."""
    count = 0

    def note(_: str, act: Callable[[], Any]) -> Any:
        nonlocal count
        count += 1
        return act()

    with faulty(note):
        run(tmp_path / "whole", [])
    return count


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


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_one_failing_call_at_any_step_loses_and_doubles_nothing(tmp_path: Path, code: int) -> None:
    raised = 0
    for step in range(steps(tmp_path)):
        home = tmp_path / f"{step}"
        acknowledged: list[int] = []
        calls = 0

        def fault(name: str, act: Callable[[], Any], step: int = step) -> Any:
            nonlocal calls
            calls += 1
            if calls == step + 1:
                raise OSError(code, name)
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


# crashes


class Shard:
    """Spans of two conns over a journal, to be left at any moment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.journal = opened(home)
        self.spans = Spans()
        self.conns: list[Conn] = []
        self.seq = 0

    def conn(self) -> Conn:
        conn = Conn(CONN + 1024 * len(self.conns), 1, 3, "orderbook_delta", T0)
        self.conns.append(conn)
        self.spans.conns[conn.id] = conn
        return conn

    def snapshot(self, conn: Conn, ticker: str, ts_us: int) -> None:
        conn.tracker.last += 1
        conn.frame_us = conn.order_us = ts_us
        self.spans.snapshot(conn, self.spans.market(ticker), ts_us, conn.tracker.last, ((0, 4500, 100),))

    def flush(self, hour: int = H0, at_us: int = T0 + 1) -> None:
        tables, reach = self.spans.take()
        conns = {conn.id: (conn.frame_us, conn.tracker.last, conn.up) for conn in self.conns}
        self.journal.write(hour, Taken(tables, conns, [], reach, at_us))

    def restart(self, hour: int = H0) -> list[tuple[Any, ...]]:
        """Die and come back; return the closes that this wrote: (ticker, ts - T0, conn, seq, reason)."""
        drop(self.journal)
        before = [hour.table("orderbook").num_rows for hour in hours(self.home)]
        self.journal = opened(self.home)
        count = self.journal.close_crashed(hour)
        found = []
        for index, one in enumerate(hours(self.home)):
            rows = one.table("orderbook").slice(before[index] if index < len(before) else 0)
            for row in rows.to_pylist():
                assert row["kind"] == Kind.CLOSE
                stamp = int(row["ts_recv"].timestamp() * 1_000_000)
                found.append((row["ticker"], round(stamp - T0), row["conn"], row["seq"], row["reason"]))
        assert count == len(found)
        return sorted(found)


def test_open_spans_are_closed_at_the_last_frame_their_conn_had(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.snapshot(conn, "B", T0 + 200)
    conn.frame_us = T0 + 5_000
    shard.flush(at_us=T0 + 6_000)
    closes = shard.restart()
    assert closes == [(ticker, 5_001, conn.id, 2, "crash") for ticker in ("A", "B")]
    assert hours(tmp_path)[0].conns[conn.id] == (T0 + 5_000, 2, 0)
    assert shard.restart() == []
    shard.journal.close()


def test_a_span_that_had_ended_is_not_closed_again(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.snapshot(conn, "B", T0 + 200)
    shard.spans.unsubscribed(conn, shard.spans.market("A"), T0 + 300, 3, Reason.UNSUBSCRIBED)
    conn.frame_us = T0 + 5_000
    shard.flush()
    assert [close[0] for close in shard.restart()] == ["B"]
    shard.journal.close()


def test_a_span_that_had_ended_later_than_its_conn_was_heard_is_closed_there(tmp_path: Path) -> None:
    """Moved to another connection while its own was silent: what that one last knew is older than the move."""
    shard = Shard(tmp_path)
    old, new = shard.conn(), shard.conn()
    shard.snapshot(old, "A", T0 + 100)
    shard.snapshot(new, "A", T0 + 9_000)
    old.frame_us = T0 + 200
    shard.flush()
    assert shard.restart() == [
        ("A", 201, old.id, 1, "crash"),
        ("A", 9_001, new.id, 1, "crash"),
    ]
    shard.journal.close()


def test_spans_are_found_in_earlier_hours_and_their_closes_reach_back(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.flush()
    conn.frame_us = T0 + 2 * HOUR_US + 7
    shard.flush(H0 + 2, T0 + 2 * HOUR_US + 9)
    assert shard.restart(H0 + 3) == [("A", 2 * HOUR_US + 8, conn.id, 1, "crash")]
    assert hours(tmp_path)[-1].reach == {H0 + 2}
    shard.journal.close()


def test_killed_while_it_closes_a_crash_it_is_closed_by_the_next(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.flush()
    drop(shard.journal)
    again = opened(tmp_path)

    def fault(name: str, act: Callable[[], Any]) -> Any:
        if name == "fdatasync":
            raise Killed(name)
        return act()

    with faulty(fault), pytest.raises(Killed):
        again.close_crashed(H0)
    drop(again)
    shard.journal = opened(tmp_path)
    assert shard.journal.close_crashed(H0) == 1
    shard.journal.close()


def test_a_clean_end_leaves_nothing_to_close(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.spans.end_conn(conn, T0 + 100, T0 + 300, 1, Reason.SHUTDOWN)
    conn.up = False
    shard.flush()
    assert shard.restart() == []
    shard.journal.close()


def test_a_crash_is_closed_from_a_part_of_the_log_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas of many hours are passed over by the column, a part at a time."""
    monkeypatch.setattr(journal_module, "BATCHES_A_PART", 2)
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.snapshot(conn, "B", T0 + 200)
    for number in range(7):
        ones = np.ones(500, np.int64)
        seq = np.arange(500) + 3 + 500 * number
        shard.spans.deltas(conn, 0 * ones, T0 + seq, T0 + seq, seq, 0 * ones, 4500 * ones, ones)
        conn.tracker.last = int(seq[-1])
        conn.frame_us = T0 + int(seq[-1])
        shard.flush()
    assert [close[0] for close in shard.restart()] == ["A", "B"]
    shard.journal.close()
