"""Recovery: after any crash exactly the acknowledged rows stand, sealed; altered bytes are refused."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc

from book.errors import CorruptError
from lake import durable, paths, schemas
from lake.journal.flush import ConnMark, Extent, FlushRecord, FlushTail, FlushWriter
from lake.journal.reader import Hour
from lake.journal.recovery import recover_hour, recover_shard
from lake.journal.segment import SegmentWriter, read_sidecar

HOUR = 496_000


def batch(seqs: Sequence[int]) -> pa.RecordBatch:
    row = {"ticker": "A", "ts_recv": 5, "conn": 1, "kind": 1, "side": 0, "price_e4": 100, "qty_e2": 1}
    return pa.RecordBatch.from_pylist([row | {"seq": seq} for seq in seqs], schema=schemas.ORDERBOOK)


class Hourly:
    """An hour as a writer leaves it: a row a flush unless told otherwise."""

    def __init__(self, home: Path, hour: int = HOUR) -> None:
        self.dir = paths.hour_dir(home, 0, hour)
        durable.make_folder(self.dir)
        self.flush_file = FlushWriter(self.dir / paths.FLUSH_NAME)
        self.writer: SegmentWriter | None = None
        self.number = self.seq = 0
        self.lengths: list[int] = []

    def append(self, count: int = 1) -> SegmentWriter:
        if self.writer is None:
            name = paths.segment_name("orderbook", self.number)
            self.writer = SegmentWriter(self.dir / name, schemas.ORDERBOOK)
            self.number += 1
        self.writer.append(batch(range(self.seq + 1, self.seq + count + 1)))
        self.seq += count
        return self.writer

    def flush(self, count: int = 1) -> None:
        writer = self.append(count)
        extent = Extent(writer.path.name, *writer.sync())
        self.lengths.append(extent.length)
        n = len(self.lengths)
        record = FlushRecord(n=n, at_us=n, tables={"orderbook": extent}, conns={"1": ConnMark(n, self.seq, 1)})
        self.flush_file.append(record)

    def seal(self) -> None:
        assert self.writer is not None
        self.writer.seal({1: (9, self.seq)})
        self.writer = None


def seqs(hour_dir: Path) -> list[int]:
    hour = Hour(hour_dir, 0, HOUR)
    hour.poll()
    return hour.table("orderbook").column("seq").to_pylist()


def sealed_seqs(hour_dir: Path) -> list[int]:
    found: list[int] = []
    for path in sorted(hour_dir.glob("*.arrow")):
        assert read_sidecar(path) is not None
        with ipc.open_stream(path.read_bytes()) as stream:
            found += stream.read_all().column("seq").to_pylist()
    return found


def test_the_unacknowledged_goes_and_the_acknowledged_stays(tmp_path: Path) -> None:
    hour = Hourly(tmp_path)
    for _ in range(3):
        hour.flush(2)
    hour.append(5)
    found = recover_hour(hour.dir)
    assert (found.cut_bytes > 0, found.sealed, found.deleted) == (True, ["orderbook-000000.arrow"], [])
    assert found.last is not None
    assert (found.last.n, found.conns, found.next_number) == (3, {1: ConnMark(3, 6, 1)}, {"orderbook": 1})
    assert seqs(hour.dir) == sealed_seqs(hour.dir) == [1, 2, 3, 4, 5, 6]
    again = recover_hour(hour.dir)
    assert (again.sealed, again.deleted, again.cut_bytes, again.last) == ([], [], 0, found.last)


def test_files_no_flush_names_are_removed(tmp_path: Path) -> None:
    hour = Hourly(tmp_path)
    hour.flush()
    hour.seal()
    hour.append()
    (hour.dir / "orderbook-000000.arrow.json.tmp").write_bytes(b"half")
    found = recover_hour(hour.dir)
    assert found.deleted == ["orderbook-000000.arrow.json.tmp", "orderbook-000001.arrow"]
    assert sorted(path.name for path in hour.dir.iterdir()) == [
        "flush.jsonl",
        "orderbook-000000.arrow",
        "orderbook-000000.arrow.json",
    ]
    assert found.next_number == {"orderbook": 1}


def test_an_hour_without_a_flush(tmp_path: Path) -> None:
    hour = Hourly(tmp_path)
    hour.append()
    found = recover_hour(hour.dir)
    assert (found.last, found.conns, found.deleted) == (None, {}, ["orderbook-000000.arrow"])


@pytest.mark.parametrize("size", [0, 3, 8])
def test_a_crash_between_the_end_mark_and_the_sidecar(tmp_path: Path, size: int) -> None:
    hour = Hourly(tmp_path)
    hour.flush()
    hour.seal()
    segment = hour.dir / "orderbook-000000.arrow"
    (hour.dir / "orderbook-000000.arrow.json").unlink()
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - 8 + size)
    assert recover_hour(hour.dir).sealed == ["orderbook-000000.arrow"]
    assert sealed_seqs(hour.dir) == [1]


def test_a_torn_flush_at_every_byte(tmp_path: Path) -> None:
    hour = Hourly(tmp_path)
    hour.flush()
    before = (hour.dir / paths.FLUSH_NAME).stat().st_size
    hour.flush()
    flushes = (hour.dir / paths.FLUSH_NAME).read_bytes()
    segment = (hour.dir / "orderbook-000000.arrow").read_bytes()
    for length in range(before, len(flushes) + 1):
        copy = tmp_path / f"torn{length}"
        copy.mkdir()
        (copy / paths.FLUSH_NAME).write_bytes(flushes[:length])
        (copy / "orderbook-000000.arrow").write_bytes(segment)
        found = recover_hour(copy)
        want = [1, 2] if length == len(flushes) else [1]
        assert (found.last is not None and found.last.n, sealed_seqs(copy)) == (len(want), want)
        assert (copy / paths.FLUSH_NAME).read_bytes() == flushes[: len(flushes) if len(want) == 2 else before]
        shutil.rmtree(copy)


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    hour = Hourly(tmp_path)
    hour.flush()
    hour.flush()
    path = hour.dir / "orderbook-000000.arrow"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        bad = bytearray(whole)
        bad[at] ^= 0x01
        path.write_bytes(bytes(bad))
        with pytest.raises(CorruptError) as caught:
            recover_hour(hour.dir)
        assert caught.value.path == str(path)
        with pytest.raises(CorruptError):
            seqs(hour.dir)
        assert path.read_bytes() == bytes(bad)


def test_missing_bytes_are_refused(tmp_path: Path) -> None:
    hour = Hourly(tmp_path)
    hour.flush()
    path = hour.dir / "orderbook-000000.arrow"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    for ask in (recover_hour, seqs):
        with pytest.raises(CorruptError):
            ask(hour.dir)
    path.unlink()
    for ask in (recover_hour, seqs):
        with pytest.raises(CorruptError):
            ask(hour.dir)


def test_a_shard_is_recovered_where_it_was_left_open(tmp_path: Path) -> None:
    assert recover_shard(tmp_path, 0) == []
    for at in range(3):
        hour = Hourly(tmp_path, HOUR + at)
        hour.flush()
        if at != 1:
            hour.seal()
    found = recover_shard(tmp_path, 0)
    assert [one.hour_dir for one in found] == [paths.hour_dir(tmp_path, 0, HOUR + at) for at in (1, 2)]
    assert [one.sealed for one in found] == [["orderbook-000000.arrow"], []]


STEPS = st.lists(st.sampled_from(["append", "flush", "flush", "seal", "crash", "abandon"]), max_size=25)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_happens_the_acknowledged_rows_stand_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    home = tmp_path_factory.mktemp("home")
    hour = Hourly(home)
    reader = Hour(hour.dir, 0, HOUR)
    acknowledged: list[int] = []
    waiting: list[int] = []
    for step in steps:
        if step == "append":
            hour.append()
            waiting.append(hour.seq)
        elif step == "flush":
            hour.flush()
            acknowledged += [*waiting, hour.seq]
            waiting = []
        elif hour.writer is None or not acknowledged:
            continue
        elif step == "seal" and not waiting:
            hour.seal()
        elif step == "abandon":
            known = [one.tables["orderbook"] for one in FlushTail(hour.dir / paths.FLUSH_NAME).poll()]
            mine = [extent.length for extent in known if extent.segment == hour.writer.path.name]
            hour.writer.abandon(max(mine, default=0))
            hour.writer, waiting = None, []
        elif step == "crash":
            found = recover_hour(hour.dir)
            hour.writer, waiting = None, []
            hour.flush_file = FlushWriter(hour.dir / paths.FLUSH_NAME)
            hour.number = found.next_number["orderbook"]
        reader.poll()
        assert reader.table("orderbook").column("seq").to_pylist() == acknowledged
    assert seqs(hour.dir) == acknowledged
    recover_hour(hour.dir)
    assert sealed_seqs(hour.dir) == acknowledged
