"""What is written is there at once; segments are sealed in time; a shard and its numbers go on over restarts."""

import os
from pathlib import Path

import pytest

from book.errors import CollectorError
from book.records import HOUR_US
from collector import journal as journal_module
from collector.journal import Journal
from collector.taken import Taken
from lake import durable, paths
from lake.journal.segment import read_sidecar
from tests.collector.journals import CONN, H0, T0, Clock, drop, expected, hours, names, opened, stored, taken


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the disk, and in which order, matters here; whether the power may fail does not."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


# writing


def test_what_is_written_is_there_for_another_reader_at_once(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(3):
        journal.write(H0, taken(number))
        assert stored(tmp_path) == expected(range(number + 1))
    (hour,) = hours(tmp_path)
    assert hour.conns == {CONN: (T0 + 2_000_000, 2, 1, 0)}
    assert hour.last is not None
    assert hour.last.at_us == T0 + 2_000_000
    journal.close()


def test_an_empty_flush_is_an_acknowledgement_too(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, Taken({}, {CONN: (T0 + 5, 9, True, 0)}, [(CONN, T0 + 1, T0 + 4)], set(), T0 + 7))
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
        os.close(journal._fence._lock)  # the child's copy of the parent's descriptor would hold the lock, not take it
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
