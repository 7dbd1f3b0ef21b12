"""The published hours as readers see them: which there are, and what their coverage says.

Owns the way in: coverage names every file of an hour, and an hour is there once its coverage is committed. Readers
never list a folder and never trust another table of the lake. Never writes.
"""

import hashlib
import io
from collections import OrderedDict
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from pyarrow import parquet as pq

from book.errors import CorruptError
from lake import paths
from lake.publishing.delta import APP
from lake.schemas import COVERAGE

CACHE_BYTES = 256 << 20


class _State(NamedTuple):
    """One snapshot of the coverage table."""

    version: int
    manifest: int
    files: dict[int, tuple[str, ...]]


_NOTHING = _State(-1, 0, {})


class Shelf:
    """Follow a lake's published hours; safe for many threads. What it says changes in ``refresh`` alone."""

    def __init__(self, lake: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        """Look at the lake under ``lake``, which need not exist yet; coverage of up to ``cache_bytes`` is kept."""
        self.lake = lake
        self._log = paths.table_dir(lake, "coverage") / "_delta_log"
        self._handle: DeltaTable | None = None
        self._state = _NOTHING
        self._seen: tuple[int, int] | None = None
        self._lock = RLock()
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[str, tuple[tuple[pa.Table, pa.Table], int]] = OrderedDict()
        """By file: all rows and those that stand, and their bytes."""
        self._held_bytes = 0

    def refresh(self) -> bool:
        """Take in what was committed since the last call; True where something was.

        Cost: two stats where nothing was; else one read of the log's end, some ms.
        """
        with self._lock:
            mark = self._mark()
            if mark is None:
                return False
            if mark == self._seen and not (self._log / f"{self._state.version + 1:020d}.json").exists():
                return False
            before = self._state
            handle = self._follow(mark)
            if handle is None:
                return False
            self._seen = mark
            if handle is not self._handle or handle.version() != before.version:
                self._state = _snapshot(handle)
                self._handle = handle
            return self._state.version != before.version or self._state.files != before.files

    def hours(self) -> list[int]:
        """Return the published hours, ascending."""
        return sorted(self._state.files)

    def published(self, hour: int) -> bool:
        """Say whether an hour is published."""
        return hour in self._state.files

    def coverage_files(self, hour: int) -> tuple[str, ...]:
        """Return the files with an hour's coverage: other ones with each version. Cost: nothing is read."""
        return self._state.files.get(hour, ())

    def manifest_number(self) -> int:
        """Return the number of the newest publication that coverage holds, 0 where there is none."""
        return self._state.manifest

    def coverage(self, hour: int) -> pa.Table:
        """Return an hour's COVERAGE rows of all versions, sorted; none where it is not published.

        Raises CorruptError where its file is missing or altered. Cost: one read of it, once while it is cached.
        """
        return self._tables(hour)[0]

    def standing_rows(self, hour: int, as_of_us: int | None = None) -> pa.Table:
        """Return an hour's COVERAGE rows that stand now, or those that stood at a knowledge time (microseconds).

        None before the hour was first published. Raises CorruptError as ``coverage`` does.
        """
        rows, standing = self._tables(hour)
        if as_of_us is None:
            return standing
        at = pa.scalar(as_of_us, pa.int64()).cast(pa.timestamp("us", "UTC"))
        left = pc.fill_null(pc.greater(rows["superseded_at"], at), True)
        return rows.filter(pc.and_(pc.less_equal(rows["published_at"], at), left))

    def version(self, hour: int) -> int:
        """Return the standing version of an hour, from 1; 0 where it is not published."""
        return int(pc.max(self.standing_rows(hour)["version"]).as_py() or 0)

    def manifest_of(self, hour: int) -> int:
        """Return the number of the publication that an hour's standing version came with, 0 where there is none."""
        return int(pc.max(self.standing_rows(hour)["manifest"]).as_py() or 0)

    def path(self, table: str, file: str) -> Path:
        """Return where a file stands that coverage names."""
        return paths.table_dir(self.lake, table) / file

    def _mark(self) -> tuple[int, int] | None:
        """Return what changes with the log's folder: which it is and when a name in it last changed."""
        try:
            found = self._log.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _follow(self, mark: tuple[int, int]) -> DeltaTable | None:
        """Return the handle at the newest version; a new one where the log was replaced or cut off behind us."""
        if self._handle is not None and self._seen is not None and self._seen[0] == mark[0]:
            try:
                self._handle.update_incremental()
            except DeltaError:
                pass  # versions in between are gone from the log: its checkpoint has them
            else:
                return self._handle
        try:
            return DeltaTable(self._log.parent)
        except TableNotFoundError:
            return None  # the folder is there, the first version not yet

    def _tables(self, hour: int) -> tuple[pa.Table, pa.Table]:
        """Return an hour's rows: all, and those that stand."""
        files = self._state.files.get(hour, ())
        if not files:
            empty = COVERAGE.empty_table()
            return empty, empty
        key = files[0]
        with self._lock:
            kept = self._cache.get(key)
            if kept is not None:
                self._cache.move_to_end(key)
                return kept[0]
        rows = pa.concat_tables([self._read(file) for file in files])
        found = rows, rows.filter(pc.is_null(rows["superseded_at"]))
        size = sum(table.nbytes for table in found)
        with self._lock:
            self._held_bytes += size - self._cache.pop(key, (found, 0))[1]
            self._cache[key] = found, size
            while self._held_bytes > self._cache_bytes and len(self._cache) > 1:
                self._held_bytes -= self._cache.popitem(last=False)[1][1]
        return found

    def _read(self, file: str) -> pa.Table:
        path = self.path("coverage", file)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise CorruptError(str(path), 0, "a coverage file is missing") from None
        if hashlib.sha256(data).hexdigest() != path.stem.rpartition("-")[2]:
            raise CorruptError(str(path), 0, "its sha256 is not the one it is named by")
        rows = pq.read_table(io.BytesIO(data))
        if not rows.schema.equals(COVERAGE):
            raise CorruptError(str(path), 0, "its columns are not those of coverage")
        return rows


def _snapshot(handle: DeltaTable) -> _State:
    """Return what one version of the coverage table holds: manifest number and files come from the same snapshot."""
    actions = pa.table(handle.get_add_actions(flatten=True))
    columns = (actions[name].to_pylist() for name in ("partition.dt", "partition.hr", "path"))
    files: dict[int, list[str]] = {}
    for dt, hr, file in zip(*columns, strict=True):
        files.setdefault(paths.partition_hour(dt, hr), []).append(file)
    return _State(
        handle.version(), handle.transaction_version(APP) or 0, {hour: tuple(names) for hour, names in files.items()}
    )
