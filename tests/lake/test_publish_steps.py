"""The steps of a publication: what is durable when, who is beaten, what is finished first, what is never published."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from book.errors import CorruptError, ProofError, PublishError
from lake import paths
from lake.publishing import carry_out, delta, manifest, parquet
from tests.lake.forks import Forks, job
from tests.lake.publishing import NOW_US, assert_holds, files_below, late, publish, shelf_of
from tests.lake.tapes import FIRST, Tape


def _alter(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def _other_rows(path: Path) -> None:
    rows = parquet.read_file(path, "orderbook")
    last = rows.num_rows - 1
    parquet.write_file(path, "orderbook", pa.concat_tables([rows.slice(0, last), rows.slice(last - 1, 1)]))


@pytest.mark.parametrize("damage", [_alter, _other_rows, lambda path: path.unlink()])
def test_a_file_that_holds_something_else_is_not_published(
    lake: Path, tape: Tape, damage: Callable[[Path], None]
) -> None:
    publish(lake, tape, 0)
    before = files_below(lake)

    def step(name: str) -> None:
        if name == f"1.{FIRST + 1}.orderbook.placed":
            (path,) = (lake / "v1" / "orderbook").glob(f"dt=*/hr={paths.partition(FIRST + 1)['hr']}/*.parquet")
            damage(path)

    with pytest.raises((ProofError, CorruptError)):
        publish(lake, tape, 1, fail_point=step)
    assert shelf_of(lake).hours() == [FIRST]
    assert manifest.last_number(lake) == 1
    assert files_below(lake) == before
    assert publish(lake, tape, 1) is not None
    assert_holds(lake, [tape], 0, 1)


@pytest.mark.parametrize("at", ["1.rows", "2.manifest", "2.manifest.temporary"])
def test_who_is_beaten_to_an_hour_leaves_it(lake: Path, tape: Tape, at: str) -> None:
    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        if name == at and seen.count(at) == 1:
            assert publish(lake, tape, 0) is not None

    assert publish(lake, tape, 0, fail_point=step) is None
    assert manifest.last_number(lake) == 1
    assert shelf_of(lake).version(FIRST) == 1
    assert_holds(lake, [tape], 0)
    named = {file.file for files in manifest.read(lake, 1).hours[0].files.values() for file in files}
    left = {
        name.partition("/")[2] for name in files_below(lake / "v1") if not name.startswith(("coverage", "manifest"))
    }
    assert left == named
    assert len([name for name in files_below(lake / "v1") if name.startswith("manifest")]) == 1


@pytest.mark.parametrize(("ours", "theirs"), [(0, 1), (1, 0)])
def test_who_is_beaten_to_a_number_takes_the_next(lake: Path, tape: Tape, ours: int, theirs: int) -> None:
    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        if name == "2.manifest" and seen.count(name) == 1:
            assert publish(lake, tape, theirs) is not None

    published = publish(lake, tape, ours, fail_point=step)
    assert published is not None
    assert published.n == 2
    assert published.prev == manifest.link(lake, 1)
    assert_holds(lake, [tape], 0, 1)
    # Whoever came first, the later hour rests on the earlier one.
    told = shelf_of(lake).standing_rows(FIRST + 1)
    assert pc.sum(pc.is_valid(told["last_record_hour"])).as_py() > 0


def test_others_who_never_stop_are_an_error(lake: Path, tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lake.publishing.publish.TRIES", 2)
    monkeypatch.setattr(manifest, "put", lambda *_: False)
    with pytest.raises(PublishError, match="2 times"):
        publish(lake, tape, 0)
    assert files_below(lake) == set()


def test_what_was_decided_is_finished_before_anything_else(lake: Path, tape: Tape) -> None:
    class Dead(BaseException):
        pass

    def die(name: str) -> None:
        if name == "2.decided":
            raise Dead

    with pytest.raises(Dead):
        publish(lake, tape, 0, fail_point=die)
    assert shelf_of(lake).hours() == []
    published = publish(lake, tape, 1)
    assert published is not None
    assert published.n == 2
    assert_holds(lake, [tape], 0, 1)


def test_a_manifest_is_durable_before_it_is_carried_out(
    lake: Path, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        fsync(fd)

    class Dead(BaseException):
        pass

    def die(name: str) -> None:
        if name == "2.manifest.linked":
            raise Dead

    with pytest.raises(Dead):
        publish(lake, tape, 0, fail_point=die)
    monkeypatch.setattr(os, "fsync", watched)
    carry_out.finish(lake, done.append)
    first = next(place for place, name in enumerate(done) if name.startswith("3."))
    assert done[first - 2 : first] == ["0000000001.json", "manifest"]
    assert_holds(lake, [tape], 0)
    done.clear()
    carry_out.finish(lake, done.append)
    assert done == ["0000000001.json", "manifest", f"{1:020d}.json", "_delta_log"]


def test_files_are_durable_before_they_are_decided(lake: Path, tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).parent.name)
        done.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        fsync(fd)

    carry_out.finish(lake)
    monkeypatch.setattr(os, "fsync", watched)
    published = publish(lake, tape, 0, fail_point=done.append)
    assert published is not None
    before = done[: done.index("2.manifest")]
    for table, files in published.hours[0].files.items():
        assert len(files) == 1
        placed = before.index(f"1.{FIRST}.{table}.placed")
        hour = Path(files[0].file).parent
        assert [hour.parent.name, hour.name] == before[placed - 2 : placed]
        assert before[placed - 3].startswith(f"{table}.")
    assert before[-2:] == ["v1", "manifest"]


def test_a_lake_whose_coverage_log_was_lost_tells_it_again(lake: Path, tape: Tape) -> None:
    for hour in range(2):
        publish(lake, tape, hour)
    late(tape)
    publish(lake, tape, 0, reason="late")
    before = {hour: shelf_of(lake).coverage(hour).to_pylist() for hour in (FIRST, FIRST + 1)}
    log = paths.table_dir(lake, "coverage") / "_delta_log"
    for name in (f"{version:020d}.json" for version in (2, 3)):
        (log / name).unlink()
    assert shelf_of(lake).version(FIRST) == 1
    carry_out.finish(lake)
    assert {hour: shelf_of(lake).coverage(hour).to_pylist() for hour in (FIRST, FIRST + 1)} == before


def test_a_broken_chain_stops_everything(lake: Path, tape: Tape) -> None:
    publish(lake, tape, 0)
    publish(lake, tape, 1)
    path = paths.manifest_dir(lake) / paths.manifest_name(2)
    (paths.table_dir(lake, "coverage") / "_delta_log" / f"{2:020d}.json").unlink()
    path.write_bytes(path.read_bytes().replace(b'"n":2', b'"n":3'))
    with pytest.raises(CorruptError):
        publish(lake, tape, 2)
    assert shelf_of(lake).hours() == [FIRST]


def test_what_rests_on_an_altered_manifest_is_not_carried_out(lake: Path, tape: Tape) -> None:
    publish(lake, tape, 0)
    publish(lake, tape, 1)
    (paths.table_dir(lake, "coverage") / "_delta_log" / f"{2:020d}.json").unlink()
    path = paths.manifest_dir(lake) / paths.manifest_name(1)
    first = manifest.read(lake, 1)
    path.write_bytes(manifest.encode(msgspec.structs.replace(first, at_us=first.at_us + 1)))
    with pytest.raises(CorruptError, match="prev"):
        publish(lake, tape, 2)
    assert shelf_of(lake).hours() == [FIRST]


def test_altered_coverage_rows_are_not_committed(lake: Path, tape: Tape) -> None:
    def alter(name: str) -> None:
        if name == "2.decided":
            (path,) = paths.manifest_dir(lake).glob("*.parquet")
            _alter(path)

    with pytest.raises(CorruptError, match="sha256"):
        publish(lake, tape, 0, fail_point=alter)
    assert shelf_of(lake).hours() == []


@pytest.mark.parametrize("rounds", [6, pytest.param(60, marks=pytest.mark.fault)])
def test_two_publishers_at_once_publish_each_hour_once(lake: Path, tape: Tape, rounds: int) -> None:
    forks = Forks()
    try:
        for hour in range(3, rounds):
            tape.write_hour(FIRST + hour, flushes=1, deltas=6)
        for hour in range(0, rounds, 2):
            hours = [FIRST + hour, FIRST + hour + 1]
            jobs = [job(lake, tape.home, part, NOW_US) for part in (hours, hours[:1], hours[1:])]
            assert forks.run(*jobs) == [0, 0, 0]
            forks.run(job(lake, tape.home, hours, NOW_US))
        assert_holds(lake, [tape], *range(rounds))
        shelf = shelf_of(lake)
        for hour in range(rounds):
            rows = shelf.coverage(FIRST + hour)
            standing = shelf.standing_rows(FIRST + hour)
            # An hour that was published before the one it rests on gets a second version with it; none gets two alike.
            assert set(rows["version"].to_pylist()) in ({1}, {1, 2})
            assert len(set(standing["version"].to_pylist())) == 1
            assert len(delta.files_of(DeltaTable(paths.table_dir(lake, "coverage")), [FIRST + hour])) == 1
        for number in range(1, manifest.last_number(lake) + 1):
            manifest.read_chained(lake, number)
    finally:
        forks.close()
