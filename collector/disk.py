"""The room on the disk that the log stands on: when recording stops, when it goes on, and the reserve for its closes.

Owns the judgement of free space and the reserve file. Never writes the log. Blocking, but for microseconds.
"""

import os
from contextlib import suppress
from pathlib import Path

from lake import durable

GIB = 1 << 30
RESERVE_BYTES = 16 << 20
BYTES_PER_CLOSE = 512
"""A close takes about 100 bytes in its segment before compression; the reserve holds what is under way beside them."""


def reserve_bytes(markets: int) -> int:
    """Return how large a reserve must be for the closes of that many markets."""
    return max(RESERVE_BYTES, markets * BYTES_PER_CLOSE)


class Reserve:
    """A file of ``size_bytes`` that holds room on the disk until it is given back."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes

    @property
    def held(self) -> bool:
        """Whether the file stands."""
        return self.path.exists()

    def release(self) -> bool:
        """Give the bytes back; say whether there were any. Raises OSError."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def hold(self) -> bool:
        """Make the file where it is missing; say whether it stands."""
        if self.held:
            return True
        try:
            fd = durable.create(self.path)
            try:
                os.posix_fallocate(fd, 0, self.size_bytes)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError:
            with suppress(OSError):
                self.path.unlink()
            return False
        return True


class Disk:
    """The free space of the disk that ``reserve`` stands on, against two marks.

    Below ``stop_bytes`` free recording stops; from ``resume_bytes`` on, the reserve made anew, it resumes.
    """

    def __init__(self, reserve: Reserve, *, stop_bytes: int, resume_bytes: int) -> None:
        self.reserve = reserve
        self._stop_bytes = stop_bytes
        self._resume_bytes = resume_bytes

    def free_bytes(self) -> int:
        """Return the bytes that may still be written, beside the reserve. Raises OSError."""
        found = os.statvfs(self.reserve.path.parent)
        return found.f_bavail * found.f_frsize

    def short(self) -> bool:
        """Say whether so little is free that recording must stop."""
        return self.free_bytes() < self._stop_bytes

    def roomy(self) -> bool:
        """Say whether recording may go on after a stop; then the reserve stands again."""
        beside = 0 if self.reserve.held else self.reserve.size_bytes
        return self.free_bytes() - beside >= self._resume_bytes and self.reserve.hold()
