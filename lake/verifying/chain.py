"""The chain of manifests: what was decided, in order, each link proved.

Owns the proof of manifests and of the files with their coverage rows, and what of them the rest is compared with.
Never looks at a table.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from book.errors import CorruptError
from lake import paths
from lake.publishing import manifest
from lake.publishing.manifest import DataFile, HourEntry, Manifest
from lake.schemas import COVERAGE
from lake.settling.feeds import FILLED
from lake.verifying.findings import FAILURES, Findings
from lake.verifying.journal import Claim

_KEPT_ROWS_FILES = 4


@dataclass(frozen=True)
class Version:
    """One version of an hour: the manifest that decided it, its entry there, and the one that replaced it."""

    manifest: Manifest
    entry: HourEntry
    superseded_us: int | None = None


@dataclass
class Chain:
    """The manifests up to ``last``. ``whole`` is False where one is missing or damaged: nothing rests on it then."""

    lake: Path
    last: int = 0
    whole: bool = True
    hours: dict[int, list[Version]] = field(default_factory=dict)
    """The versions of each hour, from 1."""
    _rows: dict[int, pa.Table] = field(default_factory=dict)
    _ascending: list[int] = field(default_factory=list)

    def version(self, hour: int, upto: int) -> Version | None:
        """Return the version of an hour that stood once manifest ``upto`` was committed."""
        found = [one for one in self.hours.get(hour, ()) if one.manifest.n <= upto]
        return found[-1] if found else None

    def rebuilt(self, shard: int, upto: int) -> dict[int, int]:
        """Return the hours that stood from a rebuild of a shard's log, with its number, once ``upto`` was committed."""
        found: dict[int, int] = {}
        for hour in self.hours:
            version = self.version(hour, upto)
            read = version.entry.shards.get(shard) if version else None
            if read is not None and read.rebuilt:
                found[hour] = read.rebuilt
        return found

    def before(self, hour: int, upto: int, *, imported: bool) -> Version | None:
        """Return what stood before an hour: the latest earlier one of its kind, imported or logged here.

        Published with ``upto`` or before it; None where there is none.
        """
        if len(self._ascending) != len(self.hours):
            self._ascending = sorted(self.hours)
        earlier = reversed(self._ascending[: bisect_left(self._ascending, hour)])
        found = (version for number in earlier if (version := self.version(number, upto)))
        return next((version for version in found if (version.entry.reason == "import") == imported), None)

    def rows(self, version: Version) -> pa.Table:
        """Return the coverage rows that a manifest gave an hour. Raises CorruptError, OSError."""
        number = version.manifest.n
        if number not in self._rows:
            path = manifest.rows_path(self.lake, version.manifest)
            self._rows[number] = pq.read_table(path, partitioning=None)
            while len(self._rows) > _KEPT_ROWS_FILES:
                del self._rows[next(iter(self._rows))]
        return self._rows[number].slice(version.entry.first_row, version.entry.coverage_rows)

    def claims(self) -> dict[tuple[int, int], Claim]:
        """Return what the standing versions say of each (hour, shard), imported ones left out: they have no log."""
        return {
            (hour, shard): Claim(read.flush, read.ended)
            for hour, versions in self.hours.items()
            if versions[-1].entry.reason != "import"
            for shard, read in versions[-1].entry.shards.items()
        }


def verify_chain(lake: Path, hours: Collection[int] | None, findings: Findings) -> Chain:
    """Prove every manifest, and the coverage rows that those of these hours (None: all) decided.

    Cost: a small read a manifest, and the rows files concerned.
    """
    chain = Chain(lake)
    numbers = paths.manifest_numbers(lake)
    chain.last = numbers[-1] if numbers else 0
    folder = paths.manifest_dir(lake)
    before = b""
    at_us = 0
    for number in range(1, chain.last + 1):
        path = folder / paths.manifest_name(number)
        try:
            data = path.read_bytes()
            found = manifest.decode(data, str(path))
            _link(found, number, before, at_us, path)
            _versions(chain, found, path)
        except FAILURES as error:
            chain.whole = False
            findings.doubt(path, "missing" if isinstance(error, FileNotFoundError) else str(error))
            continue
        before, at_us = data, found.at_us
        findings.proved("manifests")
        if hours is None or any(entry.hour in hours for entry in found.hours):
            with findings.doubting(manifest.rows_path(lake, found)):
                _rows(lake, found)
                findings.proved("rows files")
    return chain


def check_file(path: Path, file: DataFile) -> bytes:
    """Return the bytes of a file whose size and sha256 a manifest states. Raises CorruptError where they differ."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CorruptError(str(path), 0, "missing") from None
    if len(data) != file.bytes:
        raise CorruptError(str(path), 0, f"holds {len(data)} bytes, not {file.bytes}")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise CorruptError(str(path), 0, "its sha256 is not the one stated")
    return data


def _link(found: Manifest, number: int, before: bytes, at_us: int, path: Path) -> None:
    if found.n != number:
        raise CorruptError(str(path), 0, f"says that it is manifest {found.n}")
    if found.prev != (hashlib.sha256(before).hexdigest() if number > 1 else ""):
        raise CorruptError(str(path), 0, "its prev is not the sha256 of the manifest before it")
    if found.at_us <= at_us:
        raise CorruptError(str(path), 0, "was not decided after the manifest before it")


def _versions(chain: Chain, found: Manifest, path: Path) -> None:
    """Take a manifest's hours in: each is the next version of its hour."""
    if len({entry.hour for entry in found.hours}) != len(found.hours):
        raise CorruptError(str(path), 0, "names an hour twice")
    for entry in found.hours:
        known = chain.hours.setdefault(entry.hour, [])
        if entry.version != len(known) + 1:
            raise CorruptError(str(path), 0, f"hour {entry.hour} has version {entry.version} after {len(known)}")
        if known:
            known[-1] = Version(known[-1].manifest, known[-1].entry, found.at_us)
        known.append(Version(found, entry))


def _rows(lake: Path, found: Manifest) -> None:
    """Prove a rows file: its bytes, that the hours share it out, and that each row says whose it is."""
    path = manifest.rows_path(lake, found)
    rows = pq.read_table(pa.BufferReader(check_file(path, found.rows_file)))
    if not rows.schema.equals(COVERAGE):
        raise CorruptError(str(path), 0, "its columns are not those of coverage")
    shares = sorted((entry.first_row, entry.coverage_rows) for entry in found.hours)
    at = 0
    for first, count in shares:
        if first != at or count < 0:
            raise CorruptError(str(path), 0, f"its rows from {at} on belong to no hour or to two")
        at += count
    if not at == rows.num_rows == found.rows_file.rows:
        raise CorruptError(str(path), 0, f"holds {rows.num_rows} rows, not {found.rows_file.rows}")
    for entry in found.hours:
        part = rows.slice(entry.first_row, entry.coverage_rows)
        said: dict[str, int | str] = {
            "version": entry.version, "manifest": found.n, "published_at": found.at_us, "reason": entry.reason,
        }  # fmt: skip
        for name, value in said.items():
            if not _only(part[name], value):
                raise CorruptError(str(path), 0, f"rows of hour {entry.hour} have another {name} than the manifest")
        if part["superseded_at"].null_count != part.num_rows:
            raise CorruptError(str(path), 0, f"rows of hour {entry.hour} are superseded from the start")
        start_us, end_us = paths.hour_start_us(entry.hour), paths.hour_start_us(entry.hour + 1)
        part = part.filter(pc.not_equal(part["state"], FILLED))  # these name a stretch that may lie in an earlier hour
        if not _within(part["ts_from"], start_us, end_us) or not _within(part["ts_to"], start_us, end_us):
            raise CorruptError(str(path), 0, f"rows of hour {entry.hour} lie outside it")


def _only(column: pa.ChunkedArray, value: int | str) -> bool:
    plain = column.cast("int64") if pa.types.is_timestamp(column.type) else column
    return bool(pc.all(pc.equal(plain, value), skip_nulls=False, min_count=0).as_py())


def _within(column: pa.ChunkedArray, start_us: int, end_us: int) -> bool:
    plain = column.cast("int64")
    inside = pc.and_(pc.greater_equal(plain, start_us), pc.less_equal(plain, end_us))
    return bool(pc.all(inside, skip_nulls=False, min_count=0).as_py())
