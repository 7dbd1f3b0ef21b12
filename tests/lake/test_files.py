import os
from pathlib import Path

import pytest

from book.errors import CorruptError
from lake.journal.files import READ_THROUGH_BYTES, OpenFiles


def fds() -> set[str]:
    """The paths of this process's open files."""
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    return {os.readlink(link) for link in links if link.is_symlink()}


def test_ranges_are_read_and_near_ones_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(4 * READ_THROUGH_BYTES)
    path = tmp_path / "one"
    path.write_bytes(data)
    calls: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, count, at: calls.append(count) or real(fd, count, at))
    starts, ends = [0, 100, 3 * READ_THROUGH_BYTES], [10, 200, 3 * READ_THROUGH_BYTES + 5]
    found = OpenFiles().slices(str(path), starts, ends)
    assert [bytes(part) for part in found] == [data[start:end] for start, end in zip(starts, ends, strict=True)]
    assert calls == [200, 5]


def test_what_is_missing_or_short_is_corrupt(tmp_path: Path) -> None:
    files = OpenFiles()
    with pytest.raises(CorruptError, match="missing"):
        files.slices(str(tmp_path / "none"), [0], [1])
    (tmp_path / "short").write_bytes(b"abc")
    with pytest.raises(CorruptError, match="missing"):
        files.slices(str(tmp_path / "short"), [1], [4])
    with (tmp_path / "short").open("ab") as file:
        file.write(b"de")
    assert files.slices(str(tmp_path / "short"), [1], [5]) == [b"bcde"], "a file that has grown is read on"


def test_the_longest_unused_is_closed_and_all_at_the_end(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode())
    files = OpenFiles(most=2)
    for name in "abac":
        assert files.slices(str(tmp_path / name), [0], [1]) == [name.encode()]
    here = {str(path) for path in paths}
    assert fds() & here == {str(tmp_path / "a"), str(tmp_path / "c")}
    del files
    assert not fds() & here
