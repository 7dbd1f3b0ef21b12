"""The whole log under one home, as a reader of it sees it: all shards, one clock, one lock.

Owns when the journal is looked at again and how much memory reading may hold. Never answers a question.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from lake import paths
from query.catalog import Catalog
from query.rows import RowReader
from query.shard import ShardLog

POLL_EVERY_S = 0.02
INDEX_BYTES = 512 << 20
ROW_BYTES = 256 << 20


class Log:
    """Every shard's journal under a home, followed as it grows; safe for many threads, one question at a time."""

    def __init__(
        self,
        home: Path,
        now_us: Callable[[], int],
        shards: Sequence[int] | None = None,
        *,
        poll_every_s: float = POLL_EVERY_S,
        index_bytes: int = INDEX_BYTES,
        row_bytes: int = ROW_BYTES,
    ) -> None:
        """Follow the journal under ``home``; ``now_us`` is the clock that stamps records.

        ``shards`` are those to read, None for all that are found, also later. The journal is polled at most each
        ``poll_every_s`` seconds of machine time; ``index_bytes`` bounds the row lists of indexed hours (a shard),
        ``row_bytes`` the decoded rows kept (0: none).
        """
        self.home = home
        self.now_us = now_us
        self.rows = RowReader(row_bytes)
        self.lock = RLock()
        self._only = shards
        self._index_bytes = index_bytes
        self._poll_every_s = poll_every_s
        self._polled_s = float("-inf")
        self._depth = 0
        self._shards: dict[int, ShardLog] = {}
        self._catalog = Catalog()

    @property
    def shards(self) -> list[ShardLog]:
        """Return the shards that have a log, by number."""
        return [self._shards[number] for number in sorted(self._shards)]

    @property
    def catalog(self) -> Catalog:
        """Return the metadata, up to date."""
        self._catalog.refresh(self.shards)
        return self._catalog

    def refresh(self) -> None:
        """Take in what was acknowledged since the last look. Cost: nothing within the polling interval."""
        with self.lock:
            now_s = time.monotonic()
            if now_s - self._polled_s < self._poll_every_s:
                return
            for number in paths.shards(self.home):
                if number not in self._shards and (self._only is None or number in self._only):
                    self._shards[number] = ShardLog(self.home, number, self._index_bytes)
            for shard in self._shards.values():
                shard.refresh()
            self._polled_s = now_s

    @contextmanager
    def asked(self) -> Iterator[list[ShardLog]]:
        """Hold the log still for one question: every read inside sees the same records."""
        with self.lock:
            if not self._depth:
                self.refresh()
            self._depth += 1
            try:
                yield self.shards
            finally:
                self._depth -= 1

    def known_until_us(self) -> int | None:
        """Return the latest stamp heard on any conn, None where nothing was recorded yet."""
        with self.asked() as shards:
            return max((mark.last_frame_us for shard in shards for mark in shard.conns.values()), default=None)
