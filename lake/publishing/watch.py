"""Every shard's journal as a planner needs it, followed as it grows.

Owns which folders are looked at again, so that a look costs little however long the journal is. Reads flush files and
ENDs alone, never a segment.
"""

from dataclasses import dataclass, field
from pathlib import Path

from lake import paths
from lake.journal.ends import read_end
from lake.journal.flush import FlushRecord, FlushTail
from lake.publishing.plan import NEVER, Folder, Touch


class Watch:
    """Follow the journal under a home. Not safe for two threads at once."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._known: dict[tuple[int, int], _Followed] = {}

    def folders(self) -> list[Folder]:
        """Return what each folder tells now, by shard and hour; those without a flush are left out.

        What is told is all that stands in flushes up to the newest one told of. Raises CorruptError where a flush file
        or an END is damaged. Cost: a listing a day of the journal, and what is new in the flush files of hours without
        END; the first call reads all of those.
        """
        for shard in paths.shards(self._home):
            newest = 0
            # An hour gets its last flush before the next hour's first: what comes before any flush seen in the newer
            # folder is then found in the older ones.
            for hour in reversed(paths.hours(self._home, shard)):
                if (shard, hour) not in self._known:
                    self._known[shard, hour] = _Followed(self._home, shard, hour)
                newest = self._known[shard, hour].look(newest)
        return [found for key in sorted(self._known) if (found := self._known[key].folder()) is not None]


@dataclass
class _Followed:
    """One folder, followed until it has its END."""

    home: Path
    shard: int
    hour: int
    ended: bool = False
    alive: dict[int, bool] = field(default_factory=dict)
    """Each conn's last word."""
    own: Touch = NEVER
    touches: dict[int, Touch] = field(default_factory=dict)
    newest: int = 0
    _tail: FlushTail | None = None

    def look(self, newest: int) -> int:
        """Take in what is new; ``newest`` is the newest flush of the later folders. Return it with this one's.

        An END that counts flushes not seen yet is left for the next look.
        """
        if self.ended:
            return max(newest, self.newest)
        end = read_end(self.home, self.shard, self.hour)
        if end is not None and self._tail is None and not end.reach and end.flush <= newest:
            # Nobody needs its flush file: what it holds of its own hour comes before its END.
            self.own = Touch(end.flush, paths.hour_start_us(self.hour + 1))
            self.newest = end.flush
            self.alive = {int(conn): bool(mark.up) for conn, mark in end.conns.items()}
        else:
            folder = paths.hour_dir(self.home, self.shard, self.hour)
            self._tail = self._tail or FlushTail(folder / paths.FLUSH_NAME)
            for record in self._tail.poll():
                self._take(record)
        newest = max(newest, self.newest)
        self.ended = end is not None and end.flush <= newest
        return newest

    def folder(self) -> Folder | None:
        """Return what the folder tells, None where it holds no flush yet."""
        if not self.newest:
            return None
        alive = any(self.alive.values())
        return Folder(self.shard, self.hour, self.ended, alive, self.own, self.touches, self.newest)

    def _take(self, record: FlushRecord) -> None:
        touch = Touch(record.n, record.at_us)
        self.newest = record.n
        self.alive.update((int(conn), bool(mark.up)) for conn, mark in record.conns.items())
        if record.tables:
            self.own = touch
        for hour in record.reach:
            self.touches[hour] = touch
        for from_us in (*(one.from_us for one in record.silences), *(one.from_us for one in record.lapses)):
            for hour in range(paths.hour_of(from_us), self.hour):
                self.touches[hour] = touch
