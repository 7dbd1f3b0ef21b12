"""How far each published hour's log was read, and whether the log has gone past that since.

Owns one look at the journal and the manifests together, so that all that is decided from it rests on the same flushes.
Decides nothing.
"""

from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from lake.publishing import manifest
from lake.publishing.manifest import ShardRead
from lake.publishing.plan import Folder, Task, overtaken, plan, read_up_to
from lake.publishing.watch import Watch


class Progress:
    """The journal under a home and the manifests of a lake, as of the last ``look``; not safe for two threads."""

    def __init__(self, lake: Path, home: Path) -> None:
        self.folders: list[Folder] = []
        self._lake = lake
        self._watch = Watch(home)
        self._manifests = 0
        self._read: dict[int, dict[int, ShardRead] | None] = {}

    def look(self, number: int) -> None:
        """Take in what was logged, and the manifests up to ``number``. Raises CorruptError.

        Cost: what is new; the first look reads every manifest and the flush files of hours without END.
        """
        while self._manifests < number:
            for entry in manifest.read(self._lake, self._manifests + 1).hours:
                self._read[entry.hour] = None if entry.reason == "import" else dict(entry.shards)
            self._manifests += 1
        self.folders = self._watch.folders()

    def rebuilt(self, shard: int) -> dict[int, int]:
        """Return the hours that are published from a rebuild of a shard's log, each with its number."""
        found = {hour: reads[shard].rebuilt for hour, reads in self._read.items() if reads and shard in reads}
        return {hour: number for hour, number in found.items() if number}

    def newest(self, shard: int) -> int:
        """Return the number of the newest flush of a shard: nothing after it belongs to this look."""
        return max((folder.newest for folder in self.folders if folder.shard == shard), default=0)

    def seen(self, hour: int) -> bool:
        """Say whether an hour is published, or was read and nothing is to be told of it."""
        return hour in self._read

    def note_read(self, hour: int) -> None:
        """Remember that an hour was read as of this look and found as it was published, or empty."""
        before = self._read.get(hour) or {}
        self._read[hour] = {
            shard: msgspec.structs.replace(read, rebuilt=before[shard].rebuilt if shard in before else 0)
            for shard, read in read_up_to(self.folders, hour).items()
        }

    def overtaken(self) -> list[int]:
        """Return the hours seen whose log has gone past what was read of it, ascending."""
        return sorted(overtaken(self.folders, self._read))

    def reached(self, hours: Collection[int]) -> list[int]:
        """Return the hours without a folder that what is logged in the folders of some hours reaches, ascending."""
        found = {early for folder in self.folders if folder.hour in hours for early in folder.touches}
        return sorted(found - {folder.hour for folder in self.folders})

    def plan(self, now_us: int, over_for_s: Callable[[int], float]) -> list[Task]:
        """Return what is to be published now; ``over_for_s`` gives the machine's seconds since an hour ended."""
        new = {folder.hour for folder in self.folders} - self._read.keys()
        return plan(self.folders, self._read, now_us, {hour: over_for_s(hour) for hour in new})
