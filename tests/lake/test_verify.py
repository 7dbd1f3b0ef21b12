"""Verify: a good lake raises no doubt, and whatever is changed in it or in its log raises one."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from book.errors import ProofError
from book.records import HOUR_US, Kind
from lake import delta, drafts, manifest, parquet, paths, publish
from lake.accounts import accounts_of
from lake.corrections import rows_of
from lake.coverage import DERIVED, derive
from lake.fingerprint import fingerprint
from lake.manifest import Account
from lake.settle import SettledHour, settle
from lake.verify import Report, verify
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


def look(root: Path, hours: list[int] | None = None, *, with_log: bool = True) -> Report:
    return verify(root / "lake", root / "home" if with_log else None, hours, lambda _: None)


def doubts(root: Path, **how: Any) -> list[str]:
    return [f"{Path(doubt.path).name}: {doubt.what}" for doubt in look(root, **how).doubts]


def files(root: Path) -> list[Path]:
    """Every file that verify answers for: all but the tables' own logs."""
    found = [path for path in root.rglob("*") if path.is_file() and path.name != "lock"]
    return sorted(path for path in found if "_delta_log" not in path.parts)


def test_a_good_lake_raises_no_doubt(built: Path) -> None:
    report = look(built)
    assert report.doubts == []
    told = {line.split(" ", 1)[1]: int(line.split(" ", 1)[0].replace(",", "")) for line in report.proved}
    assert told["manifests"] == told["rows files"] == 4
    assert told["ENDs"] == 3
    assert told["corrections told again"] == 2
    rows = sum(parquet.read_file(path, "orderbook").num_rows for path in built.rglob("orderbook/dt=*/*/*.parquet"))
    assert told["rows replayed from base to base"] == rows
    assert told["rows equal to their segments'"] > rows
    assert told["messages accounted for"] > 100


def test_one_hour_is_proved_alone(root: Path) -> None:
    first, last = lakes.HOURS[0], lakes.HOURS[-1]
    alone = look(root, [first])
    assert alone.doubts == []
    assert len(alone.proved) == len(look(root).proved) - 1  # nothing of it was corrected
    _alter(next(path for path in files(root) if f"orderbook/dt={paths.partition(first)['dt']}/hr=22" in str(path)), 50)
    assert look(root, [first]).doubts
    assert look(root, [last]).doubts == []


def test_without_the_log_the_lake_is_proved_by_itself(root: Path) -> None:
    shutil.rmtree(root / "home")
    assert look(root, with_log=False).doubts == []
    report = look(root)
    assert report.doubts == []
    assert "5 versions without segments: imported, or older than those kept" in report.proved


def test_an_hour_whose_segments_are_gone_is_proved_without_them(root: Path) -> None:
    shutil.rmtree(paths.hour_dir(root / "home", 0, lakes.FIRST))
    report = look(root)
    assert report.doubts == []
    assert "1 versions without segments: imported, or older than those kept" in report.proved


def test_a_publication_under_way_is_no_doubt(root: Path) -> None:
    newest = max((root / "lake/v1/coverage/_delta_log").glob("*.json"))
    newest.unlink()
    report = look(root)
    assert report.doubts == []
    assert "1 publications decided and not carried out yet" in report.proved


def test_nothing_is_proved_of_nothing(tmp_path: Path) -> None:
    report = look(tmp_path)
    assert (report.proved, report.doubts) == ([], [])


# one changed byte


def _alter(path: Path, at: int, by: int = 1) -> bytes:
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes([data[at] ^ by]) + data[at + 1 :])
    return data


def _find_changes(root: Path, rng: random.Random, count: int) -> None:
    """Change a byte, look, put it back; every file's first and last byte, then anywhere, weighed by file."""
    found = files(root)
    places = [(path, at) for path in found for at in (0, path.stat().st_size - 1)]
    rng.shuffle(places)
    places += [(path, rng.randrange(path.stat().st_size)) for path in rng.choices(found, k=count)]
    for path, at in places[:count]:
        before = _alter(path, at, rng.randrange(1, 256))
        assert look(root).doubts, f"byte {at} of {path.relative_to(root)}"
        path.write_bytes(before)
    assert look(root).doubts == []


def test_a_changed_byte_is_found(root: Path) -> None:
    _find_changes(root, random.Random(1), 60)


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
        assert look(root).doubts, path.relative_to(root)
        path.write_bytes(data)
        looked += 1
    assert looked >= 15


def test_every_manifest_is_missed(root: Path) -> None:
    for number in paths.manifest_numbers(root / "lake"):
        path = paths.manifest_dir(root / "lake") / paths.manifest_name(number)
        data = path.read_bytes()
        path.unlink()
        assert look(root).doubts, number
        path.write_bytes(data)


def test_a_flush_taken_off_the_end_is_found(root: Path) -> None:
    for path in (root / "home").rglob("flush.jsonl"):
        data = path.read_bytes()
        if not (path.parent / "end.json").exists():
            continue
        path.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]))
        assert look(root).doubts, path
        path.write_bytes(data)


def test_an_hour_under_way_may_be_torn(root: Path) -> None:
    path = next(path for path in (root / "home").rglob("flush.jsonl") if not (path.parent / "end.json").exists())
    with path.open("ab") as file:
        file.write(b'{"n":99')
    assert look(root).doubts == []


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
    assert look(root).doubts == []  # no table names it
    _commit(root, "orderbook", [_action(root, "orderbook", copy)])
    assert any("that was not published" in doubt for doubt in doubts(root))


def test_a_file_less_than_published_is_found(root: Path) -> None:
    DeltaTable(paths.table_dir(root / "lake", "trades")).delete()
    assert any("is not in the table" in doubt for doubt in doubts(root))


def test_statistics_that_hide_rows_are_found(root: Path) -> None:
    file = _file(root)
    stats = delta.stats_of(paths.table_dir(root / "lake", "orderbook") / file, "orderbook")
    stats["maxValues"]["ticker"] = "B"
    _commit(root, "orderbook", [_action(root, "orderbook", file, stats)])
    assert any("the table says B for max of ticker" in doubt for doubt in doubts(root))


def test_a_skipped_version_is_found(root: Path) -> None:
    lake = root / "lake"
    last = manifest.last_number(lake)
    found = manifest.read(lake, last)
    skipped = [msgspec.structs.replace(entry, version=entry.version + 1) for entry in found.hours]
    path = paths.manifest_dir(lake) / paths.manifest_name(last)
    path.write_bytes(manifest.encode(msgspec.structs.replace(found, hours=skipped)))
    assert any("has version 3 after 1" in doubt for doubt in doubts(root))


# a publisher that lies, and hashes its lies well


def _lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, lie: Any) -> Path:
    monkeypatch.setattr(module, name, lie)
    lakes.build(tmp_path / "home", tmp_path / "lake")
    monkeypatch.undo()
    return tmp_path


def _settling(table: str, alter: Rows) -> Callable[..., SettledHour]:
    def lie(*args: Any) -> SettledHour:
        found = settle(*args)
        if table not in found.tables or found.hour != lakes.CORRECTED:
            return found
        tables = found.tables | {table: alter(found.tables[table])}
        tables = {name: rows for name, rows in tables.items() if rows.num_rows}
        return replace(found, tables=tables, prints={name: fingerprint(rows) for name, rows in tables.items()})

    return lie


class _Accountant:
    """Makes accounts fit whatever rows there are: what is missing was never in a table."""

    def __init__(self) -> None:
        self._hidden: dict[tuple[int, int], int] = {}

    def __call__(self, found: SettledHour) -> dict[int, Account]:
        told: dict[int, Account] = {}
        for conn in found.marks:
            earlier = sum(hidden for (hour, of), hidden in self._hidden.items() if of == conn and hour < found.hour)
            told |= next(one for hidden in range(60) if (one := self._told(found, conn, earlier, hidden)))
        return told

    def _told(self, found: SettledHour, conn: int, earlier: int, hidden: int) -> dict[int, Account] | None:
        marks, before = (
            {conn: mark._replace(apart=mark.apart + more)} if (mark := of.get(conn)) else {}
            for of, more in ((found.marks, earlier + hidden), (found.before, earlier))
        )
        try:
            told = accounts_of(replace(found, marks=marks, before=before))
        except ProofError:
            return None
        self._hidden[found.hour, conn] = hidden
        return told if told[conn].sum_ok else None


def _without_last_pair(rows: pa.Table) -> pa.Table:
    """Drop the last change of A: no checkpoint follows it."""
    at = max(
        place
        for place, (ticker, kind) in enumerate(zip(rows["ticker"].to_pylist(), rows["kind"].to_pylist(), strict=True))
        if ticker == "A" and kind in (Kind.DELTA, Kind.ORPHAN)
    )
    return pa.concat_tables([rows.slice(0, at), rows.slice(at + 1)])


def _set(name: str, value: str) -> Rows:
    return lambda rows: rows.set_column(
        place := rows.schema.get_field_index(name), rows.schema.field(place), pa.array([value] * rows.num_rows)
    )


@pytest.mark.parametrize(
    ("table", "alter"),
    [
        ("orderbook", _without_last_pair),
        ("trades", lambda rows: rows.slice(0, 0)),
        ("lifecycle", _set("event_type", "settled")),
        ("audits", _set("digest_ours", "0" * 16)),
    ],
)
def test_rows_that_the_segments_do_not_hold_are_found_while_those_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, alter: Rows
) -> None:
    monkeypatch.setattr(publish, "accounts_of", _Accountant())
    root = _lie(tmp_path, monkeypatch, publish, "settle", _settling(table, alter))
    assert any(doubt.endswith(("from the segments", "the segments'", "alone")) for doubt in doubts(root))
    assert doubts(root, with_log=False) == []  # by itself the forgery is perfect


def _deriving(alter: Callable[[dict[str, Any]], bool]) -> Callable[..., pa.Table]:
    def lie(*args: Any) -> pa.Table:
        found = derive(*args)
        rows = found.to_pylist()
        kept = [row for row in rows if not alter(row)]
        return pa.Table.from_pylist(kept, schema=found.schema)

    return lie


def _field(state: str, end_reason: str | None = None, /, **fields: Any) -> Callable[[dict[str, Any]], bool]:
    def alter(row: dict[str, Any]) -> bool:
        if end_reason not in (None, row["end_reason"]):
            return False
        if row["state"] == state and row["ts_from"].timestamp() * 1e6 // HOUR_US == lakes.CORRECTED:
            row.update(fields)
        return False

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        _field("known", "audit_mismatch", digest="0123456789abcdef"),
        _field("known", last_change=None),
        _field("known", deltas=7),
        _field("known", end_reason="continues"),
        _field("known", bases=[]),
        _field("known", audits=0),
        _field("gap", state="known"),
        lambda row: row["state"] == "gap",
    ],
    ids=["digest", "last_change", "deltas", "end_reason", "bases", "audits", "state", "no gap"],
)
def test_a_coverage_row_that_lies_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alter: Callable[[dict[str, Any]], bool]
) -> None:
    root = _lie(tmp_path, monkeypatch, drafts.coverage, "derive", _deriving(alter))
    assert any("differ" in doubt or "follow from the files" in doubt for doubt in doubts(root, with_log=False))


@pytest.mark.parametrize("state", ["conn", "silence"])
def test_a_conn_or_silence_that_lies_is_found_while_segments_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    dropped = _deriving(lambda row: row["state"] == state and row["conn"] % 3 == 0)
    root = _lie(tmp_path, monkeypatch, drafts.coverage, "derive", dropped)
    assert doubts(root)


def test_an_account_that_lies_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(found: SettledHour) -> dict[int, Account]:
        told = accounts_of(found)
        return {
            conn: msgspec.structs.replace(one, deltas=one.deltas - 1, apart=(one.apart or 0) + 1) if one.deltas else one
            for conn, one in told.items()
        }

    root = _lie(tmp_path, monkeypatch, publish, "accounts_of", lie)
    assert any("deltas are stated" in doubt for doubt in doubts(root, with_log=False))


def test_a_correction_that_is_hidden_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(old: pa.Table, new: pa.Table, **told: Any) -> pa.Table:
        rows = rows_of(old, new, **told)
        place = rows.schema.get_field_index("detail")
        return rows.set_column(place, rows.schema.field(place), pa.array(["nothing"] * rows.num_rows))

    root = _lie(tmp_path, monkeypatch, publish.corrections, "rows_of", lie)
    assert any("not what differs between the versions" in doubt for doubt in doubts(root, with_log=False))


def test_rows_out_of_order_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(rows: pa.Table) -> pa.Table:
        return rows.take(pc.sort_indices(rows, sort_keys=[("ticker", "descending"), ("seq", "ascending")]))

    monkeypatch.setattr(drafts.proof, "prove_order", lambda *_: None)
    monkeypatch.setattr(drafts.proof, "prove_replay", lambda *_: None)
    monkeypatch.setattr(drafts.coverage, "derive", lambda *_: DERIVED.empty_table())
    root = _lie(tmp_path, monkeypatch, publish, "settle", _settling("orderbook", swap))
    assert any("not in order of ticker" in doubt for doubt in doubts(root, with_log=False))
