"""docs/format.md is true of the lake: its columns and fields, and its code, which answers books by itself."""

import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from book.errors import LakeError
from book.records import HOUR_US, Kind
from lake import paths, schemas
from lake.journal.reader import Hour
from lake.publishing import manifest
from lake.publishing.shelf import Shelf
from tests.model import log_rows
from tests.model.oracle import add
from tests.query.sql import runs

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text()
LAKE = TEXT.split("\n# The lake\n")[1]
NAMES = {schemas.INSTANT: "instant", pa.utf8(): "utf8", schemas.BASES: "list of structs"}
Lakes = Callable[[int], tuple[Path, runs.Run]]


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory, recorded_data: Path | None) -> Lakes:
    """Return the lake and the run of a seed; even seeds play recorded frames where they are."""

    @cache
    def made(seed: int) -> tuple[Path, runs.Run]:
        recorded = None if seed % 2 else recorded_data
        run = runs.record(tmp_path_factory.mktemp("home"), seed, recorded=recorded)
        lake = tmp_path_factory.mktemp("lake")
        assert run.publish(lake)
        return lake, run

    return made


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page's code defines."""
    scope: dict[str, Any] = {}
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", LAKE, re.DOTALL) if "def book_at" in block]
    exec(code, scope)
    return scope


@pytest.mark.parametrize("table", ["coverage", "corrections"])
def test_every_column_stands_in_it(table: str) -> None:
    section = LAKE.split(f"\n## {table}\n")[1].split("\n## ")[0].split("\n| column | type | what |\n")[1]
    rows = re.findall(r"^\| (\w+) \| (.+?) \|", section, re.MULTILINE)
    schema = schemas.PUBLISHED[table]
    assert rows == [(field.name, NAMES.get(field.type, str(field.type)) + "?" * field.nullable) for field in schema]


def test_every_field_of_a_base_and_of_a_manifest_stands_in_it() -> None:
    for field in schemas.BASES.value_type:
        assert f"`{field.name}`" in LAKE.split("A base has")[1].split("\n\n")[0]
    for struct in (manifest.Manifest, manifest.HourEntry, manifest.DataFile, manifest.ShardRead, manifest.Account):
        for name in struct.__struct_fields__:
            assert f"`{name}`" in LAKE.split("## Manifests")[1].split("\n## ")[0], name


def test_the_order_of_every_table_stands_in_it() -> None:
    for table, keys in schemas.SORT_KEYS.items():
        assert f"| {table} | {', '.join(keys)} |" in LAKE


def _truth(run: runs.Run) -> Callable[[str, int], dict[tuple[int, int], int] | None]:
    """Return a fold of the log, read in the order it was written: the book at an instant, None where not known."""
    logged = log_rows.read(run.home, 0)
    void = {ticker: log_rows.withdrawn(rows) for ticker, rows in logged.items()}
    silences = []
    for number in paths.hours(run.home, 0):
        hour = Hour(paths.hour_dir(run.home, 0, number), 0, number)
        hour.poll()
        silences += hour.silences

    def book_at(ticker: str, ts_us: int) -> dict[tuple[int, int], int] | None:
        rows = [row for row in logged[ticker] if row.ts_us <= ts_us and row.place not in void[ticker]]
        base = max((row for row in rows if row.kind in (0, 2, 3)), key=lambda row: row.key, default=None)
        if base is None or base.kind == Kind.CLOSE:
            return None
        if any(conn == base.conn and from_us <= ts_us < to_us for conn, from_us, to_us in silences):
            return None
        book: dict[tuple[int, int], int] = {}
        for row in rows:
            change = row.kind == Kind.DELTA and row.conn == base.conn and row.seq > base.seq
            if (change or row.key == base.key) and row.side is not None:
                add(book, (row.side, row.price_e4 or 0, row.qty_e2 or 0))
        return book

    return book_at


@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.fault)])
def test_its_code_answers_five_hundred_books(lakes: Lakes, page: dict[str, Any], seed: int) -> None:
    lake, run = lakes(seed)
    hours = page["standing_hours"](lake)
    truth = _truth(run)
    words: set[str] = set()
    books = pointed = 0
    for ticker, ts_us in run.questions(2000):
        if books >= 500:
            break
        got, want = page["book_at"](lake, hours, ticker, ts_us), truth(ticker, ts_us)
        assert got == want if want is not None else isinstance(got, str), (ticker, ts_us, got, want)
        assert isinstance(got, str) or run.oracle.answer(ticker, ts_us) == got
        if isinstance(got, str):
            words.add(got)
        else:
            books += 1
            touched = page["rows_of"](lake, hours, "orderbook", ts_us // HOUR_US, ticker)
            pointed += not any(row["kind"] in (0, 2) and row["ts_recv"] <= ts_us for row in touched)
    assert books == 500
    assert pointed > 5
    assert {"nothing known", "market_closed"} <= words
    assert len(words) > 5
    assert page["book_at"](lake, hours, ticker, (run.hours[0] - 1) * HOUR_US) == "not published"


def test_its_digest_is_the_one_that_coverage_has(lakes: Lakes, page: dict[str, Any]) -> None:
    lake, run = lakes(3)
    hours = page["standing_hours"](lake)
    checked = 0
    for hour in run.hours:
        told = page["micros"](page["coverage"](hours, hour).drop_columns(["bases"]))
        for row in told:
            if row["state"] == "known" and row["end_reason"] == "continues":
                book = page["book_at"](lake, hours, row["ticker"], row["ts_to"] - 1)
                assert isinstance(book, str) or page["digest"](book) == row["digest"]
                checked += not isinstance(book, str)
    assert checked > 40


def test_its_hours_are_those_that_delta_has(lakes: Lakes, page: dict[str, Any]) -> None:
    lake, run = lakes(3)
    hours = page["standing_hours"](lake)
    shelf = Shelf(lake)
    shelf.refresh()
    assert sorted(hours) == shelf.hours()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", LAKE, re.DOTALL) if "DeltaTable(" in block]
    for hour in random.Random(1).sample(run.hours, 5):
        place = paths.partition(hour)
        told = code.replace('"lake/', f'"{lake}/').replace("2026-08-10", place["dt"])
        told = re.sub(r'"hr", "=", \d+', f'"hr", "=", {place["hr"]}', told)
        scope: dict[str, Any] = {}
        exec(told, scope)
        rows = scope["coverage"].select(schemas.COVERAGE.names)
        key = [(name, "ascending") for name in ("ticker", "channel", "state", "ts_from", "conn")]
        assert rows.sort_by(key).to_pylist() == page["coverage"](hours, hour).sort_by(key).to_pylist()


def test_a_damaged_manifest_is_no_manifest(lakes: Lakes, page: dict[str, Any], tmp_path: Path) -> None:
    lake, _ = lakes(3)
    folder = tmp_path / "v1" / "manifest"
    folder.mkdir(parents=True)
    for path in sorted((lake / "v1" / "manifest").iterdir()):
        (folder / path.name).write_bytes(path.read_bytes())
    assert len(page["standing_hours"](tmp_path)) > 10
    victim = folder / paths.manifest_name(2)
    victim.write_bytes(victim.read_bytes().replace(b'"version":1', b'"version":2'))
    with pytest.raises(AssertionError):
        page["standing_hours"](tmp_path)
    with pytest.raises(LakeError):
        manifest.read(tmp_path, 2)
