"""Manifests: a chain that shows any alteration, numbers that go to one writer, and what is durable when."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from book.errors import CorruptError
from lake import objects, paths
from lake.publishing import manifest
from lake.publishing.manifest import Account, DataFile, HourEntry, Manifest, ShardRead

ACCOUNT = Account(0, 1, 2, 3, 0, 0, 1, 4, None, 1, 11, True, 4)


def made(number: int, prev: str = "", at_us: int = 1) -> Manifest:
    data = DataFile("dt=2026-06-22/hr=22/x.parquet", 10, "ab", 3)
    entry = HourEntry(
        495_046,
        1,
        "hour",
        {0: ShardRead(7, True)},
        {"trades": [data]},
        {5: ACCOUNT},
        {"rows": {"trades": 3}},
        None,
        0,
        4,
    )
    return Manifest(number, prev, at_us, "hour", DataFile("rows.parquet", 1, "cd", 4), [entry])


def test_a_manifest_is_read_as_it_was_put(tmp_path: Path) -> None:
    assert manifest.last_number(tmp_path) == 0
    assert manifest.link(tmp_path, 0) == ""
    assert manifest.put(tmp_path, made(1))
    assert manifest.put(tmp_path, made(2, manifest.link(tmp_path, 1), 2))
    assert manifest.last_number(tmp_path) == 2
    assert manifest.read(tmp_path, 1) == made(1)
    assert manifest.read_chained(tmp_path, 2).hours == made(2).hours
    folder = paths.manifest_dir(tmp_path)
    assert sorted(entry.name for entry in folder.iterdir()) == ["0000000001.json", "0000000002.json"]


def test_a_number_is_given_once(tmp_path: Path) -> None:
    assert manifest.put(tmp_path, made(1))
    assert not manifest.put(tmp_path, made(1, at_us=5))
    assert manifest.read(tmp_path, 1).at_us == 1


def test_of_many_writers_one_gets_the_number(tmp_path: Path) -> None:
    for number in range(1, 21):
        won: list[int] = []
        prev = manifest.link(tmp_path, number - 1)
        start = threading.Barrier(8)

        def write(
            at_us: int, number: int = number, prev: str = prev, won: list[int] = won, start: threading.Barrier = start
        ) -> None:
            start.wait()
            if manifest.put(tmp_path, made(number, prev, at_us)):
                won.append(at_us)

        threads = [threading.Thread(target=write, args=(at_us,)) for at_us in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [manifest.read(tmp_path, number).at_us]


def _flip(data: bytes) -> bytes:
    return data.replace(b'"at_us":1', b'"at_us":2')


def _renumber(data: bytes) -> bytes:
    return manifest.encode(msgspec.structs.replace(manifest.decode(data, ""), n=9))


@pytest.mark.parametrize(
    ("alter", "error"),
    [
        (_flip, "checksum"),
        (lambda data: data[:-1], "checksum"),
        (lambda data: b"", "checksum"),
        (_renumber, "it is manifest 9"),
    ],
)
def test_an_altered_manifest_is_found(tmp_path: Path, alter: Callable[[bytes], bytes], error: str) -> None:
    manifest.put(tmp_path, made(1))
    path = paths.manifest_dir(tmp_path) / paths.manifest_name(1)
    path.write_bytes(alter(path.read_bytes()))
    with pytest.raises(CorruptError, match=error):
        manifest.read(tmp_path, 1)


def test_a_manifest_put_in_anothers_place_breaks_the_chain(tmp_path: Path) -> None:
    manifest.put(tmp_path, made(1))
    manifest.put(tmp_path, made(2, manifest.link(tmp_path, 1), 2))
    manifest.read_chained(tmp_path, 2)
    (paths.manifest_dir(tmp_path) / paths.manifest_name(1)).write_bytes(manifest.encode(made(1, at_us=0)))
    with pytest.raises(CorruptError, match="prev"):
        manifest.read_chained(tmp_path, 2)
    (paths.manifest_dir(tmp_path) / paths.manifest_name(1)).unlink()
    with pytest.raises(CorruptError, match="missing"):
        manifest.read_chained(tmp_path, 2)


def test_bytes_are_durable_before_the_name_and_the_name_on_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str]] = []
    calls: dict[str, Any] = {"fsync": os.fsync, "link": os.link}

    def fsync(fd: int) -> None:
        done.append(("fsync", Path(os.readlink(f"/proc/self/fd/{fd}")).suffix))
        calls["fsync"](fd)

    def link(source: Path, target: Path) -> None:
        done.append(("link", target.suffix))
        calls["link"](source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    assert objects.put_new(tmp_path / "one.json", b"x", lambda name: done.append(("step", name)))
    assert done == [("fsync", ".tmp"), ("step", "temporary"), ("link", ".json"), ("step", "linked"), ("fsync", "")]
