"""The published hours as questions read them.

Owns which version of an hour is read, and how much of hours is held in memory. Hours are read as they are asked about;
what is held changes no answer. Never decides what an hour says of a market.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from lake.publishing import parquet
from lake.publishing.shelf import Shelf
from query.directory import Directory
from query.hour_coverage import HourCoverage
from query.memory import Memory
from query.part_files import PartFiles
from query.publications import Publications, Version
from query.published_hour import PublishedHour

COVERAGE_BYTES = 64 << 20


class Edition(NamedTuple):
    """Which version of each hour counts: the newest of publication ``manifest`` or before it, None for the newest.

    An hour first published after it counts as it stands now, from the lake or from its folder; where ``alone`` it
    does not count at all, and no folder does.
    """

    manifest: int | None = None
    alone: bool = False


NOW = Edition()


class Published:
    """Follow the published hours of a lake. Not safe for two threads at once."""

    def __init__(self, lake: Path, rows: Memory, index: Memory) -> None:
        """Follow ``lake``; decoded rows go into ``rows``, what is derived of hours into ``index``."""
        self.changes = 0
        """Grows whenever an hour is published."""
        self._shelf = Shelf(lake, cache_bytes=COVERAGE_BYTES)
        self._publications = Publications(self._shelf)
        self._index = index
        self._files = PartFiles(self._shelf.path, rows)
        self.directory = Directory(self._shelf)

    @property
    def shards(self) -> frozenset[int]:
        """Return the shards that hours were published from."""
        return self._publications.shards

    def refresh(self) -> bool:
        """Take in what was published since the last call; say whether anything was. Cost: two stats if not."""
        if not self._shelf.refresh():
            return False
        self._publications.refresh()
        self.changes += 1
        return True

    def manifest_number(self) -> int:
        """Return the number of the newest publication, 0 where there is none."""
        return self._shelf.manifest_number()

    def edition(self, manifest: int) -> Edition:
        """Return what stood at a publication: the newest hours where none was replaced since."""
        return Edition(manifest) if self._publications.last_rewritten > manifest else NOW

    def as_of(self, ts_us: int) -> Edition:
        """Return what stood alone at a time of knowledge."""
        found = [version for versions in self._publications.hours.values() for version in versions]
        return Edition(max((each.manifest for each in found if each.at_us <= ts_us), default=0), alone=True)

    def stood(self, hour: int, edition: Edition) -> bool:
        """Say whether an hour counts in an edition."""
        return _chosen(self._publications.hours.get(hour, ()), edition) is not None

    def conn_end(self, conn: int) -> int | None:
        """Return the last published hour that tells of a conn, None where none does."""
        return self._publications.conn_ends.get(conn)

    def versions(self, edition: Edition) -> Mapping[int, Version]:
        """Return the hours that an edition has, ascending, each in its version."""
        hours = self._publications.hours
        found = ((hour, _chosen(hours[hour], edition)) for hour in sorted(hours))
        return {hour: version for hour, version in found if version is not None}

    def hour(self, number: int, version: Version) -> PublishedHour:
        """Return a version of an hour. Raises CorruptError.

        Cost: reads the hour's coverage where it is not held, some ms.
        """
        key = ("hour", number, version.version)
        found: PublishedHour | None = self._index.get(key)
        if found is None:
            coverage = HourCoverage(number, self._rows(number, version.version))
            found = PublishedHour(coverage, version.version, self._files, self._index)
            self._index.put(key, found, coverage.size_bytes)
        return found

    def metadata(self) -> Mapping[int, tuple[Version, ...]]:
        """Return the versions of every published hour, whose files of metadata they name."""
        return self._publications.hours

    def read(self, table: str, file: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return a file of the lake, with all columns or those named. Raises CorruptError."""
        return parquet.read_file(self._shelf.path(table, file), table, columns)

    def of_market(self, table: str, file: str, ticker: str) -> pa.Table:
        """Return a market's rows of a file of the lake. Raises CorruptError. Cost: its row groups with the market."""
        return self._files.of_market(table, file, ticker)

    def _rows(self, hour: int, version: int) -> pa.Table:
        """Return the coverage rows of a version."""
        if self._shelf.version(hour) == version:
            return self._shelf.standing_rows(hour)
        rows = self._shelf.coverage(hour)
        return rows.filter(pc.equal(rows["version"], version))


def _chosen(versions: tuple[Version, ...], edition: Edition) -> Version | None:
    if edition.manifest is None:
        return versions[-1] if versions else None
    stood = [version for version in versions if version.manifest <= edition.manifest]
    if stood:
        return stood[-1]
    return versions[-1] if versions and not edition.alone else None
