"""docs/format.md is true: it names every column with its type, and its reader reads what ours does."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from lake import durable, paths, schemas
from lake.journal.flush import Extent, FlushRecord, FlushWriter
from lake.journal.reader import Hour
from lake.journal.segment import SegmentWriter

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text()
NAMES = {schemas.INSTANT: "instant", schemas.TICKER: "dictionary<int32, utf8>", pa.utf8(): "utf8"}


def test_every_column_stands_in_it() -> None:
    for table, schema in schemas.TABLES.items():
        section = TEXT.split(f"\n### {table}\n")[1].split("\n## ")[0].split("\n### ")[0]
        rows = re.findall(r"^\| (\w+) \| (.+?) \|", section, re.MULTILINE)[1:]
        assert rows == [(field.name, NAMES.get(field.type, str(field.type)) + "?" * field.nullable) for field in schema]


def test_every_field_of_a_flush_stands_in_it() -> None:
    for name in FlushRecord.__struct_fields__:
        assert f"| `{name}` |" in TEXT


def test_its_reader_reads_what_ours_does(tmp_path: Path) -> None:
    scope: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0], scope)
    folder = paths.hour_dir(tmp_path, 0, 5)
    durable.make_folder(folder)
    flushes = FlushWriter(folder / paths.FLUSH_NAME)
    row = {"ticker": "A", "ts_recv": 5, "conn": 1, "kind": 1, "side": 0, "price_e4": 100, "qty_e2": 1}
    for number in range(3):
        writer = SegmentWriter(folder / paths.segment_name("orderbook", number), schemas.ORDERBOOK)
        for flush in range(2):
            rows = [row | {"seq": seq, "ticker": f"M{seq % 7}"} for seq in range(150 * flush + 1)]
            writer.append(pa.RecordBatch.from_pylist(rows, schema=schemas.ORDERBOOK))
            extent = Extent(writer.path.name, *writer.sync())
            flushes.append(FlushRecord(n=2 * number + flush, at_us=0, tables={"orderbook": extent}))
        if number < 2:
            writer.seal({})
    writer.append(pa.RecordBatch.from_pylist([row | {"seq": 9}], schema=schemas.ORDERBOOK))
    with flushes.path.open("ab") as file:
        file.write(b'{"n":9')
    hour = Hour(folder, 0, 5)
    hour.poll()
    assert scope["read_hour"](folder, "orderbook").to_pylist() == hour.table("orderbook").to_pylist()
    assert hour.table("orderbook").num_rows == 3 * 152
