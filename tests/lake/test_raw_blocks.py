from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from book.errors import CorruptError, DeadWriterError
from lake.raw import entries
from lake.raw.blocks import BlockWriter, contents, scan
from lake.raw.entries import OVERFLOW, PONG, Entry, Turn

PLAIN = [b"first " * 50, b"second", b"third " * 900]


def _written(path: Path, *, ended: bool = True) -> bytes:
    writer = BlockWriter(path)
    for number, plain in enumerate(PLAIN):
        writer.append(plain, 10 * number, 10 * number + 5)
    if ended:
        writer.end()
    writer.close(sync=False)
    return path.read_bytes()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a" / "1-0.raw"
    _written(path)
    found = scan(path)
    assert found.ended
    assert found.torn_bytes == 0
    assert [(block.plain, block.first_us, block.last_us) for block in found.blocks] == [
        (len(plain), 10 * number, 10 * number + 5) for number, plain in enumerate(PLAIN)
    ]
    assert list(contents(path, found.blocks)) == PLAIN


def test_the_stored_bytes_are_one_zstd_stream(tmp_path: Path) -> None:
    path = tmp_path / "1-0.raw"
    data = _written(path)
    stored = b"".join(data[block.offset : block.offset + block.stored] for block in scan(path).blocks)
    with pa.CompressedInputStream(pa.BufferReader(stored), "zstd") as stream:
        assert stream.read(sum(map(len, PLAIN))) == b"".join(PLAIN)


def test_a_file_that_exists_is_never_written_over(tmp_path: Path) -> None:
    _written(tmp_path / "1-0.raw")
    with pytest.raises(FileExistsError):
        BlockWriter(tmp_path / "1-0.raw")


def test_every_cut_leaves_the_whole_blocks_before_it(tmp_path: Path) -> None:
    path = tmp_path / "1-0.raw"
    data = _written(path)
    ends = [block.offset + block.stored for block in scan(path).blocks]
    for length in range(len(data)):
        path.write_bytes(data[:length])
        found = scan(path)
        whole = sum(end <= length for end in ends)
        assert not found.ended
        assert list(contents(path, found.blocks)) == PLAIN[:whole]
        begun = max([8, *(end for end in ends if end <= length)])
        assert found.torn_bytes == (length if length < 8 else length - begun)


def test_every_altered_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "1-0.raw"
    data = _written(path)
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            found = scan(path)
        except CorruptError:
            continue
        assert not found.ended, f"byte {place}"  # its length was altered: no more than a file that is cut short


def test_bytes_after_the_end_are_found(tmp_path: Path) -> None:
    path = tmp_path / "1-0.raw"
    path.write_bytes(_written(path) + b"x")
    with pytest.raises(CorruptError, match="follow the end mark"):
        scan(path)


def test_a_block_that_is_taken_away_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "1-0.raw"
    data = _written(path)
    first, second, *_ = scan(path).blocks
    path.write_bytes(data[: first.offset + first.stored] + data[second.offset + second.stored :])
    with pytest.raises(CorruptError, match="block 2 stands after 1"):
        scan(path)


def test_a_writer_is_dead_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = BlockWriter(tmp_path / "1-0.raw")

    def full(*_: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr("lake.durable.write_all", full)
    with pytest.raises(OSError, match="no space"):
        writer.append(b"x", 0, 0)
    monkeypatch.undo()
    with pytest.raises(DeadWriterError):
        writer.append(b"x", 0, 0)
    writer.close(sync=False)
    assert not scan(tmp_path / "1-0.raw").ended


def test_entries_are_read_as_they_were_noted() -> None:
    table = pa.table({"market": pa.array([3, 4])}).replace_schema_metadata({b"table": b"levels"})
    turn = Turn(5, 9, 2, np.array([0, 3, 7]), np.array([10, 10, 4_000_000_000]), [b'{"a":1}', PONG, b""])
    plain = entries.encode_turn(7, turn) + entries.encode_event(8, {"at": "over", "us": 2**60})
    plain += entries.encode_table(9, table)
    plain += entries.encode_turn(10, Turn(1, 1, 0, np.array([4]), np.array([2]), [OVERFLOW]))
    first, second, third, fourth = entries.decode(plain, 3)
    assert (first.number, first.link, first.body[:3], first.body.items) == (7, 3, turn[:3], turn.items)
    assert first.body.places.tolist() == [0, 3, 7]
    assert first.body.stamps.tolist() == [10, 10, 4_000_000_000]
    assert second == Entry(8, 3, {"at": "over", "us": 2**60})
    assert third.body.equals(table)
    assert third.body.schema.metadata == {b"table": b"levels"}
    assert fourth.body.items == [OVERFLOW]


def test_an_entry_that_is_cut_short_is_refused() -> None:
    plain = entries.encode_event(0, {"at": "over", "us": 1})
    for length in range(1, len(plain)):
        with pytest.raises(ValueError, match="cut short"):
            list(entries.decode(plain[:length], 3))
    with pytest.raises(ValueError, match="kind 9"):
        list(entries.decode(b"\x09" + plain[1:], 3))
