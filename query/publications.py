"""Which versions of which hours were published, in which order, from which shards.

Owns the list of publications, so that hours can be told apart without reading their coverage. Never reads a row, but
where a manifest cannot be read: then coverage says the same.
"""

from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa

from book.errors import CorruptError
from lake.publishing import manifest
from lake.publishing.shelf import Shelf

METADATA = ("markets", "events", "series")


class Version(NamedTuple):
    """One version of an hour: its number, its publication, and when that was (microseconds)."""

    version: int
    manifest: int
    at_us: int
    shards: frozenset[int]
    """Those whose logs it was made from."""
    files: dict[str, tuple[str, ...]]
    """The files of the tables of metadata."""


class Publications:
    """Follow a lake's publications, as far as its coverage is committed. Changes in ``refresh`` alone."""

    def __init__(self, shelf: Shelf) -> None:
        self.hours: dict[int, tuple[Version, ...]] = {}
        """The versions of each published hour, from 1."""
        self.shards: frozenset[int] = frozenset()
        self.conn_ends: dict[int, int] = {}
        """The last hour that was published with messages of each conn, or with how far it was heard."""
        self.last_rewritten = 0
        """The newest publication that gave an hour a version after its first."""
        self._shelf = shelf
        self._read = 0
        self._unreadable = False

    def refresh(self) -> None:
        """Take in the publications since the last call, once the shelf has changed.

        Cost: one small read of each, at first of all. Where one cannot be read: the coverage of every hour.
        """
        newest = self._shelf.manifest_number()
        if newest < self._read:
            self.hours, self.conn_ends, self._read = {}, {}, 0  # another lake under the same name
        if not self._unreadable:
            try:
                while self._read < newest:
                    self._take(manifest.read(self._shelf.lake, self._read + 1))
                    self._read += 1
            except CorruptError:
                self._unreadable = True
        if self._unreadable:
            for hour in self._shelf.hours():
                rows = self._shelf.coverage(hour)
                self.hours[hour] = _from_coverage(rows)
                self._hear(hour, rows["conn"].unique().drop_null().to_pylist())
            self._read = newest
        versions = [version for found in self.hours.values() for version in found]
        self.shards = frozenset(shard for version in versions for shard in version.shards)
        self.last_rewritten = max((version.manifest for version in versions if version.version > 1), default=0)

    def _take(self, found: manifest.Manifest) -> None:
        for entry in found.hours:
            files = {table: tuple(file.file for file in entry.files.get(table, ())) for table in METADATA}
            version = Version(entry.version, found.n, found.at_us, frozenset(entry.shards), files)
            self.hours[entry.hour] = (*self.hours.get(entry.hour, ()), version)
            self._hear(entry.hour, entry.conns)

    def _hear(self, hour: int, conns: Iterable[int]) -> None:
        for conn in conns:
            self.conn_ends[conn] = max(hour, self.conn_ends.get(conn, hour))


def _from_coverage(rows: pa.Table) -> tuple[Version, ...]:
    """Return the versions that an hour's coverage tells of."""
    names = ("version", "manifest", "published_at", "shard", "state", "channel", "file")
    columns = [rows[name].cast("int64") if name == "published_at" else rows[name] for name in names]
    found: dict[int, tuple[int, int, set[int], dict[str, list[str]]]] = {}
    for number, publication, at_us, shard, state, channel, file in zip(
        *(column.to_pylist() for column in columns), strict=True
    ):
        shards, files = found.setdefault(number, (publication, at_us, set(), {}))[2:]
        if shard is not None:
            shards.add(shard)
        if state == "table" and channel in METADATA:
            files.setdefault(channel, []).append(file)
    return tuple(
        Version(number, *found[number][:2], frozenset(found[number][2]), _named(found[number][3]))
        for number in sorted(found)
    )


def _named(files: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {table: tuple(files.get(table, ())) for table in METADATA}
