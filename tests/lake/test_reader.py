"""The reader: polling as the hour grows equals reading it whole; only the batches asked for are decoded."""

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from book.errors import CorruptError
from lake import durable, paths, schemas
from lake.journal.flush import ConnMark, Extent, FlushRecord, FlushWriter, Silence
from lake.journal.reader import NO_INSTANT, Hour
from lake.journal.segment import SegmentWriter

HOUR = 496_000


def row(seq: int, **fields: Any) -> dict[str, Any]:
    base = {"ticker": f"M{seq % 3}", "ts_recv": seq, "conn": 1, "seq": seq, "kind": 1, "side": seq % 2}
    return base | {"price_e4": 100 + seq, "qty_e2": -seq} | fields


class Writing:
    def __init__(self, home: Path) -> None:
        self.dir = paths.hour_dir(home, 0, HOUR)
        durable.make_folder(self.dir)
        self.file = FlushWriter(self.dir / paths.FLUSH_NAME)
        self.writers: dict[str, SegmentWriter] = {}
        self.numbers: dict[str, int] = {}
        self.n = 0

    def flush(self, rows: dict[str, list[list[dict[str, Any]]]], **fields: Any) -> None:
        tables = {}
        for table, batches in rows.items():
            if table not in self.writers:
                self.numbers[table] = self.numbers.get(table, -1) + 1
                path = self.dir / paths.segment_name(table, self.numbers[table])
                self.writers[table] = SegmentWriter(path, schemas.TABLES[table])
            for found in batches:
                self.writers[table].append(pa.RecordBatch.from_pylist(found, schema=schemas.TABLES[table]))
            tables[table] = Extent(self.writers[table].path.name, *self.writers[table].sync())
        self.n += 1
        self.file.append(FlushRecord(n=self.n, at_us=self.n, tables=tables, **fields))

    def seal(self, table: str) -> None:
        self.writers.pop(table).seal({})


@pytest.mark.parametrize("seed", range(5))
def test_polling_equals_reading_whole(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    writing = Writing(tmp_path)
    hour = Hour(writing.dir, 0, HOUR)
    written: list[int] = []
    seen: list[int] = []
    done = 0
    for _ in range(40):
        sizes = [rng.choice([1, 2, 5, 200]) for _ in range(rng.randint(0, 3))]
        batches = [[row(len(written) + sum(sizes[:at]) + i) for i in range(size)] for at, size in enumerate(sizes)]
        writing.flush({"orderbook": batches} if batches else {})
        written += [one["seq"] for found in batches for one in found]
        if rng.random() < 0.2 and "orderbook" in writing.writers:
            writing.seal("orderbook")
        if rng.random() < 0.5:
            hour.poll()
            count = hour.batches("orderbook").count
            seen += hour.decode("orderbook", np.arange(done, count)).column("seq").to_pylist()
            done = count
            assert seen == written
    hour.poll()
    whole = Hour(writing.dir, 0, HOUR)
    whole.poll()
    assert hour.table("orderbook").to_pylist() == whole.table("orderbook").to_pylist()
    assert whole.table("orderbook").column("seq").to_pylist() == written
    assert whole.batches("orderbook").rows == len(written)


def test_bytes_that_no_flush_names_are_never_read(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    hour = Hour(writing.dir, 0, HOUR)
    writing.flush({"orderbook": [[row(1)]]})
    writing.writers["orderbook"].append(pa.RecordBatch.from_pylist([row(2)], schema=schemas.ORDERBOOK))
    hour.poll()
    assert hour.table("orderbook").num_rows == 1
    writing.flush({"orderbook": [[row(3)]]})
    assert hour.table("orderbook").num_rows == 1
    hour.poll()
    assert hour.table("orderbook").column("seq").to_pylist() == [1, 2, 3]


def test_some_batches_some_columns(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    for start in range(0, 60, 3):
        writing.flush(
            {"orderbook": [[row(start), row(start + 1, ts_exch=7), row(start + 2, side=None, price_e4=None)]]}
        )
        if start % 9 == 0:
            writing.seal("orderbook")
    hour = Hour(writing.dir, 0, HOUR)
    hour.poll()
    batches = hour.batches("orderbook")
    assert (batches.count, batches.rows) == (20, 60)
    assert batches.of_rows(np.array([0, 2, 3, 59])).tolist() == [0, 0, 1, 19]
    chosen = np.array([1, 7, 19])
    assert batches.row_numbers(chosen).tolist() == [3, 4, 5, 21, 22, 23, 57, 58, 59]
    table = hour.decode("orderbook", chosen, ["seq", "ticker"])
    assert table.column("seq").to_pylist() == [3, 4, 5, 21, 22, 23, 57, 58, 59]
    assert table.column("ticker").to_pylist() == [f"M{seq % 3}" for seq in table.column("seq").to_pylist()]
    columns = hour.integers("orderbook", chosen, ["ts_recv", "ts_exch", "side", "price_e4", "qty_e2"])
    assert columns["ts_recv"].tolist() == [3, 4, 5, 21, 22, 23, 57, 58, 59]
    assert columns["ts_exch"].tolist() == [NO_INSTANT, 7, NO_INSTANT] * 3
    assert columns["price_e4"].tolist() == [103, 104, 0, 121, 122, 0, 157, 158, 0]
    assert columns["side"].tolist() == [1, 0, 0, 1, 0, 0, 1, 0, 0]
    assert columns["qty_e2"].dtype == np.int64
    assert hour.decode("orderbook", []).num_rows == 0


def test_only_the_batches_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = Writing(tmp_path)
    for start in range(200):
        writing.flush({"orderbook": [[row(start * 100 + at) for at in range(100)]]})
    hour = Hour(writing.dir, 0, HOUR)
    hour.poll()
    size = int(hour.batches("orderbook").end[-1])
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, at: read.append(count) or real(fd, count, at))
    hour.integers("orderbook", [0, 199], ["seq"])
    assert (len(read), sum(read) < size // 50) == (2, True)


def test_marks_silences_and_reach(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    writing.flush({}, conns={"1": ConnMark(5, 1, 1), "2": ConnMark(6, 1, 1)}, silences=[Silence(1, 2, 3)], reach=[7])
    writing.flush({}, conns={"1": ConnMark(9, 4, 0)}, reach=[8, 7])
    hour = Hour(writing.dir, 0, HOUR)
    assert [record.n for record in hour.poll()] == [1, 2]
    assert hour.conns == {1: ConnMark(9, 4, 0), 2: ConnMark(6, 1, 1)}
    assert (hour.silences, hour.reach, hour.flushes) == ([Silence(1, 2, 3)], {7, 8}, 2)
    assert hour.last is not None
    assert hour.last.n == 2
    assert hour.poll() == []


def test_every_table_can_be_written_and_read(tmp_path: Path) -> None:
    values: dict[pa.DataType, Any] = {pa.utf8(): "x", pa.int64(): 3, pa.int32(): 2, pa.int8(): 1, pa.bool_(): True}
    values |= {schemas.TICKER: "T", pa.binary(): b"\x00\xff", schemas.INSTANT: 1_000_001}
    full = {table: {field.name: values[field.type] for field in schema} for table, schema in schemas.TABLES.items()}
    least = {
        table: {field.name: None if field.nullable else values[field.type] for field in schema}
        for table, schema in schemas.TABLES.items()
    }
    writing = Writing(tmp_path)
    writing.flush({table: [[full[table], least[table]]] for table in schemas.TABLES})
    hour = Hour(writing.dir, 0, HOUR)
    hour.poll()
    for table, schema in schemas.TABLES.items():
        found = hour.table(table)
        assert found.schema.equals(schema)
        kinds = [pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in schema]
        assert found.cast(pa.schema(kinds)).to_pylist() == [full[table], least[table]]


def test_units_stand_in_every_field() -> None:
    for schema in schemas.TABLES.values():
        for field in schema:
            assert field.metadata[b"unit"]


def test_a_segment_of_other_columns_is_refused(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    odd = pa.schema([("seq", pa.int64())])
    writer = SegmentWriter(writing.dir / "orderbook-000000.arrow", odd)
    writer.append(pa.RecordBatch.from_pylist([{"seq": 1}], schema=odd))
    writing.file.append(FlushRecord(n=1, at_us=1, tables={"orderbook": Extent(writer.path.name, *writer.sync())}))
    hour = Hour(writing.dir, 0, HOUR)
    hour.poll()
    for _ in range(2):
        with pytest.raises(CorruptError, match="columns"):
            hour.table("orderbook")


def test_segments_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    writing = Writing(tmp_path)
    writing.numbers["orderbook"] = 4
    writing.flush({"orderbook": [[row(1)]]})
    writing.seal("orderbook")
    writing.numbers["orderbook"] = 1
    writing.flush({"orderbook": [[row(2)]]})
    hour = Hour(writing.dir, 0, HOUR)
    hour.poll()
    with pytest.raises(CorruptError, match="after segment 5"):
        hour.table("orderbook")
