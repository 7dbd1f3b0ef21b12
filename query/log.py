"""Everything recorded, as a reader of it sees it: all shards, published hours and folders, one clock, one lock.

Owns when the disk is looked at again and how much memory reading may hold. Never answers a question.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import pyarrow as pa

from lake import paths
from query.catalog import Catalog
from query.folder_rows import FolderRows
from query.folders import Folders
from query.memory import Memory
from query.published import Edition, Published
from query.shard import ShardLog

POLL_EVERY_S = 0.02
INDEX_BYTES = 512 << 20
ROW_BYTES = 256 << 20
_KEPT_EDITIONS = 4


class Log:
    """Every shard under a home and in a lake, followed as they grow; safe for many threads, one question at a time."""

    def __init__(
        self,
        home: Path,
        now_us: Callable[[], int],
        shards: Sequence[int] | None = None,
        *,
        lake: Path | None = None,
        poll_every_s: float = POLL_EVERY_S,
        index_bytes: int = INDEX_BYTES,
        row_bytes: int = ROW_BYTES,
    ) -> None:
        """Follow the journal under ``home`` and the hours published in ``lake``; neither need be there yet.

        A published hour is read instead of its folder. ``now_us`` is the clock that stamps records. ``shards`` are
        those to read, None for all that are found, also later. The disk is polled at most each ``poll_every_s``
        seconds of machine time; ``index_bytes`` bounds what is known of hours (once for the lake, once for each
        shard's journal), ``row_bytes`` the decoded rows kept (0: none).
        """
        self.home = home
        self.now_us = now_us
        self.rows = Memory(row_bytes)
        """The decoded rows that are kept."""
        self.lock = RLock()
        self._only = shards
        self._index_bytes = index_bytes
        self._folder_rows = FolderRows(self.rows)
        self._published = Published(lake, self.rows, Memory(index_bytes)) if lake is not None else None
        self._poll_every_s = poll_every_s
        self._polled_s = float("-inf")
        self._depth = 0
        self._shards: dict[int, ShardLog] = {}
        self._editions: OrderedDict[Edition, dict[int, ShardLog]] = OrderedDict()
        self._catalog = Catalog(self._published)

    @property
    def shards(self) -> list[ShardLog]:
        """Return the shards of which anything was recorded, by number."""
        return [self._shards[number] for number in sorted(self._shards)]

    @property
    def catalog(self) -> Catalog:
        """Return the metadata, up to date."""
        self._catalog.refresh(self.shards)
        return self._catalog

    def metadata_down(self, ticker: str, at_us: int, since_us: int) -> Iterator[pa.Table]:
        """Yield the rows of markets of each hour from that of an instant down to another's; others' rows among them.

        Raises CorruptError.
        """
        in_lake = self._published.metadata() if self._published else {}
        in_folders = {hour for shard in self.shards for hour in shard.folder_hours()}
        for hour in sorted(in_folders.union(in_lake), reverse=True):
            if not paths.hour_of(since_us) <= hour <= paths.hour_of(at_us):
                continue
            parts = []
            if self._published and hour in in_lake:
                parts += [self._published.of_market("markets", f, ticker) for f in in_lake[hour][-1].files["markets"]]
            for shard in self.shards:
                if shard.folders is not None and hour in shard.folder_hours():
                    parts.append(shard.folders.hours[hour].table("markets"))
            if parts:
                yield pa.concat_tables(parts)

    def refresh(self) -> None:
        """Take in what is acknowledged and published by now. Cost: nothing within the polling interval."""
        with self.lock:
            now_s = time.monotonic()
            if now_s - self._polled_s < self._poll_every_s:
                return
            if self._published:
                self._published.refresh()
            in_journal = paths.shards(self.home)
            for number in sorted({*in_journal, *(self._published.shards if self._published else ())}):
                if number not in self._shards and (self._only is None or number in self._only):
                    folders = Folders(self.home, number, self._index_bytes, self._folder_rows)
                    self._shards[number] = ShardLog(number, folders, self._published)
            for shard in self._shards.values():
                shard.refresh()
            self._polled_s = now_s

    @contextmanager
    def asked(self) -> Iterator[list[ShardLog]]:
        """Hold everything still for one question: every read inside sees the same records."""
        with self.lock:
            if not self._depth:
                self.refresh()
            self._depth += 1
            try:
                yield self.shards
            finally:
                self._depth -= 1

    def pin(self) -> int:
        """Return what a later page is pinned to: the number of the newest publication, 0 where there is none."""
        return self._published.manifest_number() if self._published else 0

    def pinned(self, pin: int) -> list[ShardLog]:
        """Return the shards with each published hour in the version that stood at a publication."""
        edition = self._published.edition(pin) if self._published else None
        return self._edition(edition) if edition and edition.manifest is not None else self.shards

    def as_of(self, ts_us: int) -> list[ShardLog]:
        """Return the shards as they stood published at a time (microseconds), without any folder."""
        return self._edition(self._published.as_of(ts_us)) if self._published else []

    def known_until_us(self) -> int | None:
        """Return the latest stamp heard on any conn, None where nothing was recorded yet."""
        with self.asked() as shards:
            heard = (shard.heard_until() for shard in shards)
            return max((ts_us for ts_us in heard if ts_us is not None), default=None)

    def _edition(self, edition: Edition) -> list[ShardLog]:
        """Return the shards in an edition; a few editions are kept."""
        kept = self._editions.setdefault(edition, {})
        self._editions.move_to_end(edition)
        if len(self._editions) > _KEPT_EDITIONS:
            self._editions.popitem(last=False)
        for shard in self.shards:
            if shard.shard not in kept:
                folders = None if edition.alone else shard.folders
                kept[shard.shard] = ShardLog(shard.shard, folders, self._published, edition)
            kept[shard.shard].refresh()
        return [kept[shard.shard] for shard in self.shards]
