"""The shelf: what is published shows at a refresh, whole, as of a time too; damage is named."""

import os
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from book.errors import CorruptError
from book.records import HOUR_US
from lake import paths
from lake.publishing import delta, parquet
from lake.publishing.shelf import Shelf
from lake.schemas import COVERAGE
from tests.lake.tapes import FIRST

Rows = list[dict[str, object]]


def rows(number: int, version: int, at_us: int, superseded_us: int | None, ticker: str = "A") -> Rows:
    counts = dict.fromkeys(("snapshots", "deltas", "checkpoints", "closes", "orphans", "audits", "rows"), 0)
    return [
        {
            "ticker": ticker, "channel": "orderbook", "state": "known", "ts_from": FIRST * HOUR_US,
            "ts_to": (FIRST + 1) * HOUR_US, "bases": [], "version": version, "manifest": number, "published_at": at_us,
            "superseded_at": superseded_us, "reason": "hour",
        }
        | counts
    ]  # fmt: skip


def commit(lake: Path, number: int, hours: dict[int, list[dict[str, object]]]) -> list[str]:
    """Commit coverage rows as publication ``number`` does; return the files."""
    delta.ensure_tables(lake)
    files = [
        (hour, parquet.write_new(lake, "coverage", hour, pa.Table.from_pylist(found, schema=COVERAGE)))
        for hour, found in hours.items()
    ]
    delta.commit(lake, "coverage", number, list(hours), lambda _handle: files)
    return [data.file for _, data in files]


def test_nothing_is_there_before_anything_is_published(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "lake")
    assert not shelf.refresh()
    assert shelf.hours() == []
    assert shelf.manifest_number() == 0
    assert shelf.coverage(FIRST).equals(COVERAGE.empty_table())
    assert shelf.version(FIRST) == 0
    delta.ensure_tables(tmp_path / "lake")
    shelf.refresh()
    assert shelf.hours() == []


def test_what_is_committed_shows_at_the_next_refresh(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number in range(1, 8):
        commit(tmp_path, number, {FIRST + number: rows(number, 1, number, None)})
        assert shelf.hours() == [FIRST + one for one in range(1, number)]
        assert shelf.refresh()
        assert not shelf.refresh()
        assert shelf.hours() == [FIRST + one for one in range(1, number + 1)]
        assert shelf.manifest_number() == number
        assert (shelf.version(FIRST + number), shelf.manifest_of(FIRST + number)) == (1, number)
    other = Shelf(tmp_path)
    other.refresh()
    assert other.hours() == shelf.hours()


def test_a_commit_within_a_tick_of_the_last_look_is_seen(tmp_path: Path) -> None:
    commit(tmp_path, 1, {FIRST: rows(1, 1, 5, None)})
    log = paths.table_dir(tmp_path, "coverage") / "_delta_log"
    os.utime(log, ns=(10**18, 10**18))
    shelf = Shelf(tmp_path)
    shelf.refresh()
    commit(tmp_path, 2, {FIRST + 1: rows(2, 1, 6, None)})
    os.utime(log, ns=(10**18, 10**18))
    assert shelf.refresh()
    assert shelf.hours() == [FIRST, FIRST + 1]


def test_a_look_without_news_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path, 1, {FIRST: rows(1, 1, 5, None)})
    shelf = Shelf(tmp_path)
    shelf.refresh()
    shelf.standing_rows(FIRST)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", None)
        patch.setattr("io.open", None)
        patch.setattr(shelf, "_handle", None)
        assert not shelf.refresh()
        assert shelf.standing_rows(FIRST).num_rows == 1


def test_versions_stand_as_of_their_time(tmp_path: Path) -> None:
    commit(tmp_path, 1, {FIRST: rows(1, 1, 100, None)})
    commit(tmp_path, 2, {FIRST: rows(1, 1, 100, 200) + rows(2, 2, 200, None, "B")})
    shelf = Shelf(tmp_path)
    shelf.refresh()
    assert shelf.coverage(FIRST)["ticker"].to_pylist() == ["A", "B"]
    assert shelf.standing_rows(FIRST)["ticker"].to_pylist() == ["B"]
    stood = {at: shelf.standing_rows(FIRST, at)["ticker"].to_pylist() for at in (99, 100, 199, 200, 10_000)}
    assert stood == {99: [], 100: ["A"], 199: ["A"], 200: ["B"], 10_000: ["B"]}
    assert (shelf.version(FIRST), shelf.manifest_of(FIRST)) == (2, 2)


def test_a_refresh_between_two_reads_changes_nothing_read(tmp_path: Path) -> None:
    commit(tmp_path, 1, {FIRST: rows(1, 1, 100, None)})
    shelf = Shelf(tmp_path)
    shelf.refresh()
    commit(tmp_path, 2, {FIRST: rows(1, 1, 100, 200) + rows(2, 2, 200, None)})
    assert shelf.version(FIRST) == 1
    shelf.refresh()
    assert shelf.version(FIRST) == 2


def test_altered_and_missing_coverage_is_named(tmp_path: Path) -> None:
    (file,) = commit(tmp_path, 1, {FIRST: rows(1, 1, 100, None)})
    path = Shelf(tmp_path).path("coverage", file)
    data = path.read_bytes()
    for damage in (lambda: path.write_bytes(data + b" "), path.unlink):
        damage()
        shelf = Shelf(tmp_path)
        shelf.refresh()
        with pytest.raises(CorruptError):
            shelf.coverage(FIRST)


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    for number in range(1, 6):
        commit(tmp_path, number, {FIRST + number: rows(number, 1, number, None)})
    shelf = Shelf(tmp_path, cache_bytes=1)
    shelf.refresh()
    for hour in shelf.hours():
        assert shelf.coverage(hour).num_rows == 1
        assert len(shelf._cache) == 1


def test_a_lake_made_anew_is_followed(tmp_path: Path) -> None:
    for number in range(1, 4):
        commit(tmp_path / "lake", number, {FIRST + number: rows(number, 1, number, None)})
    shelf = Shelf(tmp_path / "lake")
    shelf.refresh()
    (tmp_path / "lake").rename(tmp_path / "old")
    commit(tmp_path / "lake", 1, {FIRST + 9: rows(1, 1, 1, None)})
    assert shelf.refresh()
    assert shelf.hours() == [FIRST + 9]


def test_a_log_cut_off_behind_a_checkpoint_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 5)
    commit(tmp_path, 1, {FIRST: rows(1, 1, 1, None)})
    shelf = Shelf(tmp_path)
    shelf.refresh()
    for number in range(2, 12):
        commit(tmp_path, number, {FIRST + 1: rows(number, number, number, None)})
    log = paths.table_dir(tmp_path, "coverage") / "_delta_log"
    checkpoints = sorted(log.glob("*.checkpoint.parquet"))
    assert checkpoints
    last = int(checkpoints[-1].name.partition(".")[0])
    for entry in log.glob("*.json"):
        if int(entry.stem) < last:
            entry.unlink()
    assert shelf.refresh()
    assert shelf.manifest_number() == 11
    assert shelf.version(FIRST + 1) == 11


def test_many_threads_read_while_hours_appear(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, cache_bytes=20_000)
    wrong: list[int] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            shelf.refresh()
            wrong.extend(hour for hour in shelf.hours() if shelf.coverage(hour)["version"].to_pylist() != [1])

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 9):
        commit(tmp_path, number, {FIRST + number: rows(number, 1, number, None)})
    over.set()
    for thread in threads:
        thread.join()
    shelf.refresh()
    assert len(shelf.hours()) == 8
    assert wrong == []
