"""What is read of an hour: which rows, which closes of later folders, which marks, and up to which flush."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from book.errors import CorruptError
from book.records import HOUR_US
from lake import paths
from lake.journal.ends import read_end
from lake.journal.flush import ConnMark, FlushRecord, FlushTail, Silence
from lake.schemas import TABLES
from lake.settling import sources
from lake.settling.sources import Source, read_source
from tests.lake.chains import run
from tests.lake.handlog import CONN, H0, T0, HandLog, S
from tests.lake.slow import plain, read_log

NEXT = CONN + 1024
SECOND = T0 + HOUR_US


@pytest.fixture
def log(tmp_path: Path) -> HandLog:
    return HandLog(tmp_path)


def read(log: HandLog, hour: int = H0, upto: int | None = None) -> Source:
    return read_source(log.home, log.shard, hour, upto)


def closes(table: pa.Table) -> list[tuple[str, int]]:
    return [(row["ticker"], row["ts_recv"] - T0) for row in plain(table)]


@pytest.mark.parametrize("most_batches", [1, 4096])
def test_the_rows_of_a_folder_are_read_in_log_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_batches: int
) -> None:
    monkeypatch.setattr(sources, "_PART_BATCHES", most_batches)
    run(tmp_path, ("gap", "crash", "silent"), 4, 15.0)
    log = read_log(tmp_path, 0)
    for hour in paths.hours(tmp_path, 0):
        source = read_source(tmp_path, 0, hour)
        flushes = [flush for flush in log if flush.hour == hour]
        for table in TABLES:
            logged = [row for flush in flushes for row in flush.rows.get(table, [])]
            if table == "orderbook":
                logged = [row for row in logged if row["ts_recv"] // HOUR_US == hour]
            assert (plain(source.tables[table]) if table in source.tables else []) == logged
        assert source.flush == log[-1].n
        assert list(source.marks) == list(dict.fromkeys(conn for flush in flushes for conn in flush.conns))
    for table in source.tables:
        assert source.tables[table].schema.equals(TABLES[table], check_metadata=True)


def test_nothing_after_a_flush_is_read(log: HandLog) -> None:
    log.snapshot("A", T0 + 1, 1)
    log.trade("A", T0 + 1, 1, "one")
    one = log.flush(H0, {CONN: (T0 + 5, 1, 1)}, [Silence(CONN, T0 + 1, T0 + 2)])
    log.delta("A", T0 + 6, 2)
    log.trade("A", T0 + 7, 2, "two")
    two = log.flush(H0, {CONN: (T0 + 9, 2, 1), NEXT: (T0 + 9, 1, 1)}, [Silence(CONN, T0 + 3, T0 + 4)])
    log.close("A", T0 + 8, 2, "disconnect")
    three = log.flush(H0 + 1, {CONN: (SECOND, 2, 0)}, [Silence(CONN, T0 + 8, T0 + 9)])
    log.end(H0)
    found = [read(log, upto=upto) for upto in (one, two, three, None)]
    assert [source.flush for source in found] == [one, two, three, three]
    assert [source.tables["orderbook"].num_rows for source in found] == [2, 3, 3, 3]
    assert [source.tables["trades"].num_rows for source in found] == [1, 2, 2, 2]
    assert [source.late_closes.num_rows for source in found] == [0, 0, 1, 1]
    marks = [(T0 + 5, 1, 1), (T0 + 9, 2, 1), (SECOND, 2, 0), (SECOND, 2, 0)]
    assert [source.conns[CONN] for source in found] == [ConnMark(*mark) for mark in marks]
    assert [len(source.silences) for source in found] == [1, 2, 3, 3]
    assert [source.end is not None for source in found] == [False, False, True, True]
    assert found[3].end == read_end(log.home, 0, H0)
    nothing = read(log, upto=0)
    assert (nothing.flush, nothing.tables, nothing.conns) == (0, {}, {})


def test_closes_stand_in_the_hour_of_their_stamp(log: HandLog) -> None:
    """Those stamped earlier are told apart, each with how many rows here were logged before it."""
    log.snapshot("A", SECOND + 1, 1)
    log.close("A", T0 + 7, 1, "seq_gap")
    log.close("B", T0 - 7, 1, "seq_gap")
    log.delta("A", SECOND + 2, 2)
    log.close("A", SECOND + 3, 2, "seq_gap")
    log.flush(H0 + 1)
    log.close("C", T0 + 8, 1, "seq_gap")
    log.flush(H0 + 1)
    log.snapshot("A", SECOND + HOUR_US, 3)
    log.close("D", SECOND + 9, 1, "seq_gap")
    log.close("E", T0 + 9, 1, "seq_gap")
    log.close("F", SECOND + HOUR_US + 9, 1, "seq_gap")
    log.flush(H0 + 2)
    log.close("G", SECOND + HOUR_US + 10, 1, "seq_gap")
    log.flush(H0 + 3)
    source = read(log, H0 + 1)
    assert closes(source.tables["orderbook"]) == [
        ("A", HOUR_US + 1), ("A", HOUR_US + 1), ("A", HOUR_US + 2), ("A", HOUR_US + 3),
    ]  # fmt: skip
    assert closes(source.late_closes) == [("D", HOUR_US + 9)]
    assert closes(source.withdrawing) == [("A", 7), ("B", -7), ("C", 8), ("E", 9)]
    assert source.withdrawing_at.tolist() == [2, 2, 4, 4]
    assert source.reach == [H0 - 1, H0]
    empty = read(log)  # no folder
    assert (empty.tables, empty.conns, empty.reach, empty.flush) == ({}, {}, [], 4)
    assert closes(empty.late_closes) == [("A", 7), ("C", 8), ("E", 9)]
    assert closes(empty.withdrawing) == [("B", -7)]
    assert empty.withdrawing_at.tolist() == [0]
    last = read(log, H0 + 3)
    assert closes(last.withdrawing) == [("G", 2 * HOUR_US + 10)]
    assert last.tables == {}


def test_marks_are_the_newest_the_hours_own_and_those_before(log: HandLog) -> None:
    log.flush(H0 - 9, {CONN: (T0 - 9, 1, 1), 7: (T0 - 9, 1, 0)})
    log.flush(H0 - 1, {CONN: (T0 - 5, 3, 1, 2), NEXT: (T0 - 5, 4, 1)})
    log.flush(H0, {CONN: (T0 + 1, 5, 1)})
    log.flush(H0, {CONN: (T0 + 2, 6, 1, 2), 9 << 20: (T0 + 2, 1, 1)})
    log.flush(H0 + 1, {CONN: (SECOND + 3, 8, 1), 11 << 20: (SECOND, 1, 1)})
    log.flush(H0 + 2, {CONN: (SECOND + 3, 9, 0, 4), 9 << 20: (T0 + 1, 1, 0)})
    source = read(log)
    assert source.conns == {CONN: ConnMark(SECOND + 3, 9, 0, 4), 9 << 20: ConnMark(T0 + 2, 1, 1)}
    assert source.marks == {CONN: ConnMark(T0 + 2, 6, 1, 2), 9 << 20: ConnMark(T0 + 2, 1, 1)}
    assert source.before == {CONN: ConnMark(T0 - 5, 3, 1, 2)}


def test_silences_are_cut_to_the_hour_whichever_folder_tells_them(log: HandLog) -> None:
    log.flush(H0 - 1, {CONN: (T0, 1, 1)}, [Silence(CONN, T0 - 9, T0 - 1)])
    log.flush(H0, {CONN: (T0, 1, 1)}, [Silence(CONN, T0 - 5, T0 + 3), Silence(CONN, T0 - 5, T0)])
    told = [Silence(CONN, T0 + S, SECOND + S), Silence(CONN, SECOND, SECOND + 1), Silence(NEXT, T0 - S, SECOND + S)]
    log.flush(H0 + 1, {CONN: (T0, 1, 1)}, told)
    log.flush(H0 + 5, {CONN: (T0, 1, 1)}, told[:1])
    assert read(log).silences == [(CONN, T0, T0 + 3), (CONN, T0 + S, SECOND), (NEXT, T0, SECOND)]


def test_what_is_acknowledged_while_it_is_read_is_read_up_to_one_flush(
    log: HandLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows come to the old hour and then to the new one between two looks: no later flush without an earlier one."""
    log.snapshot("A", T0 + 1, 1)
    log.flush(H0)
    log.flush(H0 + 1)
    poll = FlushTail.poll
    calls: list[Any] = []

    def polled(tail: FlushTail) -> list[FlushRecord]:
        found = poll(tail)
        calls.append(tail)
        if len(calls) == 1:
            log.delta("A", T0 + 2, 2)
            log.flush(H0)
            log.close("A", T0 + 3, 2, "disconnect")
            log.flush(H0 + 1)
        return found

    monkeypatch.setattr(FlushTail, "poll", polled)
    source = read(log)
    seen = source.tables["orderbook"].num_rows - 2 + source.late_closes.num_rows
    assert source.flush == 2 + seen


def test_rows_that_cannot_be_of_their_folder_are_damage(tmp_path: Path) -> None:
    for number, write in enumerate(
        (
            lambda log: log.delta("A", T0 - 1, 1),
            lambda log: log.orphan("A", SECOND, 1),
            lambda log: log.close("A", SECOND, 1, "crash"),
            lambda log: log.checkpoint("A", SECOND, 1),
            lambda log: log.snapshot("A", T0 - 1, 1),
        )
    ):
        log = HandLog(tmp_path / str(number))
        write(log)
        log.flush(H0)
        with pytest.raises(CorruptError):
            read(log)


def test_altered_bytes_and_lost_segments_are_damage(log: HandLog) -> None:
    log.snapshot("A", T0 + 1, 1)
    log.flush(H0)
    path = paths.hour_dir(log.home, 0, H0) / "orderbook-000000.arrow"
    data = path.read_bytes()
    path.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    with pytest.raises(CorruptError):
        read(log)
    path.unlink()
    with pytest.raises(CorruptError):
        read(log)


def test_folders_that_have_ended_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, hours = HandLog(tmp_path), range(H0, H0 + 5)
    for hour in hours:
        log.delta("A", hour * HOUR_US + S, hour - H0 + 1)
        log.flush(hour, {CONN: (hour * HOUR_US + S, hour - H0 + 1, 1)})
    for hour in hours:
        log.end(hour)
    polled: list[Path] = []

    class Counted(FlushTail):
        def poll(self) -> list[FlushRecord]:
            polled.append(self.path)
            return super().poll()

    monkeypatch.setattr(sources, "FlushTail", Counted)
    for hour in hours:
        source = read_source(tmp_path, 0, hour)
        assert (source.flush, source.conns[CONN].last_seq) == (len(hours), len(hours))
    assert len(polled) == len(set(polled)) == len(hours)
    assert read_source(tmp_path, 0, H0, upto_flush=2).conns[CONN].last_seq == 2
