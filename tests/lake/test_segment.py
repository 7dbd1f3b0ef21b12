"""Segments: what is appended is what is read, and nothing after an error."""

import json
import os
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from book.errors import DeadWriterError
from lake import durable, paths, schemas
from lake.journal import framing
from lake.journal.segment import COMPRESS_FROM_ROWS, SegmentWriter, read_sidecar

ROW = st.fixed_dictionaries(
    {
        "ticker": st.sampled_from(["A", "KXGOLD-26AUG10-T1", "Ü"]),
        "ts_recv": st.integers(0, 1 << 50),
        "ts_exch": st.none() | st.integers(0, 1 << 50),
        "conn": st.integers(0, 1 << 60),
        "seq": st.integers(0, 1 << 60),
        "kind": st.integers(0, 4),
        "side": st.none() | st.integers(0, 1),
        "price_e4": st.none() | st.integers(0, 10_000),
        "qty_e2": st.none() | st.integers(-(1 << 60), 1 << 60),
        "reason": st.none() | st.sampled_from(["stall", "moved"]),
    }
)


def batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=schemas.ORDERBOOK)


def plain(seq: int, count: int = 1) -> list[dict[str, Any]]:
    row = {"ticker": "A", "ts_recv": 5, "conn": 1, "kind": 1, "side": 0, "price_e4": 100, "qty_e2": 1}
    return [row | {"seq": seq + at} for at in range(count)]


def integers(table: pa.Table) -> list[dict[str, Any]]:
    kinds = [pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(kinds)).to_pylist()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(ROW, min_size=1, max_size=12), min_size=1, max_size=6))
def test_any_reader_of_the_format_reads_what_was_written(tmp_path: Path, batches: list[list[dict[str, Any]]]) -> None:
    path = tmp_path / "orderbook-000000.arrow"
    path.unlink(missing_ok=True)
    writer = SegmentWriter(path, schemas.ORDERBOOK)
    for rows in batches:
        writer.append(batch(rows))
    writer.sync()
    writer.seal({7: (9, 3)})
    with ipc.open_stream(path.read_bytes()) as stream:
        assert integers(stream.read_all()) == [row for rows in batches for row in rows]
    sidecar = read_sidecar(path)
    assert sidecar is not None
    data = path.read_bytes()
    assert (sidecar.bytes, sidecar.crc32, sidecar.rows) == (len(data), zlib.crc32(data), sum(map(len, batches)))
    assert sidecar.conns == {"7": (9, 3)}
    head = framing.schema_message(schemas.ORDERBOOK)
    for (offset, length, rows, crc32), want in zip(sidecar.batches, batches, strict=True):
        alone = data[offset : offset + length]
        assert (rows, crc32) == (len(want), zlib.crc32(alone))
        with ipc.open_stream(head + alone) as stream:
            assert integers(stream.read_all()) == want


def test_added_is_what_was_added(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)
    first = writer.append(batch(plain(1)))
    second = writer.append(batch(plain(2, 3)))
    data = writer.path.read_bytes()
    assert (first.length, first.rows, first.crc32) == (first.length, 1, zlib.crc32(data[: first.length]))
    assert (second.length, second.rows) == (len(data), 3)
    assert second.crc32 == zlib.crc32(data[first.length :])
    assert writer.sync() == (len(data), zlib.crc32(data), 4)
    assert writer.sync() == (len(data), 0, 0)
    third = writer.append(batch(plain(9)))
    assert writer.sync() == third


def test_small_batches_are_plain_and_large_ones_compressed(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)
    writer.append(batch(plain(0, COMPRESS_FROM_ROWS - 1)))
    small = writer.length
    writer.append(batch(plain(0, COMPRESS_FROM_ROWS)))
    assert writer.length - small < small // 2


def test_no_row_no_byte(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)
    assert writer.append(batch([])) == (0, 0, 0)
    assert writer.seal({}) is None
    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)
    with pytest.raises(FileExistsError):
        SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)


def test_short_writes_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    writer = SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)
    writer.append(batch(plain(1, 5)))
    writer.sync()
    writer.seal({})
    with ipc.open_stream(writer.path.read_bytes()) as stream:
        assert stream.read_all().num_rows == 5


def failing(*_: Any) -> int:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_writer_is_dead_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    writer = SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)
    writer.append(batch(plain(1, 5)))
    durable_length = writer.sync().length
    with monkeypatch.context() as broken:
        broken.setattr(os, call, failing)
        with pytest.raises(OSError, match="No space"):
            _ = writer.append(batch(plain(6))), writer.sync()
    for use in (lambda: writer.append(batch(plain(6))), writer.sync, lambda: writer.seal({})):
        with pytest.raises(DeadWriterError):
            use()
    writer.abandon(durable_length)
    assert writer.path.stat().st_size == durable_length
    assert paths.sidecar_name(writer.path.name) not in os.listdir(tmp_path)


def test_an_unacknowledged_file_is_removed(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)
    writer.append(batch(plain(1)))
    writer.abandon(0)
    assert list(tmp_path.iterdir()) == []


def test_nothing_unflushed_is_sealed(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)
    writer.append(batch(plain(1)))
    with pytest.raises(ValueError, match="before its last bytes"):
        writer.seal({})


def test_a_batch_of_another_table_is_refused(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path / "orderbook-000000.arrow", schemas.ORDERBOOK)
    with pytest.raises(ValueError, match="schema"):
        writer.append(pa.RecordBatch.from_pylist([{"seq": 1}], schema=pa.schema([("seq", pa.int64())])))


def test_names_are_synced_with_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    durable.make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    synced.clear()
    writer = SegmentWriter(tmp_path / "a" / "b" / "orderbook-000000.arrow", schemas.ORDERBOOK)
    writer.append(batch(plain(1)))
    writer.sync()
    writer.seal({})
    assert synced == [tmp_path / "a" / "b"] * 2
    assert json.loads((tmp_path / "a" / "b" / "orderbook-000000.arrow.json").read_text())["rows"] == 1
