"""The END of an hour: written once, whole or not at all, and never altered."""

import os
from pathlib import Path
from typing import Any

import pytest

from book.errors import CorruptError
from lake import durable, paths
from lake.journal.ends import End, read_end, write_end
from lake.journal.flush import ConnMark

END = End(
    shard=3,
    hour=490_000,
    flush=77,
    segments=["orderbook-000000.arrow", "trades-000000.arrow"],
    conns={"5": ConnMark(10, 20, 0, 3), "6": ConnMark(11, 21, 1, 0)},
    reach=[489_998],
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    durable.make_folder(paths.hour_dir(tmp_path, END.shard, END.hour))
    return tmp_path


def read(home: Path) -> End | None:
    return read_end(home, END.shard, END.hour)


def names(home: Path) -> list[str]:
    return sorted(path.name for path in paths.hour_dir(home, END.shard, END.hour).iterdir())


def test_what_is_written_is_read_and_nothing_else_is_left(home: Path) -> None:
    assert read(home) is None
    assert write_end(home, END)
    assert read(home) == END
    assert names(home) == ["end.json"]


def test_the_first_stands_whatever_a_second_one_says(home: Path) -> None:
    assert write_end(home, END)
    other = End(END.shard, END.hour, 99, [], {}, [])
    assert not write_end(home, other)
    assert not write_end(home, END)
    assert read(home) == END
    assert names(home) == ["end.json"]


def test_every_altered_or_missing_byte_is_found(home: Path) -> None:
    write_end(home, END)
    path = paths.end_path(home, END.shard, END.hour)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])
        with pytest.raises(CorruptError):
            read(home)
        path.write_bytes(whole[:at])
        with pytest.raises(CorruptError):
            read(home)
    path.write_bytes(whole)
    assert read(home) == END


def test_the_end_of_another_hour_is_not_taken_for_this_one(home: Path) -> None:
    write_end(home, END)
    there = paths.hour_dir(home, END.shard, END.hour + 1)
    durable.make_folder(there)
    (there / "end.json").write_bytes(paths.end_path(home, END.shard, END.hour).read_bytes())
    with pytest.raises(CorruptError, match="hour 490000"):
        read_end(home, END.shard, END.hour + 1)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("dies_at", range(9))
def test_killed_anywhere_it_is_there_whole_or_not_and_a_later_one_alters_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    count = 0

    def mortal(real: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count > dies_at:
                raise Killed
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch:
        for name in ("open", "write", "fsync", "link"):
            patch.setattr(os, name, mortal(getattr(os, name)))
        patch.setattr(Path, "unlink", mortal(Path.unlink))
        try:
            write_end(home, END)
            died = False
        except Killed:
            died = True
    assert died or count <= dies_at
    before = read(home)
    assert before in (None, END)
    other = End(END.shard, END.hour, 99, [], {}, [])
    assert write_end(home, other) == (before is None)
    assert read(home) == (before or other)
    assert [name for name in names(home) if not name.endswith(".tmp")] == ["end.json"]


def test_a_disk_that_is_full_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            write_end(home, END)
    assert read(home) is None
    assert write_end(home, END)
    assert read(home) == END
