"""Tests of query.status: sums over coverage rows made by hand, and what is late."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from book.errors import CorruptError
from lake import paths
from lake.schemas import COVERAGE
from query import status
from query.status import StatusReader, Window

SECOND = 1_000_000
HOUR = 3600 * SECOND
H = 496_000


class Shelf:
    """Published hours by hand, coverage in files; notes which hours' coverage was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[int, list[dict[str, Any]]] = {}
        self.versions: dict[int, int] = {}
        self.reads: list[int] = []

    def publish(self, hour: int, *rows: dict[str, Any]) -> None:
        old = [row | {"superseded_at": (hour + 2) * HOUR} for row in self.rows.get(hour, ())]
        blank = {field.name: None if field.nullable else 0 for field in COVERAGE}
        blank |= {"bases": [], "channel": "orderbook", "reason": "hour", "state": "known", "ticker": "*"}
        self.rows[hour] = [*old, *(blank | row for row in rows)]
        self.versions[hour] = self.versions.get(hour, 0) + 1
        (file,) = self.coverage_files(hour)
        pq.write_table(pa.Table.from_pylist(self.rows[hour], COVERAGE), self.folder / file)

    def refresh(self) -> bool:
        return True

    def hours(self) -> list[int]:
        return sorted(self.rows)

    def coverage_files(self, hour: int) -> tuple[str, ...]:
        return (f"{hour}-{self.versions[hour]}",)

    def path(self, table: str, file: str) -> Path:
        assert table == "coverage"
        self.reads.append(int(file.partition("-")[0]))
        return self.folder / file


def known(ticker: str, end_reason: str = "continues", audits: int = 0) -> dict[str, Any]:
    return {"ticker": ticker, "state": "known", "end_reason": end_reason, "audits": audits}


def gap(ticker: str, hour: int, start: float, end: float) -> dict[str, Any]:
    """A gap, its bounds in minutes of the hour."""
    bounds = {"ts_from": hour * HOUR + int(start * 60 * SECOND), "ts_to": hour * HOUR + int(end * 60 * SECOND)}
    return {"ticker": ticker, "state": "gap", "end_reason": "seq_gap", **bounds}


@pytest.fixture
def shelf(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf(tmp_path_factory.mktemp("coverage"))
    monkeypatch.setattr(status, "Shelf", lambda *_, **__: made)
    return made


def reader(home: Path, now_us: int, *, lag_s: float | None = 1, **more: Any) -> StatusReader:
    known_us = None if lag_s is None else now_us - int(lag_s * SECOND)
    given = {"fresh_s": 0.0, **more}
    return StatusReader(home, home / "lake", lambda: now_us, lambda: known_us, 15 * SECOND, **given)


def record(home: Path, hour: int, shard: int = 0, flush: str = "x\n") -> None:
    """Leave an hour's folder in a shard's log."""
    folder = paths.hour_dir(home, shard, hour)
    folder.mkdir(parents=True)
    (folder / paths.FLUSH_NAME).write_text(flush)


def test_nothing_recorded_and_nothing_published(tmp_path: Path, shelf: Shelf) -> None:
    found = reader(tmp_path, H * HOUR, lag_s=None).status()

    assert (found.recording, found.lag_us, found.known_until_us) == (False, None, None)
    assert (found.hours_published, found.last_published_us) == (0, None)
    assert (found.unpublished_hours, found.publish_lateness_us) == (0, 0)
    assert found.day == found.month == Window(0, 0, 0, 0, 0)


@pytest.mark.parametrize(("lag_s", "recording"), [(0, True), (15, True), (15.000001, False)])
def test_it_records_while_records_come(tmp_path: Path, shelf: Shelf, lag_s: float, recording: bool) -> None:
    found = reader(tmp_path, H * HOUR, lag_s=lag_s).status()

    assert (found.recording, found.lag_us) == (recording, int(lag_s * SECOND))


def test_a_record_ahead_of_the_clock_is_no_lag(tmp_path: Path, shelf: Shelf) -> None:
    assert reader(tmp_path, H * HOUR, lag_s=-1).status().lag_us == 0


def test_lateness_counts_from_the_end_of_the_oldest_hour_that_is_not_published(tmp_path: Path, shelf: Shelf) -> None:
    for hour in (H - 3, H - 2, H - 1, H):
        record(tmp_path, hour)
    record(tmp_path, H - 2, shard=7)
    shelf.publish(H - 3)
    shelf.publish(H - 1)  # published before an older one: that one is still late
    at = reader(tmp_path, H * HOUR + 90 * SECOND).status()
    assert (at.unpublished_hours, at.publish_lateness_us) == (1, HOUR + 90 * SECOND)
    assert (at.hours_published, at.last_published_us) == (2, (H - 1) * HOUR)

    shelf.publish(H - 2)
    assert reader(tmp_path, (H + 1) * HOUR - 1).status().publish_lateness_us == 0
    at = reader(tmp_path, (H + 1) * HOUR).status()
    assert (at.unpublished_hours, at.publish_lateness_us) == (1, 0)
    assert reader(tmp_path, (H + 1) * HOUR + SECOND).status().publish_lateness_us == SECOND


def test_a_folder_without_a_flush_waits_for_nothing(tmp_path: Path, shelf: Shelf) -> None:
    record(tmp_path, H - 2, flush="")
    paths.hour_dir(tmp_path, 0, H - 3).mkdir(parents=True)

    assert reader(tmp_path, H * HOUR).status().unpublished_hours == 0


def test_a_gap_over_several_hours_is_one(tmp_path: Path, shelf: Shelf) -> None:
    shelf.publish(H - 3, gap("A", H - 3, 10, 20), gap("A", H - 3, 50, 60), gap("B", H - 3, 0, 5))
    shelf.publish(H - 2, gap("A", H - 2, 0, 60), known("B"))
    shelf.publish(H - 1, gap("A", H - 1, 0, 1), gap("A", H - 1, 2, 3), gap("C", H - 1, 0, 1))

    assert reader(tmp_path, H * HOUR).status().day.gaps == len(["A 10", "A 50", "B", "A 2", "C"])


def test_a_gap_told_across_an_hour_that_is_not_published_is_told_twice(tmp_path: Path, shelf: Shelf) -> None:
    shelf.publish(H - 3, gap("A", H - 3, 50, 60))
    shelf.publish(H - 1, gap("A", H - 1, 0, 1))

    assert reader(tmp_path, H * HOUR).status().day.gaps == 2


def test_audits_and_mismatches_are_summed_of_markets_alone(tmp_path: Path, shelf: Shelf) -> None:
    whole = {"ticker": "*", "state": "table", "channel": "audits", "audits": 99}
    shelf.publish(H - 2, known("A", audits=3), known("B", "audit_mismatch", audits=2), whole)
    shelf.publish(H - 1, known("A", "audit_mismatch", 1), gap("A", H - 1, 1, 2), known("A", "seq_gap"))

    assert reader(tmp_path, H * HOUR).status().day == Window(2, 0, 1, 6, 2)


def test_a_day_and_a_month_are_bounded(tmp_path: Path, shelf: Shelf) -> None:
    for hours in (1, 24, 25, 720, 721):
        shelf.publish(H - hours, known("A", audits=1))
    found = reader(tmp_path, H * HOUR).status()

    assert (found.day.hours, found.day.audits, found.month.hours, found.month.audits) == (2, 2, 4, 4)
    assert found.hours_published == 5


def test_one_answer_reads_a_bounded_number_of_hours_the_newest_first(tmp_path: Path, shelf: Shelf) -> None:
    for hours in range(1, 6):
        shelf.publish(H - hours, known("A", audits=1))
    asked = reader(tmp_path, H * HOUR, hours_at_once=2)

    windows = [asked.status().month for _ in range(4)]
    assert [(window.hours, window.left_out, window.audits) for window in windows] == [
        (2, 3, 2), (4, 1, 4), (5, 0, 5), (5, 0, 5)
    ]  # fmt: skip
    assert shelf.reads == [H - 1, H - 2, H - 3, H - 4, H - 5]


def test_a_new_version_is_summed_anew(tmp_path: Path, shelf: Shelf) -> None:
    shelf.publish(H - 1, known("A", audits=3))
    asked = reader(tmp_path, H * HOUR)
    assert asked.status().day.mismatches == 0

    shelf.publish(H - 1, known("A", "audit_mismatch", audits=4))
    assert asked.status().day == Window(1, 0, 0, 4, 1)


def test_an_answer_is_given_again_for_a_while(tmp_path: Path, shelf: Shelf) -> None:
    asked = reader(tmp_path, H * HOUR, fresh_s=3600)
    assert asked.status().hours_published == 0

    shelf.publish(H - 1)
    assert asked.status().hours_published == 0


def test_damaged_coverage_is_an_error_of_ours(tmp_path: Path, shelf: Shelf) -> None:
    shelf.publish(H - 1, known("A"))
    (file,) = shelf.coverage_files(H - 1)
    (shelf.folder / file).write_bytes(b"nothing of the kind")

    with pytest.raises(CorruptError, match=file):
        reader(tmp_path, H * HOUR).status()
