"""An hour of the archive made whole again: the entries of all files of a process, in the order they were taken in.

Owns the judgement that nothing is missing. Never knows what an entry leads to.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from book.errors import CorruptError
from lake import paths
from lake.raw import blocks, entries
from lake.raw.blocks import Scan
from lake.raw.entries import Entry

SESSION = 0
"""The file of what belongs to no link: it begins with the state that the hour was begun with."""


class ProcessHour:
    """What one process of a shard archived of one hour. Raises CorruptError where a file is altered, OSError."""

    def __init__(self, folder: Path, start_us: int, links: list[int]) -> None:
        """Check the files of these links. Cost: one read of each."""
        self.start_us = start_us
        self._folder = folder
        self._files: dict[int, Scan] = {link: blocks.scan(self._path(link)) for link in sorted(links)}
        if SESSION not in self._files:
            raise CorruptError(str(self._path(SESSION)), 0, "missing: the raw frames of this process cannot be read")
        first = next(self._entries_of(SESSION), None)
        self.head: dict[str, Any] | None = None
        """The event that the hour began with; None where the process was killed before it was written whole."""
        if first is not None:
            if not isinstance(first.body, dict) or first.body.get("at") != "state":
                raise CorruptError(str(self._path(SESSION)), 0, "does not begin with the state of the session")
            self.head = first.body
        self.first = first.number if first is not None else 0

    @property
    def ended(self) -> bool:
        """Whether the process ended the hour: every file that it wrote has its end mark then."""
        return self._files[SESSION].ended

    @property
    def bytes(self) -> int:
        """Stored bytes of the whole blocks."""
        return sum(block.stored for found in self._files.values() for block in found.blocks)

    def prove_ended(self) -> None:
        """Raise CorruptError where it is not ``ended``: for a process that went on into a later hour."""
        if not self.ended:
            raise CorruptError(str(self._path(SESSION)), 0, "its end is missing")

    def entries(self) -> Iterator[Entry]:
        """Yield every entry in order. Raises CorruptError, naming the file, where one is missing.

        Where the process was killed the last ones may be missing; what comes after the first that is missing is left
        out then. Cost: decompresses all; some MB of memory a link.
        """
        wanted = self.first
        for entry in heapq.merge(*(self._entries_of(link) for link in self._files), key=lambda one: one.number):
            if entry.number != wanted:
                if not self.ended:
                    return
                raise CorruptError(str(self._folder), 0, f"entries {wanted} to {entry.number - 1} are missing")
            if isinstance(entry.body, dict) and entry.body.get("at") == "end":
                self._all_there(entry.body["links"])
                return
            yield entry
            wanted += 1
        if self.ended:
            raise CorruptError(str(self._path(SESSION)), 0, "the hour's last entry is missing")

    def _all_there(self, links: list[int]) -> None:
        for link in links:
            if link not in self._files:
                raise CorruptError(str(self._path(link)), 0, "missing")
            if not self._files[link].ended:
                raise CorruptError(str(self._path(link)), 0, "its end is missing")

    def _entries_of(self, link: int) -> Iterator[Entry]:
        path, found = self._path(link), self._files[link]
        for block, plain in zip(found.blocks, blocks.contents(path, found.blocks), strict=True):
            try:
                yield from entries.decode(plain, link)
            except (ValueError, KeyError, OSError) as error:
                raise CorruptError(str(path), block.offset, f"a block's entries cannot be read: {error}") from None

    def _path(self, link: int) -> Path:
        return self._folder / paths.raw_name(self.start_us, link)


def read_hour(home: Path, shard: int, hour: int) -> list[ProcessHour]:
    """Return what each process archived of a shard's hour, in the order of their starts; none where nothing is kept.

    Raises CorruptError where a file is altered or the first of a process is missing, OSError.
    """
    folder = paths.raw_hour_dir(home, shard, hour)
    links: dict[int, list[int]] = {}
    for entry in folder.iterdir() if folder.is_dir() else ():
        parsed = paths.parse_raw(entry.name)
        if parsed is not None:
            links.setdefault(parsed[0], []).append(parsed[1])
    return [ProcessHour(folder, start_us, links[start_us]) for start_us in sorted(links)]


def goes_on(home: Path, shard: int, hour: int, start_us: int) -> bool:
    """Say whether a process has raw frames of a later hour too. Cost: a look at each."""
    name = paths.raw_name(start_us, SESSION)
    later = (one for one in paths.raw_hours(home, shard) if one > hour)
    return any((paths.raw_hour_dir(home, shard, one) / name).exists() for one in later)


def successor(home: Path, shard: int, start_us: int) -> dict[str, Any] | None:
    """Return how the process after one began: the first state of the next one in the archive; None where there is none.

    Cost: one listing an hour since, and one read of that process's first hour.
    """
    for hour in paths.raw_hours(home, shard):
        if hour < paths.hour_of(start_us):
            continue
        folder = paths.raw_hour_dir(home, shard, hour)
        later = {parsed[0] for entry in folder.iterdir() if (parsed := paths.parse_raw(entry.name)) is not None}
        found = min((one for one in later if one > start_us), default=None)
        if found is not None:
            return ProcessHour(folder, found, [SESSION]).head
    return None
