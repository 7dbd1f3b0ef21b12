from pathlib import Path

import pytest

from book.errors import CorruptError
from lake import paths
from lake.raw import entries
from lake.raw.blocks import BlockWriter
from lake.raw.hours import read_hour, successor

HOUR = 496_200
START_US = HOUR * 3_600_000_000 + 5
NOTED = [(0, {"at": "state", "start": None}), (1, {"at": "a"}), (2, {"at": "b"}), (1, {"at": "c"}), (0, {"at": "d"})]


def _archive(home: Path, *, ended: bool = True, start_us: int = START_US, first: int = 40) -> dict[int, Path]:
    """Write an hour of three files, a block an entry."""
    folder = paths.raw_hour_dir(home, 3, HOUR)
    files = {link: BlockWriter(folder / paths.raw_name(start_us, link)) for link in (0, 1, 2)}
    noted = [*NOTED, (0, {"at": "end", "links": [0, 1, 2]})] if ended else NOTED
    for number, (link, event) in enumerate(noted):
        files[link].append(entries.encode_event(first + number, event), 0, 0)
    for writer in files.values():
        if ended:
            writer.end()
        writer.close(sync=False)
    return {link: writer.path for link, writer in files.items()}


def _names(home: Path) -> list[str]:
    (found,) = read_hour(home, 3, HOUR)
    return [entry.body["at"] for entry in found.entries()]


def test_the_files_of_an_hour_merge_in_the_order_of_their_entries(tmp_path: Path) -> None:
    _archive(tmp_path)
    (found,) = read_hour(tmp_path, 3, HOUR)
    assert found.ended
    assert found.head == NOTED[0][1]
    assert [(entry.number, entry.link, entry.body) for entry in found.entries()] == [
        (40 + number, link, event) for number, (link, event) in enumerate(NOTED)
    ]


def test_nothing_is_kept_of_an_hour_without_a_folder(tmp_path: Path) -> None:
    assert read_hour(tmp_path, 3, HOUR) == []


@pytest.mark.parametrize("link", [1, 2])
def test_a_missing_file_is_named(tmp_path: Path, link: int) -> None:
    path = _archive(tmp_path)[link]
    path.unlink()
    with pytest.raises(CorruptError, match=r"are missing"):
        _names(tmp_path)


def test_the_first_file_is_needed(tmp_path: Path) -> None:
    path = _archive(tmp_path)[0]
    path.unlink()
    with pytest.raises(CorruptError, match=path.name):
        read_hour(tmp_path, 3, HOUR)


def test_a_file_that_lost_its_end_is_named_where_its_process_ended_the_hour(tmp_path: Path) -> None:
    path = _archive(tmp_path)[1]
    path.write_bytes(path.read_bytes()[:-32])
    with pytest.raises(CorruptError, match=f"{path.name}.*its end is missing"):
        _names(tmp_path)


def test_a_block_that_is_cut_off_is_missed(tmp_path: Path) -> None:
    path = _archive(tmp_path)[2]
    path.write_bytes(path.read_bytes()[:-33])
    with pytest.raises(CorruptError, match="entries 42 to 42 are missing"):
        _names(tmp_path)


def test_of_a_killed_process_stands_what_is_whole_up_to_the_first_that_is_missing(tmp_path: Path) -> None:
    files = _archive(tmp_path, ended=False)
    assert _names(tmp_path) == ["state", "a", "b", "c", "d"]
    files[2].write_bytes(files[2].read_bytes()[:-1])
    (found,) = read_hour(tmp_path, 3, HOUR)
    assert not found.ended
    assert _names(tmp_path) == ["state", "a"]


def test_the_processes_of_an_hour_come_in_the_order_of_their_starts(tmp_path: Path) -> None:
    _archive(tmp_path, start_us=START_US + 7)
    _archive(tmp_path, ended=False)
    assert [found.start_us for found in read_hour(tmp_path, 3, HOUR)] == [START_US, START_US + 7]
    assert successor(tmp_path, 3, START_US) == NOTED[0][1]
    assert successor(tmp_path, 3, START_US + 7) is None
