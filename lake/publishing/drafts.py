"""One hour made ready to be published: settled, proved, written, and told as coverage. Nothing of it shows yet.

Owns step 1 of a publication: the files of an hour's new version, each proved against its sources. Decides nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from lake import paths
from lake.objects import Step
from lake.publishing import parquet
from lake.publishing.manifest import Account, DataFile, HourEntry, ShardRead
from lake.schemas import COVERAGE, SORT_KEYS
from lake.settling import coverage, proof
from lake.settling.coverage import FilePart
from lake.settling.settle import SettledHour
from lake.settling.standing import Standing
from lake.settling.switches import effective

_ANY_SHARD: Mapping[str, int] = {}


@dataclass
class Draft:
    """An hour's new version. ``rows`` are its coverage rows, ``table`` ones among them, not stamped with a version."""

    hour: int
    files: dict[str, list[DataFile]]
    rows: pa.Table
    shards: Mapping[int, ShardRead]
    conns: Mapping[int, Account]
    counts: Mapping[str, object]
    after: int | None = None
    version: int = 1
    reason: str = "hour"
    written: list[Path] = field(default_factory=list)
    """The new files, for taking them away where nothing will name them."""

    def same_as(self, entry: HourEntry, standing_rows: pa.Table) -> bool:
        """Say whether a published version holds the same rows and says the same of them."""
        old = {table: files for table, files in entry.files.items() if table != "corrections" and files}
        if {table: _contents(files) for table, files in old.items()} != {
            table: _contents(files) for table, files in self.files.items()
        }:
            return False
        return bool(_sayings(self.rows).equals(_sayings(standing_rows)))

    def discard(self) -> None:
        """Remove the files, which nothing names."""
        for path in self.written:
            path.unlink(missing_ok=True)
        self.written.clear()

    def add_file(self, lake: Path, table: str, data: DataFile) -> None:
        """Take in a file that was written for this version."""
        self.files.setdefault(table, []).append(data)
        self.written.append(paths.table_dir(lake, table) / data.file)


def draft(
    lake: Path,
    settled: SettledHour,
    standing: Standing,
    *,
    shards: Mapping[int, ShardRead],
    conns: Mapping[int, Account],
    step: Step,
    max_rows: int = parquet.MAX_FILE_ROWS,
) -> Draft:
    """Write a settled hour's files, prove them, and derive its coverage.

    Steps: ``<table>.file`` and ``.placed`` around each file, ``<table>.proved``, ``covered``. Raises ProofError,
    CorruptError; then the files are removed. Cost: the rows once more in memory, a row group at a time.
    """
    found = Draft(settled.hour, {}, coverage.DERIVED.empty_table(), shards, conns, msgspec.to_builtins(settled.counts))
    parts: list[FilePart] = []
    try:
        if "orderbook" in settled.tables:
            proof.prove_order(settled.tables["orderbook"])
            proof.prove_replay(settled.tables["orderbook"], effective(standing, settled.chosen))
        for table, rows in sorted(settled.tables.items()):
            below = _below(table, step)
            written = parquet.write_hour(lake, table, settled.hour, rows, max_rows=max_rows, step=below)
            for data, first_row in written:
                found.add_file(lake, table, data)
                if table == "orderbook":
                    parts.append(FilePart(data.file, first_row, data.rows))
            proof.prove_conserved(settled.prints, table, _rows_of(lake, table, [data for data, _ in written]))
            below("proved")
        derived = coverage.derive(settled, parts, standing)
    except BaseException:
        found.discard()
        raise
    found.rows = with_tables(derived, settled.hour, found.files, settled.tables_from)
    step("covered")
    return found


def with_tables(
    derived: pa.Table, hour: int, files: Mapping[str, Sequence[DataFile]], shards: Mapping[str, int] = _ANY_SHARD
) -> pa.Table:
    """Return coverage rows with one of state ``table`` added for each file of the hour, in published order.

    ``shards`` says of which shard a table's rows are, where there was a choice.
    """
    start_us, end_us = paths.hour_start_us(hour), paths.hour_start_us(hour + 1)
    rows: list[dict[str, object]] = [
        {
            "ticker": "*",
            "channel": table,
            "state": "table",
            "shard": shards.get(table),
            "ts_from": start_us,
            "ts_to": end_us,
            **dict.fromkeys(("snapshots", "deltas", "checkpoints", "closes", "orphans", "audits"), 0),
            "file": data.file,
            "first_row": 0,
            "rows": data.rows,
            "bases": [],
        }
        for table, found in files.items()
        for data in found
    ]
    merged = pa.concat_tables([derived, pa.Table.from_pylist(rows, schema=coverage.DERIVED)])
    keys = [(name, "ascending", "at_start") for name in SORT_KEYS["coverage"] if name in coverage.DERIVED.names]
    return merged.take(pc.sort_indices(merged, sort_keys=keys))


def stamped(draft: Draft, number: int, at_us: int) -> pa.Table:
    """Return a draft's coverage rows as they are published: COVERAGE, with version, manifest, time and reason."""
    size = draft.rows.num_rows
    values = {
        "version": pa.scalar(draft.version, pa.int32()),
        "manifest": pa.scalar(number, pa.int64()),
        "published_at": pa.scalar(at_us, pa.int64()).cast(COVERAGE.field("published_at").type),
        "superseded_at": pa.scalar(None, COVERAGE.field("superseded_at").type),
        "reason": pa.scalar(draft.reason, pa.utf8()),
    }
    columns = [pa.repeat(values[name], size) if name in values else draft.rows[name] for name in COVERAGE.names]
    return pa.table(columns, schema=COVERAGE)


def _rows_of(lake: Path, table: str, files: Sequence[DataFile]) -> Iterator[pa.Table]:
    """Yield the rows of files that hold just the bytes that their entries say. Raises CorruptError."""
    for data in files:
        path = paths.table_dir(lake, table) / data.file
        parquet.check_bytes(path, data)
        yield from parquet.row_groups(path, table)


def _contents(files: Sequence[DataFile]) -> list[tuple[str, int]]:
    return [(data.sha256, data.rows) for data in files]


def _sayings(rows: pa.Table) -> pa.Table:
    """Return what coverage rows say, but for the names of files and the version."""
    kept = [name for name in coverage.DERIVED.names if name != "file"]
    return rows.filter(pc.not_equal(rows["channel"], "corrections")).select(kept).combine_chunks()


def _below(name: str, step: Step) -> Step:
    return lambda part: step(f"{name}.{part}")
