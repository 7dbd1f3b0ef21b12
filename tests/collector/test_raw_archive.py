import threading
from pathlib import Path
from typing import Any

import pytest

from collector.raw import Batch, Part
from collector.raw_archive import REMOVED_AT_ONCE, Archive, Published
from lake import durable, paths
from lake.publishing import manifest
from lake.publishing.manifest import DataFile, HourEntry, Manifest, ShardRead
from lake.raw.blocks import contents, scan

HOUR = 496_200
START_US = HOUR * 3_600_000_000


class Told(list[dict[str, Any]]):
    def __call__(self, event: str, **fields: Any) -> None:
        self.append({"event": event, **fields})


def _archive(home: Path, told: Told, published: set[int] | None = None, days: int = 7) -> Archive:
    return Archive(home, 0, START_US, days=days, published=(published or set()).__contains__, log=told)


def _part(link: int, plain: bytes = b"x", hour: int = HOUR) -> Part:
    return Part(hour, link, plain, 1, 2)


def _path(home: Path, link: int, hour: int = HOUR) -> Path:
    return paths.raw_hour_dir(home, 0, hour) / paths.raw_name(START_US, link)


def test_each_link_has_a_file_an_hour_that_ends_with_it(tmp_path: Path) -> None:
    told = Told()
    archive = _archive(tmp_path, told)
    archive.write(Batch([_part(0, b"a"), _part(1, b"b")], []))
    archive.write(Batch([_part(1, b"c"), _part(1, b"d", HOUR + 1)], [HOUR]))
    archive.close()
    found = scan(_path(tmp_path, 1))
    assert found.ended
    assert list(contents(_path(tmp_path, 1), found.blocks)) == [b"b", b"c"]
    assert scan(_path(tmp_path, 0)).ended
    assert not scan(_path(tmp_path, 1, HOUR + 1)).ended
    assert told == []
    assert archive.written_bytes > 0


def test_what_is_written_is_with_the_system_at_once(tmp_path: Path) -> None:
    archive = _archive(tmp_path, Told())
    archive.write(Batch([_part(1, b"a")], []))
    assert len(scan(_path(tmp_path, 1)).blocks) == 1
    archive.close()


def test_a_file_that_cannot_be_written_is_given_up_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    archive = _archive(tmp_path, told)
    archive.write(Batch([_part(1, b"a"), _part(2, b"a")], []))
    write_all = durable.write_all
    failing = threading.Event()

    def full(fd: int, data: bytes) -> None:
        if failing.is_set():
            failing.clear()
            raise OSError(28, "no space left")
        write_all(fd, data)

    monkeypatch.setattr(durable, "write_all", full)
    failing.set()
    archive.write(Batch([_part(1, b"b"), _part(2, b"b")], []))
    archive.write(Batch([_part(1, b"c"), _part(2, b"c")], [HOUR]))
    archive.close()
    assert archive.failures == 1
    assert [one["event"] for one in told] == ["raw_given_up"]
    assert told[0]["path"] == str(_path(tmp_path, 1))
    lost = scan(_path(tmp_path, 1))
    assert (len(lost.blocks), lost.ended) == (1, False)
    assert (len(scan(_path(tmp_path, 2)).blocks), scan(_path(tmp_path, 2)).ended) == (3, True)


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"")
    told = Told()
    archive = _archive(tmp_path, told)
    archive.write(Batch([_part(1)], [HOUR]))
    archive.close()
    assert archive.failures >= 1


def test_old_hours_go_once_they_are_published(tmp_path: Path) -> None:
    old = [HOUR - 24 - age for age in (0, 1, 2, 5)]
    for hour in old:
        paths.raw_hour_dir(tmp_path, 0, hour).mkdir(parents=True)
    archive = _archive(tmp_path, Told(), published=set(old) - {HOUR - 26}, days=1)
    archive.write(Batch([_part(1)], [HOUR]))
    archive.close()
    assert paths.raw_hours(tmp_path, 0) == [HOUR - 26, HOUR - 24, HOUR]


def test_which_hours_are_published_is_read_from_the_manifests(tmp_path: Path) -> None:
    published = Published(tmp_path)
    assert not published(HOUR)
    for number, hours in ((1, (HOUR,)), (2, (HOUR + 1, HOUR + 2))):
        entries = [HourEntry(hour, 1, "hour", {0: ShardRead(1, True)}, {}, {}, {}, None, 0, 0) for hour in hours]
        rows = DataFile("x.parquet", 0, "", 0)
        manifest.put(tmp_path, Manifest(number, manifest.link(tmp_path, number - 1), number, "hour", rows, entries))
        assert all(published(hour) for hour in hours)
    assert not published(HOUR + 3)


def test_a_backlog_of_old_hours_goes_in_parts(tmp_path: Path) -> None:
    old = range(HOUR - 200, HOUR - 200 + REMOVED_AT_ONCE + 3)
    for hour in old:
        paths.raw_hour_dir(tmp_path, 0, hour).mkdir(parents=True)
    archive = _archive(tmp_path, Told(), published=set(old), days=1)
    archive.write(Batch([], [HOUR]))
    archive.close()
    assert paths.raw_hours(tmp_path, 0) == list(old)[REMOVED_AT_ONCE:]
