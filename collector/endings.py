"""Hours on their way to their END.

Owns the account of each hour that a shard has written in and not ended, and the judgement that it is complete. Never
writes anything but END objects. Blocking, as the journal is.

An hour is complete once stamps are past it and each conn that its flush file names has been heard at or past its end,
or is closed. Stamps never go back, so no row can join its folder then; a close stamped in it may still be logged
later, and makes a new version of what was published.
"""

import math
from collections.abc import Callable
from pathlib import Path

from book.errors import CorruptError
from collector.fence import Fence
from lake import paths
from lake.journal.ends import End, write_end
from lake.journal.flush import ConnMark, FlushRecord, FlushTail

OLDER_EVERY_S = 1.0
"""Hours that an earlier process left are ended one at a time, since each costs a reading of its flush file."""


class _Account:
    """What the flushes of an hour's folder name; ``conns`` are the newest marks."""

    def __init__(self, hour: int) -> None:
        self.hour = hour
        self.end_us = paths.hour_start_us(hour + 1)
        self.segments: dict[str, None] = {}
        self.conns: dict[str, ConnMark] = {}
        self.reach: set[int] = set()

    def add(self, record: FlushRecord) -> None:
        """Take in a flush of this hour's folder."""
        self.segments |= dict.fromkeys(extent.segment for extent in record.tables.values())
        self.conns.update(record.conns)
        self.reach.update(record.reach)

    def hear(self, record: FlushRecord) -> None:
        """Take in how far a flush of a later folder has this hour's conns."""
        self.conns.update((conn, mark) for conn, mark in record.conns.items() if conn in self.conns)

    @property
    def complete(self) -> bool:
        """Whether each conn is closed, or heard at or past the hour's end."""
        return all(not mark.up or mark.last_frame_us >= self.end_us for mark in self.conns.values())


class Endings:
    """The END objects of one shard; told of every flush."""

    def __init__(self, home: Path, shard: int, monotonic_s: Callable[[], float], fence: Fence) -> None:
        self._fence = fence
        self._home = home
        self._shard = shard
        self._monotonic_s = monotonic_s
        self._open: dict[int, _Account] = {}
        self._older: list[int] | None = None
        self._looked_s = -math.inf

    def begin(self, hour: int) -> None:
        """Note that an hour's folder is written in from now on, be it new or left by an earlier process.

        The first time, the hours before it that have no END are noted too. Cost: then one look at every hour's folder,
        and one reading of this hour's flush file.
        """
        if self._older is None:
            known = (one for one in paths.hours(self._home, self._shard) if one < hour)
            self._older = [one for one in known if not paths.end_path(self._home, self._shard, one).exists()]
        account = self._open[hour] = _Account(hour)
        for record in self._records(hour):
            account.add(record)

    def flushed(self, hour: int, record: FlushRecord) -> None:
        """Take in a flush that is acknowledged, and end the hours that are complete by it.

        An END that cannot be written is tried again at the next flush. Raises FencedError where a later process has
        the shard.
        """
        self._open[hour].add(record)
        if len(self._open) > 1:
            self._end_open(hour, record)
        if self._older:
            self._end_older(hour, record)

    def _end_open(self, hour: int, record: FlushRecord) -> None:
        for account in [one for one in self._open.values() if one.hour < hour]:
            account.hear(record)
            if account.complete and self._write(account, record):
                del self._open[account.hour]

    def _end_older(self, hour: int, record: FlushRecord) -> None:
        """End the oldest hour of an earlier process; one that is damaged or not complete is left without END."""
        if self._older and self._monotonic_s() - self._looked_s >= OLDER_EVERY_S:
            self._looked_s = self._monotonic_s()
            try:
                account = self._read(self._older[0], hour)
                done = not account.complete or self._write(account, record)
            except CorruptError:
                done = True  # whoever publishes it meets the damage and says so
            except OSError:
                done = False
            if done:
                del self._older[0]

    def _read(self, hour: int, newest: int) -> _Account:
        """Return the account of an older hour. Cost: its flush file, and later ones while conns of it are in doubt."""
        account = _Account(hour)
        for record in self._records(hour):
            account.add(record)
        for later in paths.hours(self._home, self._shard):
            if account.complete or later > newest:
                break
            if later > hour:
                for record in self._records(later):
                    account.hear(record)
        return account

    def _records(self, hour: int) -> list[FlushRecord]:
        return FlushTail(paths.hour_dir(self._home, self._shard, hour) / paths.FLUSH_NAME).poll()

    def _write(self, account: _Account, record: FlushRecord) -> bool:
        """Write an END; False where stamps may still fall into the hour, or where it could not be written."""
        if record.at_us < account.end_us:
            return False
        end = End(
            shard=self._shard,
            hour=account.hour,
            flush=record.n,
            segments=sorted(account.segments),
            conns=account.conns,
            reach=sorted(account.reach),
            epoch=self._fence.epoch,
        )
        try:
            self._fence.check()
            write_end(self._home, end)
        except OSError:
            return False
        return True
