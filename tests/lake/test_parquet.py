"""Data files: read back as written, laid out as said, split where large; the same rows give the same bytes."""

import resource
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from book.errors import CorruptError
from lake import objects, paths, schemas
from lake.publishing import delta, parquet
from lake.publishing.manifest import DataFile
from tests.lake.tapes import FIRST

START_US = FIRST * 3_600_000_000


def filled(table: str, count: int) -> pa.Table:
    """Return rows of a table with every type of column in them, nulls where they may be."""
    schema = schemas.PUBLISHED[table]
    columns = [
        pa.array(
            [None if field.nullable and not row % 3 else _value(field.type, row) for row in range(count)], field.type
        )
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _value(kind: pa.DataType, row: int) -> Any:
    if pa.types.is_timestamp(kind):
        return START_US + row
    if pa.types.is_string(kind):
        return f"{row:06d}"
    if pa.types.is_binary(kind):
        return b"\x00%d" % row
    if pa.types.is_boolean(kind):
        return row % 2 == 0
    if pa.types.is_list(kind):
        return [{field.name: _value(field.type, row) for field in kind.value_type}] * (row % 3)
    return row % 100


@pytest.mark.parametrize("table", schemas.PUBLISHED)
def test_every_table_is_read_back_as_it_was(tmp_path: Path, table: str) -> None:
    rows = filled(table, 300)
    data = parquet.write_new(tmp_path, table, FIRST, rows)
    path = paths.table_dir(tmp_path, table) / data.file
    read = parquet.read_file(path, table)
    assert read.equals(rows)
    assert [field.metadata for field in read.schema] == [field.metadata for field in schemas.PUBLISHED[table]]
    assert pa.concat_tables(parquet.row_groups(path, table)).equals(rows)
    assert (data.rows, data.bytes) == (300, path.stat().st_size)
    parquet.check_bytes(path, data)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_same_rows_give_the_same_bytes_under_another_name(tmp_path: Path) -> None:
    first, second = (parquet.write_new(tmp_path, "orderbook", FIRST, filled("orderbook", 1000)) for _ in range(2))
    assert first.sha256 == second.sha256
    assert first.file != second.file


def test_coverage_files_are_named_by_their_sha256(tmp_path: Path) -> None:
    data = parquet.write_new(tmp_path, "coverage", FIRST, filled("coverage", 3))
    assert Path(data.file).stem.rpartition("-")[2] == data.sha256
    assert data.file.startswith("dt=2026-06-22/hr=22/")


def test_the_layout_is_as_said(tmp_path: Path) -> None:
    rows = filled("orderbook", 70_000)
    data = parquet.write_new(tmp_path, "orderbook", FIRST, rows)
    footer = pq.read_metadata(paths.table_dir(tmp_path, "orderbook") / data.file)
    assert [footer.row_group(group).num_rows for group in range(footer.num_row_groups)] == [32_768, 32_768, 4_464]
    group = footer.row_group(0)
    names = [group.column(column).path_in_schema for column in range(footer.num_columns)]
    encodings = {name: group.column(place).encodings for place, name in enumerate(names)}
    assert all("RLE_DICTIONARY" in encodings[name] for name in ("ticker", "conn", "kind", "side", "price_e4", "qty_e2"))
    assert all("DELTA_BINARY_PACKED" in encodings[name] for name in ("ts_recv", "ts_exch", "seq"))
    assert {group.column(place).compression for place in range(len(names))} == {"ZSTD"}
    assert [names[one.column_index] for one in group.sorting_columns] == list(schemas.SORT_KEYS["orderbook"])
    assert all(one.nulls_first for one in group.sorting_columns)
    assert all(group.column(place).has_offset_index and group.column(place).is_stats_set for place in range(len(names)))
    trades = parquet.write_new(tmp_path, "trades", FIRST, filled("trades", 70_000))
    assert pq.read_metadata(paths.table_dir(tmp_path, "trades") / trades.file).num_row_groups == 1


def test_large_hours_are_cut_between_tickers(tmp_path: Path) -> None:
    names = ["A"] * 30 + ["B"] * 50 + ["C"] * 250 + ["D"] * 20 + ["E"] * 80
    rows = filled("orderbook", len(names)).set_column(0, schemas.PUBLISHED["orderbook"].field(0), pa.array(names))
    rows = pa.concat_tables([rows.slice(0, 77), rows.slice(77, 200), rows.slice(277)])
    written = parquet.write_hour(tmp_path, "orderbook", FIRST, rows, max_rows=100)
    parts = [parquet.read_file(paths.table_dir(tmp_path, "orderbook") / data.file, "orderbook") for data, _ in written]
    assert [sorted(set(part["ticker"].to_pylist())) for part in parts] == [["A", "B"], ["C"], ["D", "E"]]
    assert [first for _, first in written] == [0, 80, 330]
    assert pa.concat_tables(parts).equals(rows)
    whole = parquet.write_hour(tmp_path, "orderbook", FIRST, rows)
    assert [(data.rows, first) for data, first in whole] == [(430, 0)]


def test_tables_without_tickers_are_cut_anywhere(tmp_path: Path) -> None:
    written = parquet.write_hour(tmp_path, "quarantine", FIRST, filled("quarantine", 25), max_rows=10)
    assert [(data.rows, first) for data, first in written] == [(10, 0), (10, 10), (5, 20)]


def test_no_rows_make_no_file(tmp_path: Path) -> None:
    assert parquet.write_hour(tmp_path, "trades", FIRST, filled("trades", 0)) == []


def test_rows_of_another_schema_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows of trades"):
        parquet.write_new(tmp_path, "trades", FIRST, filled("audits", 3))


def test_statistics_are_rounded_outwards(tmp_path: Path) -> None:
    rows = filled("orderbook", 40_000)
    stamps = pa.array([START_US + 1 + row for row in range(40_000)], pa.int64()).cast(schemas.INSTANT)
    rows = rows.set_column(1, schemas.PUBLISHED["orderbook"].field("ts_recv"), stamps)
    rows = rows.set_column(9, schemas.PUBLISHED["orderbook"].field("reason"), pa.nulls(40_000, pa.utf8()))
    data = parquet.write_new(tmp_path, "orderbook", FIRST, rows)
    stats = delta.stats_of(paths.table_dir(tmp_path, "orderbook") / data.file, "orderbook")
    assert stats["numRecords"] == 40_000
    assert (stats["minValues"]["ts_recv"], stats["maxValues"]["ts_recv"]) == (
        "2026-06-22T22:00:00.000Z",
        "2026-06-22T22:00:00.040Z",
    )
    assert (stats["minValues"]["ticker"], stats["maxValues"]["ticker"]) == ("000000", "039999")
    assert "reason" not in stats["minValues"]
    assert stats["nullCount"] | {"ticker": 0, "reason": 40_000, "price_e4": 13_334} == stats["nullCount"]
    lists = parquet.write_new(tmp_path, "coverage", FIRST, filled("coverage", 5))
    told = delta.stats_of(paths.table_dir(tmp_path, "coverage") / lists.file, "coverage")
    assert not any("bases" in name for name in told["nullCount"])


@pytest.mark.parametrize("place", [10, -30])
def test_altered_bytes_are_found(tmp_path: Path, place: int) -> None:
    data = parquet.write_new(tmp_path, "orderbook", FIRST, filled("orderbook", 5000))
    path = paths.table_dir(tmp_path, "orderbook") / data.file
    altered = bytearray(path.read_bytes())
    altered[place if place > 0 else len(altered) // 2] ^= 0x10
    path.write_bytes(altered)
    with pytest.raises(CorruptError, match="sha256"):
        parquet.check_bytes(path, data)
    with pytest.raises(CorruptError):
        parquet.read_file(path, "orderbook")


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="missing"):
        parquet.read_file(tmp_path / "none.parquet", "trades")
    with pytest.raises(CorruptError, match="missing"):
        parquet.check_bytes(tmp_path / "none.parquet", DataFile("none", 1, "", 1))
    parquet.write_file(tmp_path / "audits.parquet", "audits", filled("audits", 3))
    with pytest.raises(CorruptError, match="columns"):
        parquet.read_file(tmp_path / "audits.parquet", "trades")
    (tmp_path / "text").write_text("no parquet")
    with pytest.raises(CorruptError, match="not a whole"):
        parquet.read_file(tmp_path / "text", "trades")


def test_an_object_is_put_once(tmp_path: Path) -> None:
    assert objects.put_new(tmp_path / "one", b"first")
    assert not objects.put_new(tmp_path / "one", b"second")
    assert (tmp_path / "one").read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    rows = filled("orderbook", 500)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            parquet.write_new(tmp_path, "orderbook", FIRST, rows)
        with pytest.raises(OSError, match="File too large"):
            objects.put_new(tmp_path / "object", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
