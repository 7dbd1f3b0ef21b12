"""An hour gets its END with the first flush after which nothing can join it, and never before."""

import os
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from book.records import HOUR_US, Kind, Reason
from collector.rows import OrderbookRows
from collector.taken import Taken
from lake import paths
from lake.journal import ends
from lake.journal.ends import End, read_end
from lake.journal.flush import NOT_COUNTED
from tests.collector.journals import CONN, H0, T0, Clock, drop, hours, opened, taken
from tests.model.account import false_ends

H1_US = T0 + HOUR_US
OTHER = CONN + 1024


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the disk, and in which order, matters here; whether the power may fail does not."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


def empty(at_us: int, **conns: tuple[int, bool]) -> Taken:
    """Return a flush without rows: of each conn, ``a`` and ``b``, when it was heard and whether it is up."""
    numbers = {"a": CONN, "b": OTHER}
    marks = {numbers[name]: (heard_us, 5, up, 1) for name, (heard_us, up) in conns.items()}
    return Taken({}, marks, [], set(), at_us)


def closes(at_us: int, stamp_us: int) -> Taken:
    """Return a flush with the close of a market on the conn, stamped earlier than it."""
    book = OrderbookRows(["A"])
    book.add_close(0, stamp_us, CONN, 3, Reason.SEQ_GAP)
    return Taken({"orderbook": book.take()}, {CONN: (at_us, 9, True, 0)}, [], {stamp_us // HOUR_US}, at_us)


def end(home: Path, hour: int = H0) -> End | None:
    return read_end(home, 0, hour)


def found(home: Path, hour: int = H0) -> End:
    one = end(home, hour)
    assert one is not None
    return one


def test_it_comes_with_the_flush_in_which_the_conn_is_heard_at_the_hours_end(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0, tables=("trades", "orderbook")))
    journal.write(H0, taken(1))
    journal.write(H0 + 1, empty(H1_US + 10, a=(H1_US - 1, True)))
    assert end(tmp_path) is None
    journal.write(H0 + 1, empty(H1_US + 20, a=(H1_US, True)))
    assert found(tmp_path) == End(
        shard=0,
        hour=H0,
        flush=4,
        segments=["orderbook-000000.arrow", "trades-000000.arrow"],
        conns={str(CONN): (H1_US, 5, 1, 1)},  # type: ignore[dict-item]  # equal to what it reads
        reach=[],
        epoch=1,
    )
    journal.close()
    assert end(tmp_path, H0 + 1) is None


def test_every_conn_of_the_hour_is_waited_for_and_only_those(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, empty(T0 + 10, a=(T0 + 5, True), b=(T0 + 6, True)))
    journal.write(H0 + 1, empty(H1_US + 10, a=(H1_US + 9, True), b=(T0 + 6, True)))
    assert end(tmp_path) is None, "the other conn is silent, and may yet deliver what it has of the hour"
    journal.write(H0 + 1, empty(H1_US + 20, a=(H1_US + 19, True), b=(T0 + 6, False)))
    assert found(tmp_path).flush == 3
    journal.close()


def test_a_conn_of_the_next_hour_holds_nothing_up(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, empty(T0 + 10, a=(T0 + 5, False)))
    journal.write(H0 + 1, empty(H1_US + 10, b=(H1_US - 1, True)))
    assert set(found(tmp_path).conns) == {str(CONN)}
    journal.close()


def test_an_hour_in_which_nothing_was_connected_ends_with_the_next(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, empty(T0 + 10))
    journal.write(H0 + 1, empty(H1_US + 10))
    assert found(tmp_path) == End(0, H0, 2, [], {}, [], epoch=1)
    journal.close()


def test_a_conn_that_is_silent_for_hours_holds_all_of_them_up(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for later in range(3):
        journal.write(H0 + later, empty(T0 + later * HOUR_US + 10, a=(T0 + 5, True)))
    assert [end(tmp_path, H0 + later) for later in range(3)] == [None] * 3
    heard_us = T0 + HOUR_US + 7
    journal.write(H0 + 2, empty(T0 + 2 * HOUR_US + 20, a=(heard_us, True)))
    assert found(tmp_path).flush == 4
    assert end(tmp_path, H0 + 1) is None
    journal.write(H0 + 2, empty(T0 + 2 * HOUR_US + 30, a=(heard_us, False)))
    assert found(tmp_path, H0 + 1).flush == 5
    journal.close()


def test_a_stamp_that_may_still_fall_into_the_hour_holds_it_up(tmp_path: Path) -> None:
    """A later folder alone is not enough: after a crash stamps go on from the last one that a flush has claimed."""
    journal = opened(tmp_path)
    journal.write(H0, empty(T0 + 10, a=(T0 + 5, False)))
    journal.write(H0 + 1, empty(T0 + 20))
    assert end(tmp_path) is None
    journal.write(H0 + 1, empty(H1_US))
    assert found(tmp_path).flush == 3
    journal.close()


def test_closes_logged_later_are_named_by_their_own_hour_and_alter_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, empty(T0 + 10, a=(T0 + 5, True)))
    journal.write(H0 + 1, closes(H1_US + 20, T0 + 3))
    before = found(tmp_path)
    assert (before.flush, before.reach) == (2, [])
    journal.write(H0 + 1, closes(H1_US + 30, T0 + 2))
    journal.write(H0 + 2, empty(H1_US + HOUR_US, a=(H1_US + HOUR_US, True)))
    assert found(tmp_path) == before
    assert found(tmp_path, H0 + 1).reach == [H0]
    journal.close()


def test_an_end_that_cannot_be_written_is_tried_again_and_recording_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0))

    def full(*_: Any) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ends.objects, "put_new", full)
        journal.write(H0 + 1, empty(H1_US + 10, a=(H1_US + 5, True)))
    assert end(tmp_path) is None
    assert hours(tmp_path)[1].flushes == 1
    journal.write(H0 + 1, empty(H1_US + 20, a=(H1_US + 15, True)))
    assert found(tmp_path).flush == 3
    journal.close()


# restarts


def test_an_hour_gone_on_with_after_a_restart_ends_as_one(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.write(H0, taken(0))
    drop(first)
    second = opened(tmp_path)
    second.close_crashed(H0)
    second.write(H0, taken(1)._replace(conns={OTHER: (T0 + 9, 1, True, 0)}, close_hours={H0 - 1}))
    second.write(H0 + 1, empty(H1_US + 10, b=(H1_US, True)))
    one = found(tmp_path)
    assert one.segments == ["trades-000000.arrow", "trades-000001.arrow"]
    assert {conn: mark.up for conn, mark in one.conns.items()} == {str(CONN): 0, str(OTHER): 1}
    assert one.reach == [H0 - 1]
    assert false_ends(tmp_path, 0) == []
    second.close()


def test_hours_that_a_dead_process_left_end_after_its_closes_one_a_second_oldest_first(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for later in range(3):
        at_us = T0 + later * HOUR_US + 10
        first.write(
            H0 + later, taken(later, at_us=at_us, tables=("trades",))._replace(conns={CONN: (T0 + 5, 9, True, 2)})
        )
    drop(first)
    clock = Clock()
    again = opened(tmp_path, clock)
    hour, start_us = H0 + 4, T0 + 4 * HOUR_US
    again.close_crashed(hour)
    for later in range(3):
        one = found(tmp_path, H0 + later)
        assert (one.flush, one.conns) == (4 + 2 * later, {str(CONN): (T0 + 5, 9, 0, 2)})
        again.write(hour, empty(start_us + 10 + later))
        assert end(tmp_path, H0 + later + 1) is None, "the next one is not read within the same second"
        clock.now_s += 1.0
        again.write(hour, empty(start_us + 20 + later))
    assert end(tmp_path, hour) is None
    assert false_ends(tmp_path, 0) == []
    again.close()


def test_a_restart_that_dies_in_its_first_flush_leaves_stamps_past_the_hours_it_ended(tmp_path: Path) -> None:
    """Its clock may be behind when it comes back once more; what it claimed must keep stamps out of the ended hour."""
    first = opened(tmp_path)
    first.write(H0, taken(0))
    drop(first)
    second = opened(tmp_path)
    second.close_crashed(H0 + 1)
    assert found(tmp_path).flush == 2
    drop(second)
    third = opened(tmp_path)
    assert third.last_us >= H1_US
    third.close()


def test_marks_of_an_older_hour_are_looked_for_in_the_hours_after_it(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.write(H0, taken(0))
    first.write(H0 + 1, taken(1, at_us=H1_US + 10))
    first.write(H0 + 2, taken(2, at_us=H1_US + HOUR_US + 10, up=False))
    os.unlink(paths.end_path(tmp_path, 0, H0))
    first.close()
    again = opened(tmp_path)
    again.write(H0 + 2, empty(H1_US + HOUR_US + 20))
    assert found(tmp_path).conns == {str(CONN): (H1_US + 10, 1, 1, 0)}
    again.close()


def test_a_damaged_hour_has_no_end_and_holds_no_other_up(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for later in range(3):
        at_us = T0 + later * HOUR_US + 10
        first.write(H0 + later, taken(later, at_us=at_us)._replace(conns={}))
        first.write(H0 + later, empty(at_us + 1))
    first.close()
    for later in range(2):
        os.unlink(paths.end_path(tmp_path, 0, H0 + later))
    path = paths.hour_dir(tmp_path, 0, H0) / "flush.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"at_us":1', b'"at_us":2', 1))
    clock = Clock()
    again = opened(tmp_path, clock)
    again.close_crashed(H0 + 3)
    for number in range(3):
        clock.now_s += 1.0
        again.write(H0 + 3, empty(T0 + 3 * HOUR_US + number))
    assert end(tmp_path) is None
    assert found(tmp_path, H0 + 1).segments == found(tmp_path, H0 + 2).segments == ["trades-000000.arrow"]
    again.close()


def test_old_records_without_the_count_of_what_stands_apart_are_read(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0))
    drop(journal)
    path = paths.hour_dir(tmp_path, 0, H0) / "flush.jsonl"
    assert path.read_bytes().count(b",0,1,0]") == 1
    old = path.read_bytes().rpartition(b"\t")[0].replace(b",0,1,0]", b",0,1]")
    path.write_bytes(b"%s\t%08x\n" % (old, crc32(old)))
    again = opened(tmp_path)
    assert again.close_crashed(H0 + 1) == 0
    assert found(tmp_path).conns[str(CONN)] == (T0, 0, 0, NOT_COUNTED)
    assert Kind.CLOSE not in hours(tmp_path)[1].table("orderbook")["kind"].to_pylist()
    again.close()
