"""What was read and decoded before, kept up to a bound in bytes.

Owns what is dropped: the longest unused. Never reads anything.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Memory:
    """Keep values by key, up to about ``most_bytes`` (0: nothing). Not safe for two threads at once."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held = 0
        """Bytes kept, as told."""
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """Return what is kept under a key, None where nothing is."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: Any, size_bytes: int) -> None:
        """Keep a value of about this size in place of what was there; what is kept least recently goes, never it."""
        if not self.most_bytes:
            return
        before = self._kept.pop(key, None)
        self.held += size_bytes - (before[1] if before else 0)
        self._kept[key] = (value, size_bytes)
        while self.held > self.most_bytes and len(self._kept) > 1:
            self.held -= self._kept.popitem(last=False)[1][1]

    def drop(self, where: Callable[[Hashable], bool]) -> None:
        """Drop what is kept under keys of a kind. Cost: a look at every key."""
        for key in [key for key in self._kept if where(key)]:
            self.held -= self._kept.pop(key)[1]

    def forget(self) -> None:
        """Drop everything."""
        self._kept.clear()
        self.held = 0
