"""Verify: a good lake raises no doubt, and whatever is changed in it or in its log raises one."""

import random
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from lake import paths
from lake.publishing import delta, manifest, parquet
from tests.lake import lakes

Rows = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake and its log, built once; nobody changes it."""
    root = tmp_path_factory.mktemp("built")
    lakes.build(root / "home", root / "lake")
    return root


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


def files(root: Path) -> list[Path]:
    """Every file that verify answers for: all but the tables' own logs."""
    found = [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]
    # An epoch's file is its name alone: it tells processes apart and says nothing of what was recorded.
    return sorted(path for path in found if not {"_delta_log", "epoch"}.intersection(path.parts))


def test_a_good_lake_raises_no_doubt(built: Path) -> None:
    report = lakes.look(built)
    assert report.doubts == []
    told = {line.split(" ", 1)[1]: int(line.split(" ", 1)[0].replace(",", "")) for line in report.proved}
    assert told["manifests"] == told["rows files"] == 3
    assert told["ENDs"] == 3
    assert told["corrections told again"] == 1
    rows = sum(parquet.read_file(path, "orderbook").num_rows for path in built.rglob("orderbook/dt=*/*/*.parquet"))
    assert told["rows replayed from base to base"] == rows
    assert told["rows equal to their segments'"] > rows
    assert told["messages accounted for"] > 100


def test_one_hour_is_proved_alone(root: Path) -> None:
    first, last = lakes.HOURS[0], lakes.HOURS[-1]
    alone = lakes.look(root, [first])
    assert alone.doubts == []
    assert len(alone.proved) == len(lakes.look(root).proved) - 1  # nothing of it was corrected
    _alter(next(path for path in files(root) if f"orderbook/dt={paths.partition(first)['dt']}/hr=22" in str(path)), 50)
    assert lakes.look(root, [first]).doubts
    assert lakes.look(root, [last]).doubts == []


def test_without_the_log_the_lake_is_proved_by_itself(root: Path) -> None:
    shutil.rmtree(root / "home")
    assert lakes.look(root, with_log=False).doubts == []
    report = lakes.look(root)
    assert report.doubts == []
    assert "4 versions without segments: imported, or older than those kept" in report.proved


def test_an_hour_whose_segments_are_gone_is_proved_without_them(root: Path) -> None:
    shutil.rmtree(paths.hour_dir(root / "home", 0, lakes.FIRST))
    report = lakes.look(root)
    assert report.doubts == []
    assert "1 versions without segments: imported, or older than those kept" in report.proved


def test_a_publication_under_way_is_no_doubt(root: Path) -> None:
    newest = max((root / "lake/v1/coverage/_delta_log").glob("*.json"))
    newest.unlink()
    report = lakes.look(root)
    assert report.doubts == []
    assert "1 publications decided and not carried out yet" in report.proved


def test_nothing_is_proved_of_nothing(tmp_path: Path) -> None:
    report = lakes.look(tmp_path)
    assert (report.proved, report.doubts) == ([], [])


# one changed byte


def _alter(path: Path, at: int, by: int = 1) -> bytes:
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes([data[at] ^ by]) + data[at + 1 :])
    return data


def _find_changes(root: Path, rng: random.Random, count: int) -> None:
    """Change a byte, look, put it back: half of them the first or the last of a file, half anywhere in one."""
    found = files(root)
    ends = [(path, at) for path in found for at in (0, path.stat().st_size - 1)]
    anywhere = [(path, rng.randrange(path.stat().st_size)) for path in rng.choices(found, k=count - count // 2)]
    for path, at in (*rng.sample(ends, count // 2), *anywhere):
        before = _alter(path, at, rng.randrange(1, 256))
        assert lakes.look(root, _hours(path)).doubts, f"byte {at} of {path.relative_to(root)}"
        path.write_bytes(before)
    assert lakes.look(root).doubts == []


def _hours(path: Path) -> list[int] | None:
    """Return the hour that a file belongs to, None where it is everybody's: looking there must be enough."""
    for day, hour in pairwise(path.parts):
        number = paths.parse_hour(day.removeprefix("dt="), f"{hour.removeprefix('hr='):0>2}")
        if number is not None:
            return [number]
    return None


def test_a_changed_byte_is_found(root: Path) -> None:
    _find_changes(root, random.Random(1), 100)


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(10))
def test_a_changed_byte_is_found_anywhere(root: Path, seed: int) -> None:
    _find_changes(root, random.Random(100 + seed), 100)


# missing files


def _one_of_each_kind(root: Path) -> Iterator[Path]:
    """Yield a file of every kind and table that stands: coverage files that were replaced may go."""
    seen = set()
    held = {Path(file).name for file in DeltaTable(paths.table_dir(root / "lake", "coverage")).file_uris()}
    for path in files(root):
        if "coverage" in path.parts and path.name not in held:
            continue
        kind = (path.suffix, path.name.split("-", maxsplit=1)[0] if path.suffix == ".arrow" else path.parts[-4:-2])
        if path.suffix in {".json", ".jsonl"}:
            kind = (path.suffix, path.name)
        if kind not in seen:
            seen.add(kind)
            yield path


def test_a_missing_file_is_found(root: Path) -> None:
    looked = 0
    for path in _one_of_each_kind(root):
        data = path.read_bytes()
        path.unlink()
        assert lakes.look(root).doubts, path.relative_to(root)
        path.write_bytes(data)
        looked += 1
    assert looked >= 15


def test_every_manifest_is_missed(root: Path) -> None:
    for number in paths.manifest_numbers(root / "lake"):
        path = paths.manifest_dir(root / "lake") / paths.manifest_name(number)
        data = path.read_bytes()
        path.unlink()
        assert lakes.look(root).doubts, number
        path.write_bytes(data)


def test_a_flush_taken_off_the_end_is_found(root: Path) -> None:
    for path in (root / "home").rglob("flush.jsonl"):
        data = path.read_bytes()
        if not (path.parent / "end.json").exists():
            continue
        path.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]))
        assert lakes.look(root).doubts, path
        path.write_bytes(data)


def test_an_hour_under_way_may_be_torn(root: Path) -> None:
    path = next(path for path in (root / "home").rglob("flush.jsonl") if not (path.parent / "end.json").exists())
    with path.open("ab") as file:
        file.write(b'{"n":99')
    assert lakes.look(root).doubts == []


# tables that say otherwise


def _commit(root: Path, table: str, actions: list[AddAction]) -> None:
    handle = DeltaTable(paths.table_dir(root / "lake", table))
    schema = delta.schema_of(table)
    handle.create_write_transaction(actions, "append", schema, partition_by=["dt", "hr"])


def _action(root: Path, table: str, file: str, stats: dict[str, Any] | None = None) -> AddAction:
    path = paths.table_dir(root / "lake", table) / file
    found = delta.stats_of(path, table) if stats is None else stats
    hour = paths.partition(lakes.CORRECTED)
    return AddAction(file, path.stat().st_size, hour, 0, True, msgspec.json.encode(found).decode())


def _file(root: Path, table: str = "orderbook") -> str:
    newest = manifest.read(root / "lake", manifest.last_number(root / "lake"))
    return next(entry.files[table][0].file for entry in newest.hours if entry.hour == lakes.CORRECTED)


def test_a_file_more_than_published_is_found(root: Path) -> None:
    file = _file(root)
    copy = file.replace(".parquet", "0.parquet")
    folder = paths.table_dir(root / "lake", "orderbook")
    shutil.copy(folder / file, folder / copy)
    assert lakes.look(root).doubts == []  # no table names it
    _commit(root, "orderbook", [_action(root, "orderbook", copy)])
    assert any("that was not published" in doubt for doubt in lakes.doubts(root))


def test_a_file_less_than_published_is_found(root: Path) -> None:
    DeltaTable(paths.table_dir(root / "lake", "trades")).delete()
    assert any("is not in the table" in doubt for doubt in lakes.doubts(root))


def test_statistics_that_hide_rows_are_found(root: Path) -> None:
    file = _file(root)
    stats = delta.stats_of(paths.table_dir(root / "lake", "orderbook") / file, "orderbook")
    stats["maxValues"]["ticker"] = "B"
    _commit(root, "orderbook", [_action(root, "orderbook", file, stats)])
    assert any("the table says B for max of ticker" in doubt for doubt in lakes.doubts(root))


def test_a_skipped_version_is_found(root: Path) -> None:
    lake = root / "lake"
    last = manifest.last_number(lake)
    found = manifest.read(lake, last)
    skipped = [msgspec.structs.replace(entry, version=entry.version + 1) for entry in found.hours]
    path = paths.manifest_dir(lake) / paths.manifest_name(last)
    path.write_bytes(manifest.encode(msgspec.structs.replace(found, hours=skipped)))
    assert any("has version 3 after 1" in doubt for doubt in lakes.doubts(root))
