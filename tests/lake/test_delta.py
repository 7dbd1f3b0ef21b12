"""The Delta tables: an hour is replaced and no other, once, whoever tries; a torn log is mended."""

import json
import os
import threading
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError

from book.errors import CorruptError, PublishError
from lake import paths
from lake.publishing import delta, parquet
from lake.publishing.manifest import DataFile
from lake.schemas import CORRECTIONS, PUBLISHED
from tests.lake.tapes import FIRST

TABLE = "corrections"


def write(lake: Path, hour: int, detail: str) -> DataFile:
    row = {
        "ts": hour * 3_600_000_000, "hour": hour * 3_600_000_000, "ticker": None, "reason": "late", "detail": detail,
        "old_version": 1, "new_version": 2, "manifest": 1,
    }  # fmt: skip
    return parquet.write_new(lake, TABLE, hour, pa.Table.from_pylist([row], schema=CORRECTIONS))


def put(lake: Path, number: int, details: dict[int, str], *, empty: tuple[int, ...] = ()) -> bool:
    files = [(hour, write(lake, hour, detail)) for hour, detail in details.items()]
    return delta.commit(lake, TABLE, number, [*details, *empty], lambda _handle: files)


def held(lake: Path) -> dict[int, str]:
    """Return what a reader with nothing of ours finds: hour -> detail."""
    rows = pl.read_delta(str(paths.table_dir(lake, TABLE)))
    assert rows.select("dt", "hr").is_duplicated().sum() == 0
    return {paths.partition_hour(row["dt"], row["hr"]): row["detail"] for row in rows.to_dicts()}


def versions(lake: Path) -> int:
    return DeltaTable(paths.table_dir(lake, TABLE)).version()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    delta.ensure_tables(tmp_path)
    return tmp_path


def test_tables_ask_little_of_their_readers(lake: Path) -> None:
    delta.ensure_tables(lake)
    for table, schema in PUBLISHED.items():
        handle = DeltaTable(paths.table_dir(lake, table))
        assert handle.version() == 0
        protocol = handle.protocol()
        assert (protocol.min_reader_version, protocol.min_writer_version, protocol.reader_features) == (1, 2, None)
        assert [field.name for field in handle.schema().fields] == [*schema.names, "dt", "hr"]
        assert handle.metadata().partition_columns == ["dt", "hr"]
        assert handle.metadata().configuration == {"delta.checkpointInterval": "100"}


def test_an_hour_is_replaced_and_no_other(lake: Path) -> None:
    put(lake, 1, {FIRST: "a", FIRST + 1: "b", FIRST + 2: "c", FIRST + 3: "d"})
    put(lake, 2, {FIRST + 1: "B"})
    assert held(lake) == {FIRST: "a", FIRST + 1: "B", FIRST + 2: "c", FIRST + 3: "d"}


def test_hours_of_two_days_are_replaced_in_one_commit(lake: Path) -> None:
    day = 24
    hours = [FIRST + 1, FIRST + 3, FIRST + 1 + day, FIRST + 3 + day]
    assert len({paths.partition(hour)["dt"] for hour in hours}) == 3
    put(lake, 1, dict.fromkeys((*hours, FIRST, FIRST + day, FIRST + 2 + day), "old"))
    before = versions(lake)
    put(lake, 2, {FIRST + 1: "new", FIRST + 3 + day: "new"})
    assert versions(lake) == before + 1
    assert {hour for hour, detail in held(lake).items() if detail == "new"} == {FIRST + 1, FIRST + 3 + day}
    assert len(held(lake)) == 7


def test_an_hour_without_files_goes(lake: Path) -> None:
    put(lake, 1, {FIRST: "a", FIRST + 1: "b"})
    put(lake, 2, {FIRST + 2: "c"}, empty=(FIRST,))
    assert held(lake) == {FIRST + 1: "b", FIRST + 2: "c"}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_number_that_is_past_is_done(lake: Path, number: int) -> None:
    assert put(lake, 3, {FIRST: "a"})
    assert not put(lake, number, {FIRST: "again"})
    assert held(lake) == {FIRST: "a"}
    assert delta.committed(lake, TABLE) == 3
    assert versions(lake) == 1


@pytest.mark.parametrize("other", [5, 6])
def test_who_commits_meanwhile_is_not_overwritten(lake: Path, other: int) -> None:
    put(lake, 4, {FIRST: "old"})
    built: list[int] = []

    def build(handle: DeltaTable) -> list[tuple[int, DataFile]]:
        built.append(handle.version())
        if len(built) == 1:
            assert put(lake, other, {FIRST: "theirs"})
        return [(FIRST, write(lake, FIRST, "ours"))]

    assert not delta.commit(lake, TABLE, 5, [FIRST], build)
    assert held(lake) == {FIRST: "theirs"}
    assert len(built) == 1


def test_who_commits_before_us_is_built_upon(lake: Path) -> None:
    seen: list[dict[int, list[str]]] = []
    theirs = write(lake, FIRST, "theirs")

    def build(handle: DeltaTable) -> list[tuple[int, DataFile]]:
        seen.append(delta.files_of(handle, [FIRST]))
        if len(seen) == 1:
            delta.commit(lake, TABLE, 5, [FIRST], lambda _handle: [(FIRST, theirs)])
        return [(FIRST, write(lake, FIRST, "ours"))]

    assert delta.commit(lake, TABLE, 6, [FIRST], build)
    assert seen == [{}, {FIRST: [theirs.file]}]
    assert held(lake) == {FIRST: "ours"}


def test_others_who_never_stop_are_an_error(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "TRIES", 3)
    number = 0

    def build(_handle: DeltaTable) -> list[tuple[int, DataFile]]:
        nonlocal number
        number += 1
        put(lake, number, {FIRST + number: "theirs"})
        return [(FIRST, write(lake, FIRST, "ours"))]

    with pytest.raises(PublishError, match="3 times"):
        delta.commit(lake, TABLE, 100, [FIRST], build)
    assert FIRST not in held(lake)


def test_of_many_at_once_one_commits(lake: Path) -> None:
    for number in range(1, 6):
        done: list[bool] = []
        start = threading.Barrier(6)

        def race(start: threading.Barrier = start, done: list[bool] = done, number: int = number) -> None:
            start.wait()
            done.append(put(lake, number, {FIRST: str(number)}))

        threads = [threading.Thread(target=race) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(done) == [False] * 5 + [True]
        assert held(lake) == {FIRST: str(number)}
    assert versions(lake) == 5


def test_a_handle_that_is_not_the_newest_cannot_commit(lake: Path) -> None:
    """What all of this rests on, whatever the hours: the library's promise, pinned."""
    stale = DeltaTable(paths.table_dir(lake, TABLE))
    put(lake, 1, {FIRST: "a"})
    with pytest.raises(CommitFailedError):
        stale.create_write_transaction(
            [],
            "append",
            delta.schema_of(TABLE),
            partition_by=["dt", "hr"],
            commit_properties=CommitProperties(max_commit_retries=0),
        )


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_file_that_is_not_there_is_not_registered(lake: Path, damage: str) -> None:
    data = write(lake, FIRST, "a")
    path = paths.table_dir(lake, TABLE) / data.file
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, data.bytes - 1)
    with pytest.raises(CorruptError):
        delta.commit(lake, TABLE, 1, [FIRST], lambda _handle: [(FIRST, data)])
    assert versions(lake) == 0


def test_a_commit_is_durable_on_return(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        fsync(fd)

    files = [(FIRST, write(lake, FIRST, "a"))]
    monkeypatch.setattr(os, "fsync", watched)
    delta.commit(lake, TABLE, 1, [FIRST], lambda _handle: files, done.append)
    assert done == ["commit", "committed", f"{1:020d}.json", "_delta_log"]
    done.clear()
    delta.commit(lake, TABLE, 1, [FIRST], lambda _handle: files)  # another's, who may not have lived to do it
    assert done == [f"{1:020d}.json", "_delta_log"]


@pytest.mark.parametrize("left", [0, 30])
def test_a_torn_commit_is_taken_out_and_made_again(lake: Path, left: int) -> None:
    put(lake, 1, {FIRST: "a"})
    put(lake, 2, {FIRST: "b"})
    log = paths.table_dir(lake, TABLE) / "_delta_log"
    os.truncate(log / f"{2:020d}.json", left)
    assert delta.mend(log) == [f"{2:020d}.json"]
    assert delta.mend(log) == []
    assert held(lake) == {FIRST: "a"}
    assert put(lake, 2, {FIRST: "b again"})
    assert held(lake) == {FIRST: "b again"}


def test_a_torn_checkpoint_is_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 3)
    delta.ensure_tables(tmp_path)
    for number in range(1, 8):
        put(tmp_path, number, {FIRST: str(number)})
    log = paths.table_dir(tmp_path, TABLE) / "_delta_log"
    last = max(log.glob("*.checkpoint.parquet"))
    assert delta.mend(log) == []
    os.truncate(last, last.stat().st_size - 20)
    assert delta.mend(log) == [last.name, "_last_checkpoint"]
    assert held(tmp_path) == {FIRST: "7"}
    assert delta.committed(tmp_path, TABLE) == 7


def test_a_torn_first_commit_makes_the_table_anew(tmp_path: Path) -> None:
    delta.ensure_tables(tmp_path)
    os.truncate(paths.table_dir(tmp_path, TABLE) / "_delta_log" / f"{0:020d}.json", 0)
    delta.ensure_tables(tmp_path)
    assert held(tmp_path) == {}


def test_tables_are_made_by_many_at_once(tmp_path: Path) -> None:
    for number in range(5):
        lake = tmp_path / str(number)
        threads = [threading.Thread(target=delta.ensure_tables, args=(lake,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made = {table: DeltaTable(paths.table_dir(lake, table)).version() for table in PUBLISHED}
        assert made == dict.fromkeys(PUBLISHED, 0)


def test_statistics_reach_the_log(lake: Path) -> None:
    put(lake, 1, {FIRST: "a"})
    line = (paths.table_dir(lake, TABLE) / "_delta_log" / f"{1:020d}.json").read_text().splitlines()
    stats = [json.loads(one["add"]["stats"]) for text in line if "add" in (one := json.loads(text))]
    assert [one["numRecords"] for one in stats] == [1]
    assert stats[0]["minValues"]["ts"] == "2026-06-22T22:00:00.000Z"
