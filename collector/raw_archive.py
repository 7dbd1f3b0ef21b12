"""The archive of raw frames on disk, as the collector writes it.

Owns when a file is begun, ended and given up, and which hours are removed. An error here never reaches the recording:
the file is given up, counted and told of. Blocking: call it from the thread that flushes.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from book.errors import LakeError
from collector.journal import Journal
from collector.raw import Batch, Part, Tap
from collector.raw_state import dump
from collector.session import Session
from lake import durable, paths
from lake.publishing import manifest
from lake.raw.blocks import BlockWriter

REMOVED_AT_ONCE = 48
"""Hours removed in one go; the rest follow an hour later."""

Log = Callable[..., None]


class Published:
    """Say which hours a lake has, by its manifests."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._number = 0
        self._hours: set[int] = set()

    def __call__(self, hour: int) -> bool:
        """Say whether an hour is published. Raises CorruptError. Cost: what was published since the last call."""
        for number in range(self._number + 1, manifest.last_number(self._lake) + 1):
            self._hours.update(entry.hour for entry in manifest.read(self._lake, number).hours)
            self._number = number
        return hour in self._hours


def begin(
    session: Session,
    start_us: int,
    *,
    journal: Journal,
    home: Path,
    shard: int,
    days: int,
    published: Callable[[int], bool],
    log: Log,
) -> "Archive":
    """Have what a session takes in noted from now on, and return where to write it; before anything is taken in."""
    session.tap = Tap(partial(dump, session), start_us, start_of(journal))
    archive = Archive(home, shard, start_us, days=days, published=published, log=log)
    archive.write(session.tap.begun())
    return archive


def start_of(journal: Journal) -> dict[str, Any]:
    """Return what a process found, as its first state in the archive tells it; before ``close_crashed``."""
    crashed = {str(conn): list(mark) for conn, mark in journal.crashed.items()}
    return {"flush": journal.next_flush - 1, "last_us": journal.last_us, "crashed": crashed}


class Archive:
    """Write the raw frames of one process; ``published`` says of an hour whether the lake has it."""

    def __init__(
        self, home: Path, shard: int, start_us: int, *, days: int, published: Callable[[int], bool], log: Log
    ) -> None:
        self.failures = 0
        """Files given up."""
        self.written_bytes = 0
        self._home, self._shard, self._start_us = home, shard, start_us
        self._days = days
        self._published = published
        self._log = log
        self._open: dict[tuple[int, int], BlockWriter | None] = {}
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="raw")

    def write(self, batch: Batch) -> None:
        """Write what was noted; on return the system has it. Nothing is raised: what fails is given up.

        Hours that are over are made durable, and old ones removed, in a thread of their own.
        """
        for part in batch.parts:
            self._write(part)
        for hour in batch.ended:
            for key in [key for key in self._open if key[0] == hour]:
                writer = self._open.pop(key)
                if writer is not None:
                    self._behind.submit(self._guarded, partial(_finish, writer), writer.path)
            self._behind.submit(self._guarded, partial(self._remove_before, hour), None)

    def close(self) -> None:
        """Wait until what is over is durable, and close the rest as it stands."""
        self._behind.shutdown(wait=True)
        for writer in self._open.values():
            if writer is not None:
                self._guarded(partial(writer.close, sync=False), writer.path)
        self._open.clear()

    def _write(self, part: Part) -> None:
        key = (part.hour, part.link)
        try:
            if key not in self._open:
                folder = paths.raw_hour_dir(self._home, self._shard, part.hour)
                self._open[key] = BlockWriter(folder / paths.raw_name(self._start_us, part.link))
            writer = self._open[key]
            if writer is not None:
                before = writer.length
                writer.append(part.plain, part.first_us, part.last_us)
                self.written_bytes += writer.length - before
        except OSError as error:
            lost = self._open.get(key)
            self._open[key] = None
            self._failed(None if lost is None else lost.path, error)
            if lost is not None:
                self._guarded(partial(lost.close, sync=False), lost.path)

    def _guarded(self, work: Callable[[], None], path: Path | None) -> None:
        try:
            work()
        except (OSError, LakeError) as error:
            self._failed(path, error)

    def _failed(self, path: Path | None, error: Exception) -> None:
        self.failures += 1
        fields: dict[str, Any] = {} if path is None else {"path": str(path)}
        self._log("raw_given_up", error=str(error), **fields)

    def _remove_before(self, hour: int) -> None:
        """Remove hours that are older than ``days`` before an hour, oldest first; none that is not published."""
        old = (one for one in paths.raw_hours(self._home, self._shard) if one < hour - 24 * self._days)
        for one in islice(filter(self._published, old), REMOVED_AT_ONCE):
            folder = paths.raw_hour_dir(self._home, self._shard, one)
            shutil.rmtree(folder)
            if not any(folder.parent.iterdir()):
                folder.parent.rmdir()
                durable.sync_folder(folder.parent.parent)


def _finish(writer: BlockWriter) -> None:
    """End a file and make it durable."""
    try:
        writer.end()
    finally:
        writer.close(sync=True)
