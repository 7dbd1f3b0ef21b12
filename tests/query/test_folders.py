"""Which folders are followed, and that nothing acknowledged in them is missed."""

from typing import Any

from query.folder_rows import FolderRows
from query.folders import Folders
from query.memory import Memory

HOUR = 3_600_000_000
H0 = 496_000
CONN = (H0 * 3_600_000 + 1000) * 1024


def folders(home: Any, index_bytes: int = 1 << 20) -> Folders:
    return Folders(home, 0, index_bytes, FolderRows(Memory(1 << 20)))


def hours(journal: Any, first: int, last: int) -> None:
    for hour in range(first, last):
        journal.snapshot("A", hour * HOUR + 5, CONN, 1 + 10 * (hour - H0), [])
        journal.heard(CONN, hour * HOUR + 100)
        journal.flush(hour)


def test_the_last_flushes_of_an_hour_are_seen_though_many_hours_follow_before_the_next_look(journal: Any) -> None:
    hours(journal, H0, H0 + 1)
    found = folders(journal.home)
    found.refresh(())
    assert found.book(H0).counts.keys() == {"A"}
    journal.snapshot("B", H0 * HOUR + 200, CONN, 2, [])
    journal.flush(H0)
    hours(journal, H0 + 1, H0 + 7)
    found.refresh(())
    assert found.book(H0).counts.keys() == {"A", "B"}
    assert found.unpublished == list(range(H0, H0 + 7))


def test_folders_of_published_hours_are_followed_as_far_as_they_tell_more(journal: Any) -> None:
    hours(journal, H0, H0 + 8)
    journal.close("A", H0 * HOUR + 6, CONN, 1, "audit_mismatch")
    journal.flush(H0 + 8)
    found = folders(journal.home)
    found.refresh(())
    assert list(found.hours) == list(range(H0, H0 + 9))
    assert (found.reaching(H0), found.reaching(H0 + 7), found.reaching(H0 + 8)) == ([H0 + 8], [H0 + 8], [])
    found.refresh({H0, H0 + 1, H0 + 3})
    assert list(found.hours) == list(range(H0 + 2, H0 + 9))
    assert found.unpublished == [H0 + 2, *range(H0 + 4, H0 + 9)]
    found.refresh(set(range(H0, H0 + 9)))
    assert (list(found.hours), found.unpublished) == ([H0 + 6, H0 + 7, H0 + 8], [])
    assert found.conns[CONN][0].last_frame_us == (H0 + 7) * HOUR + 100


def test_what_only_dropped_folders_told_of_conns_is_forgotten(journal: Any) -> None:
    old = CONN - 1024
    journal.snapshot("A", H0 * HOUR + 5, old, 1, [])
    journal.silence(old, H0 * HOUR + 6, H0 * HOUR + 90)
    journal.flush(H0)
    del journal.heard_us[old]
    hours(journal, H0 + 1, H0 + 5)
    found = folders(journal.home)
    found.refresh(())
    assert {old, CONN} == found.conns.keys()
    assert old in found.silences
    found.refresh({H0, H0 + 1})
    assert {CONN} == found.conns.keys()
    assert not found.silences


def test_row_lists_are_dropped_and_read_again(journal: Any) -> None:
    hours(journal, H0, H0 + 4)
    found = folders(journal.home, index_bytes=100)
    found.refresh(())
    for hour in (H0, H0 + 1, H0, H0 + 2):
        index = found.book(hour)
        assert index.rows_between("A", 0, 10).tolist() == [0]
    assert sum(found.book(hour).bytes > 0 for hour in (H0 + 3, H0 + 2)) <= 2
    assert found.book(H0).rows_between("A", 0, 10).tolist() == [0]
