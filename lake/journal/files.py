"""Files kept open for reading.

Owns how many stand open at once and how ranges of one are read. Never knows what the bytes mean, and never writes.

Segments are never written anew under a name that a flush has acknowledged, so an open file stays the right one.
"""

import os
import weakref
from collections import OrderedDict

from book.errors import CorruptError

READ_THROUGH_BYTES = 65_536
"""Bytes between two wanted ranges that are read rather than skipped by a call of its own."""


class OpenFiles:
    """At most ``most`` open files, the longest unused closed first. Not safe for two threads at once."""

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._fds: OrderedDict[str, int] = OrderedDict()
        weakref.finalize(self, _close, self._fds)

    def slices(self, path: str, starts: list[int], ends: list[int]) -> list[memoryview]:
        """Return byte ranges of a file, ascending; ranges near each other are read by one call.

        Raises CorruptError where the file is missing or shorter.
        """
        fd = self._open(path)
        found: list[memoryview] = []
        first = 0
        for last in range(len(starts)):
            if last + 1 < len(starts) and starts[last + 1] - ends[last] <= READ_THROUGH_BYTES:
                continue
            base = starts[first]
            data = os.pread(fd, ends[last] - base, base)
            if len(data) != ends[last] - base:
                raise CorruptError(path, base + len(data), "acknowledged bytes are missing")
            view = memoryview(data)
            found.extend(view[starts[i] - base : ends[i] - base] for i in range(first, last + 1))
            first = last + 1
        return found

    def _open(self, path: str) -> int:
        fd = self._fds.get(path)
        if fd is not None:
            self._fds.move_to_end(path)
            return fd
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise CorruptError(path, 0, "an acknowledged segment is missing") from None
        self._fds[path] = fd
        if len(self._fds) > self._most:
            os.close(self._fds.popitem(last=False)[1])
        return fd


def _close(fds: OrderedDict[str, int]) -> None:
    while fds:
        os.close(fds.popitem()[1])
