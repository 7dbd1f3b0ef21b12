"""The flush file: what a reader sees of it at every length it can have."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from book.errors import CorruptError, DeadWriterError
from lake.journal.flush import ConnMark, Extent, FlushRecord, FlushTail, FlushWriter, Silence, decode, encode

INT = st.integers(0, 1 << 60)
RECORDS = st.lists(
    st.builds(
        FlushRecord,
        n=st.just(0),
        at_us=INT,
        tables=st.dictionaries(
            st.sampled_from(["orderbook", "trades"]),
            st.builds(Extent, st.just("orderbook-000001.arrow"), INT, st.integers(0, (1 << 32) - 1), INT),
        ),
        conns=st.dictionaries(INT.map(str), st.builds(ConnMark, INT, INT, st.integers(0, 1)), max_size=3),
        silences=st.lists(st.builds(Silence, INT, INT, INT), max_size=2),
        reach=st.lists(INT, max_size=2),
    ),
    max_size=6,
)


def numbered(records: list[FlushRecord]) -> list[FlushRecord]:
    fields = ("at_us", "tables", "conns", "silences", "reach")
    return [FlushRecord(n=n, **{name: getattr(one, name) for name in fields}) for n, one in enumerate(records)]


def record(n: int, **fields: Any) -> FlushRecord:
    return FlushRecord(n=n, at_us=10 * n, conns={"5": ConnMark(10 * n, n, 1)}, **fields)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS)
def test_written_is_read(tmp_path: Path, records: list[FlushRecord]) -> None:
    path = tmp_path / "flush.jsonl"
    path.unlink(missing_ok=True)
    records = numbered(records)
    writer = FlushWriter(path)
    tail = FlushTail(path)
    for one in records:
        writer.append(one)
        assert tail.poll() == [one]
    assert FlushTail(path).poll() == records
    writer.close()


def test_every_torn_tail_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "flush.jsonl"
    whole = encode(record(1)) + encode(record(2, reach=[7]))
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        tail = FlushTail(path)
        seen = tail.poll()
        assert [one.n for one in seen] == [1, 2][: (length >= len(encode(record(1)))) + (length == len(whole))]
        path.write_bytes(whole)
        assert [one.n for one in seen + tail.poll()] == [1, 2]


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "flush.jsonl"
    first, second, third = (encode(record(n)) for n in (1, 2, 3))
    for at in range(len(second)):
        bad = bytearray(second)
        bad[at] ^= 0x20
        path.write_bytes(first + bytes(bad))
        assert [one.n for one in FlushTail(path).poll()] == [1]
        path.write_bytes(first + bytes(bad) + third)
        with pytest.raises(CorruptError):
            FlushTail(path).poll()


def test_numbers_grow(tmp_path: Path) -> None:
    path = tmp_path / "flush.jsonl"
    path.write_bytes(encode(record(2)) + encode(record(2)))
    with pytest.raises(CorruptError):
        FlushTail(path).poll()


def test_a_file_that_does_not_exist_yet_holds_nothing(tmp_path: Path) -> None:
    assert FlushTail(tmp_path / "flush.jsonl").poll() == []


def test_a_torn_line_is_cut_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "flush.jsonl"
    writer = FlushWriter(path)
    writer.append(record(1))
    writer.close()
    with path.open("ab") as file:
        file.write(encode(record(2))[:-5])
    again = FlushWriter(path)
    assert again.last == record(1)
    again.append(record(2, reach=[1]))
    assert [one.n for one in FlushTail(path).poll()] == [1, 2]


def test_a_writer_is_dead_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "flush.jsonl"
    writer = FlushWriter(path)
    writer.append(record(1))

    def torn(fd: int, data: Any) -> int:
        if len(data) < 20:
            raise OSError(28, "No space left on device")
        real(fd, bytes(data)[:20])
        return 20

    real = os.write
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", torn)
        with pytest.raises(OSError, match="No space"):
            writer.append(record(2))
    with pytest.raises(DeadWriterError):
        writer.append(record(2))
    again = FlushWriter(path)
    again.append(record(2))
    assert [one.n for one in FlushTail(path).poll()] == [1, 2]


def test_a_line_says_no_more_than_it_must() -> None:
    assert encode(FlushRecord(n=3, at_us=4)).startswith(b'{"n":3,"at_us":4}\t')
    assert decode(encode(record(3)).rstrip(b"\n")) == record(3)
    assert decode(b"") is None
    assert decode(b"{}\t" + b"0" * 8) is None
