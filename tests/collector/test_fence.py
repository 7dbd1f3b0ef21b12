"""A later process stops an earlier one, though the lock does not hold."""

import os
from pathlib import Path

import pytest

from book.errors import CollectorError, FencedError
from collector.fence import KEPT, Fence
from collector.journal import Journal
from lake import paths
from lake.journal.ends import read_end
from lake.journal.flush import FlushTail
from tests.collector.journals import H0, T0, drop, expected, opened, stored, taken


def unlocked(home: Path) -> Journal:
    """Open a shard that another process has, as where its lock does not hold: the file it locked is another's."""
    paths.lock_path(home, 0).unlink()
    return opened(home)


def test_epochs_grow_by_one_and_few_are_kept(tmp_path: Path) -> None:
    for number in range(1, KEPT + 6):
        fence = Fence(tmp_path, 0)
        assert fence.epoch == number
        fence.check()
        fence.close()
    assert len(paths.epochs(tmp_path, 0)) <= KEPT + 1
    assert paths.epochs(tmp_path, 0)[-1] == KEPT + 5


def test_a_shard_that_is_held_is_refused_and_its_epoch_stays(tmp_path: Path) -> None:
    fence = Fence(tmp_path, 0)
    with pytest.raises(CollectorError, match="belongs to another process"):
        Fence(tmp_path, 0)
    assert paths.epochs(tmp_path, 0) == [1]
    fence.close()


def test_an_earlier_process_acknowledges_nothing_once_a_later_one_has_begun(tmp_path: Path) -> None:
    old = opened(tmp_path)
    old.write(H0, taken(0))
    new = unlocked(tmp_path)
    with pytest.raises(FencedError, match="later process than epoch 1"):
        old.write(H0, taken(2, tables=()))
    drop(old)
    new.write(H0, taken(1))
    new.write(H0, taken(3))
    assert stored(tmp_path) == [*expected(range(2)), "3/0", "3/1"]
    numbers = [record.n for record in FlushTail(paths.hour_dir(tmp_path, 0, H0) / paths.FLUSH_NAME).poll()]
    assert numbers == [1, 2, 3]
    new.close()


def test_an_epoch_that_has_gone_is_as_bad_as_a_higher_one(tmp_path: Path) -> None:
    fence = Fence(tmp_path, 0)
    paths.epoch_path(tmp_path, 0, 1).unlink()
    with pytest.raises(FencedError):
        fence.check()
    fence.close()


def test_a_segment_of_its_name_that_another_has_made_stops_a_process(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0))
    (paths.hour_dir(tmp_path, 0, H0) / paths.segment_name("orderbook", 0)).write_bytes(b"another's")
    with pytest.raises(FencedError, match="orderbook-000000"):
        journal.write(H0, taken(1, tables=("orderbook",)))
    drop(journal)


@pytest.mark.parametrize("what", ["appended", "written anew"])
def test_a_flush_file_that_another_writes_stops_a_process(tmp_path: Path, what: str) -> None:
    journal = opened(tmp_path)
    journal.write(H0, taken(0))
    path = paths.hour_dir(tmp_path, 0, H0) / paths.FLUSH_NAME
    with path.open("r+b") as file:
        data = file.read()
        file.truncate(0 if what == "written anew" else len(data))
        file.seek(0, os.SEEK_END)
        file.write(b"torn")
    before = path.read_bytes()
    with pytest.raises(FencedError, match="another process"):
        journal.write(H0, taken(1))
    assert path.read_bytes() == before
    drop(journal)


def test_no_end_is_written_by_a_process_that_a_later_one_has_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one begins between the acknowledgement of the flush and the END that it would have brought."""
    old = opened(tmp_path)
    old.write(H0, taken(0))
    real = Journal._seal_due
    later: list[Journal] = []

    def overtaken(journal: Journal) -> None:
        real(journal)
        if not later:
            later.append(unlocked(tmp_path))

    monkeypatch.setattr(Journal, "_seal_due", overtaken)
    with pytest.raises(FencedError):
        old.write(H0 + 1, taken(1, at_us=T0 + 3_600_000_001, up=False))
    assert read_end(tmp_path, 0, H0) is None
    drop(old)
    later[0].close()


def test_processes_that_begin_all_the_time_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.fence.objects.put_new", lambda *_: False)
    with pytest.raises(CollectorError, match="all the time"):
        Fence(tmp_path, 0)
