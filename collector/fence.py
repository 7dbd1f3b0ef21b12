"""Whose shard it is: the lock of its folder, and the epoch that tells a later process from an earlier one.

Owns both. Never waits for another process: where one holds the shard, or has begun after this one, this one stops.

The lock keeps two processes of one machine apart. Where it does not hold, a later process is known by its epoch, which
the earlier one looks for before it acknowledges anything.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from book.errors import CollectorError, FencedError
from lake import durable, objects, paths

TRIES = 10
KEPT = 16
"""Epochs whose objects stay; a process whose own has gone is as late as one that sees a higher."""


class Fence:
    """The right to write a shard's log, from construction to ``close``; ``epoch`` is one more than the last one's."""

    def __init__(self, home: Path, shard: int) -> None:
        """Take the lock and the next epoch, durable on return.

        Raises CollectorError where another process holds the shard, OSError.
        """
        self._lock = _locked(home, shard)
        try:
            self.epoch = _begun(home, shard)
        except BaseException:
            self.close()
            raise
        self._own = os.fspath(paths.epoch_path(home, shard, self.epoch))
        self._next = os.fspath(paths.epoch_path(home, shard, self.epoch + 1))

    def check(self) -> None:
        """Raise FencedError where a later process has begun on the shard; OSError. Cost: two looks at a name."""
        if _stands(self._next) or not _stands(self._own):
            raise FencedError(f"a later process than epoch {self.epoch} has begun on this shard: {self._next}")

    def close(self) -> None:
        """Give the shard up."""
        os.close(self._lock)


def _stands(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def _locked(home: Path, shard: int) -> int:
    path = paths.lock_path(home, shard)
    durable.make_folder(path.parent)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise CollectorError(
            f"shard {shard} of {home} belongs to another process; stop it or set KALSHIBOOK_SHARD"
        ) from error
    return lock


def _begun(home: Path, shard: int) -> int:
    """Put the object of the next epoch and return its number; of several processes each gets one of its own."""
    for _ in range(TRIES):
        known = paths.epochs(home, shard)
        epoch = known[-1] + 1 if known else 1
        path = paths.epoch_path(home, shard, epoch)
        durable.make_folder(path.parent)
        if objects.put_new(path, b"%d\n" % os.getpid()):
            for old in known[:-KEPT]:
                with suppress(OSError):
                    paths.epoch_path(home, shard, old).unlink()
            return epoch
    raise CollectorError(f"shard {shard} of {home}: other processes begin on it all the time")
