"""What a restart knows of metadata: from its own files, the journal, and the lake where the journal is gone."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from book.records import HOUR_US
from book.wire.rest import decode_event, decode_market, decode_series
from collector import version_store
from collector.journal import Journal
from collector.rows import TableRows
from collector.taken import Taken
from collector.version_store import SETTLED_US, VersionStore
from collector.versions import PAID_KEPT_US, Versions
from lake import paths
from lake.publishing.publish import publish_hours

H0 = 500_000
KEYS = ("markets", "events", "series")


def market(ticker: str = "M", **more: Any) -> Any:
    return decode_market({"ticker": ticker, "event_ticker": "E", "status": "active"} | more)


EVENT = decode_event({"event_ticker": "E", "series_ticker": "S", "title": "t", "category": "c"})
SERIES = decode_series({"ticker": "S", "title": "t"})


class Log:
    """A journal with versions in it, and what a recorder without a pause would know."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lake = home / "lake"
        self.whole = Versions()
        self._journal = Journal(home, 0, seal_s=9.0, monotonic_s=lambda: 0.0)

    def write(self, hour: int, *documents: Any) -> None:
        tables = {name: TableRows(name) for name in KEYS}
        at_us = paths.hour_start_us(hour) + 5
        for document in documents:
            of_kind: Any = {"EventDoc": self.whole.event, "SeriesDoc": self.whole.series}
            made = of_kind.get(type(document).__name__, self.whole.market)(document, at_us)
            assert made is not None
            tables[made.table].add(**made.row)
        batches = {name: rows.take() for name, rows in tables.items() if len(rows)}
        self._journal.write(hour, Taken(batches, {}, [], set(), at_us))

    def close(self) -> None:
        self._journal.close()

    def load(self, hour: int) -> Versions:
        return self.store().load(paths.hour_start_us(hour) + SETTLED_US)

    def store(self) -> VersionStore:
        return VersionStore(self.home, 0, self.lake)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    found = Log(tmp_path)
    found.write(H0, SERIES, EVENT, market(), market("OLD", status="closed"))
    found.write(H0 + 1, market(status="closed"), market("NEW"))
    found.write(H0 + 2, market(status="determined", result="yes"))
    found.close()
    return found


def all_known(versions: Versions) -> bool:
    now_us = paths.hour_start_us(H0 + 9)
    again = [
        versions.series(SERIES, now_us), versions.event(EVENT, now_us), versions.market(market("NEW"), now_us),
        versions.market(market("OLD", status="closed"), now_us),
        versions.market(market(status="determined", result="yes"), now_us),
    ]  # fmt: skip
    return again == [None] * 5


@pytest.mark.parametrize("hour", [H0, H0 + 1, H0 + 2, H0 + 3])
def test_a_restart_makes_no_second_version_of_anything(log: Log, hour: int) -> None:
    versions = log.load(hour)
    assert versions.newest_us == paths.hour_start_us(H0 + 2) + 5
    assert versions.unfinished == {"NEW", "OLD"}
    assert all_known(versions)
    made = versions.market(market("NEW", status="closed"), paths.hour_start_us(H0 + 9))
    assert made is not None
    assert (made.row["series_ticker"], made.row["category"]) == ("S", "c")


def test_what_was_gathered_is_not_read_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.load(H0 + 2)
    read: list[int] = []
    real = VersionStore._of_hour

    def spy(self: VersionStore, table: str, hour: int) -> Any:
        read.append(hour)
        return real(self, table, hour)

    monkeypatch.setattr(VersionStore, "_of_hour", spy)
    assert all_known(log.load(H0 + 2))
    assert read == [H0 + 2] * 3
    read.clear()
    log.store().gather(paths.hour_start_us(H0 + 3) + SETTLED_US)
    assert read == [H0 + 2] * 3
    read.clear()
    assert all_known(log.load(H0 + 3))
    assert read == []


def test_an_hour_that_may_still_grow_is_not_gathered(log: Log) -> None:
    store = log.store()
    store.gather(paths.hour_start_us(H0 + 2) + SETTLED_US - 1)
    rows, upto = store._read(paths.versions_path(log.home, 0, "markets"), "markets")
    assert (upto, rows.num_rows) == (H0 + 1, 2)


def test_versions_are_known_when_the_journal_is_gone(log: Log) -> None:
    log.load(H0 + 3)
    shutil.rmtree(paths.journal_dir(log.home, 0))
    assert all_known(log.load(H0 + 4))


@pytest.mark.parametrize("gathered", [None, H0 + 1, H0 + 2])
def test_an_hour_whose_folder_is_gone_is_read_from_the_lake(log: Log, gathered: int | None) -> None:
    if gathered is not None:
        log.store().gather(paths.hour_start_us(gathered) + SETTLED_US)
    hours = [H0, H0 + 1, H0 + 2]
    publish_hours(log.lake, log.home, hours, now_us=lambda: paths.hour_start_us(H0 + 9), reason="hour")
    for hour in hours[:2]:
        shutil.rmtree(paths.hour_dir(log.home, 0, hour))
    versions = log.load(H0 + 3)
    assert all_known(versions)
    assert versions.unfinished == {"NEW", "OLD"}


def test_of_the_lake_no_more_than_a_month_is_read(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_store, "LOOK_BACK_HOURS", 1)
    hours = [H0, H0 + 1, H0 + 2]
    publish_hours(log.lake, log.home, hours, now_us=lambda: paths.hour_start_us(H0 + 9), reason="hour")
    shutil.rmtree(paths.journal_dir(log.home, 0))
    versions = log.load(H0 + 9)
    assert versions.knows("markets", "NEW")
    assert not versions.knows("markets", "OLD")


@pytest.mark.parametrize("damage", [b"", b"rubbish"])
def test_a_damaged_file_is_gathered_anew(log: Log, damage: bytes) -> None:
    log.load(H0 + 3)
    paths.versions_path(log.home, 0, "markets").write_bytes(damage)
    store = log.store()
    assert all_known(store.load(paths.hour_start_us(H0 + 4)))
    assert len(store.troubles) == 1
    assert not log.store().troubles


def test_a_disk_that_takes_no_file_stops_nothing(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(version_store.durable, "replace_file", full)
    store = log.store()
    assert all_known(store.load(paths.hour_start_us(H0 + 4)))
    assert len(store.troubles) == 3


def test_a_lake_that_cannot_be_read_stops_nothing(log: Log) -> None:
    deltas = paths.table_dir(log.lake, "coverage") / "_delta_log"
    deltas.mkdir(parents=True)
    (deltas / f"{0:020d}.json").write_text("rubbish")
    store = log.store()
    assert all_known(store.load(paths.hour_start_us(H0 + 4)))
    assert len(store.troubles) == 1


def test_an_hour_that_cannot_be_read_is_passed_over_and_named(log: Log) -> None:
    path = paths.hour_dir(log.home, 0, H0) / paths.segment_name("markets", 0)
    path.write_bytes(path.read_bytes()[:-40])
    store = log.store()
    versions = store.load(paths.hour_start_us(H0 + 4))
    assert len(store.troubles) == 1
    assert versions.market(market(status="determined", result="yes"), paths.hour_start_us(H0 + 9)) is None
    assert versions.market(market("OLD", status="closed"), paths.hour_start_us(H0 + 9)) is not None


def test_what_was_paid_out_long_ago_is_left_out_of_the_file(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.write(H0, market("PAID", status="finalized"), market("OPEN"))
    log.write(H0 + 1, market("LATE", status="finalized"))
    log.close()
    kept_hours = PAID_KEPT_US // HOUR_US
    log.load(H0 + kept_hours)
    rows, _ = log.store()._read(paths.versions_path(tmp_path, 0, "markets"), "markets")
    assert sorted(rows["ticker"].to_pylist()) == ["LATE", "OPEN"]


def test_many_hours_are_gathered_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_store, "HOURS_AT_ONCE", 2)
    log = Log(tmp_path)
    for hour in range(9):
        log.write(H0 + hour, market(close_time=f"2026-11-24T0{hour}:00:00Z"), market(f"N{hour}"))
    log.close()
    versions = log.load(H0 + 20)
    now_us = paths.hour_start_us(H0 + 20)
    assert versions.market(market(close_time="2026-11-24T08:00:00Z"), now_us) is None
    assert len(versions) == 10
