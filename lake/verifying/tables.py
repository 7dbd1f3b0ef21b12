"""The tables as Delta has them, against what the manifests decided.

Owns the proof that each table holds the files of the standing versions, each once, and no other; and that coverage
holds the rows of every version, those replaced marked so. Never opens a data file.

A publication under way is no doubt: its manifest stands, some tables may have it, and coverage not yet.
"""

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError

from lake import paths
from lake.publishing import delta
from lake.schemas import COVERAGE, PUBLISHED
from lake.verifying.chain import Chain
from lake.verifying.findings import FAILURES, Findings

_KEYS = [(field.name, "ascending") for field in COVERAGE if not pa.types.is_list(field.type)]


@dataclass(frozen=True)
class Active:
    """What a table holds: the newest manifest in it, and its files, an action a row; ``rows`` are each hour's."""

    manifest: int = 0
    actions: pa.Table | None = None
    rows: dict[int, list[int]] = field(default_factory=dict)

    def files(self, hour: int) -> list[dict[str, Any]]:
        """Return the actions of an hour's files."""
        if self.actions is None:
            return []
        return [self.actions.slice(row, 1).to_pylist()[0] for row in self.rows.get(hour, [])]


def read_active(lake: Path, table: str, findings: Findings) -> Active | None:
    """Return what a table holds, nothing where it does not exist; None where its log cannot be read, a doubt.

    Cost: opens its log; some ms.
    """
    root = paths.table_dir(lake, table)
    try:
        return _active(root, table) if (root / "_delta_log").is_dir() else Active()
    except FAILURES as error:
        findings.doubt(root, str(error))
        return None


def _active(root: Path, table: str) -> Active:
    try:
        handle = DeltaTable(root)
        actions = pa.table(handle.get_add_actions(flatten=True))
        number = handle.transaction_version(delta.APP) or 0
        schema, reader = handle.schema(), handle.protocol().min_reader_version
    except DeltaError as error:
        raise ValueError(f"its log cannot be read: {error}") from error
    if schema != Schema.from_arrow(delta.schema_of(table)) or reader != 1:
        raise ValueError("its columns or its protocol are not those of the table")
    rows: dict[int, list[int]] = {}
    partitions = zip(actions["partition.dt"].to_pylist(), actions["partition.hr"].to_pylist(), strict=True)
    for row, (dt, hr) in enumerate(partitions):
        rows.setdefault(paths.partition_hour(dt, hr), []).append(row)
    return Active(number, actions, rows)


def verify_files(chain: Chain, active: dict[str, Active], hours: Collection[int], findings: Findings) -> None:
    """Prove that each table's files of these hours are those that the manifests name, each once.

    ``active`` is what each table holds, coverage among them.
    """
    committed = active["coverage"].manifest
    if not chain.last - 1 <= committed <= chain.last:
        folder = paths.table_dir(chain.lake, "coverage")
        findings.doubt(folder, f"holds publications up to {committed}; the manifests go up to {chain.last}")
    for table, held in active.items():
        if table != "coverage":
            upto = max(committed, held.manifest)
            if upto > chain.last:
                folder = paths.table_dir(chain.lake, table)
                findings.doubt(folder, f"holds publication {upto}; the manifests go up to {chain.last}")
            for hour in sorted(hours):
                _compare(chain, table, hour, upto, held.files(hour), findings)


def _compare(chain: Chain, table: str, hour: int, upto: int, held: list[dict[str, Any]], findings: Findings) -> None:
    version = chain.version(hour, upto)
    named = version.entry.files.get(table, []) if version else []
    wanted = Counter((file.file, file.bytes, file.rows) for file in named)
    found = Counter((one["path"], one["size_bytes"], one["num_records"]) for one in held)
    root = paths.table_dir(chain.lake, table)
    for file, size, rows in (wanted - found).elements():
        findings.doubt(root / file, f"is not in the table with {size} bytes and {rows} rows, as published")
    for file, size, rows in (found - wanted).elements():
        findings.doubt(root / file, f"is in the table with {size} bytes and {rows} rows; that was not published")
    for one in held:
        _statistics(root, table, one, findings)
    findings.proved("files of tables", (wanted & found).total())


def _statistics(root: Path, table: str, action: dict[str, Any], findings: Findings) -> None:
    """Prove that what a table says of a file's values is what its footer says: readers skip files by it."""
    path = root / action["path"]
    with findings.doubting(path):
        footer = delta.stats_of(path, table)
        for ours, theirs in (("min", "minValues"), ("max", "maxValues"), ("null_count", "nullCount")):
            for name, value in footer[theirs].items():
                stated = action.get(f"{ours}.{name}")
                if isinstance(stated, datetime):
                    value = datetime.fromisoformat(value)
                if stated != value:
                    findings.doubt(path, f"the table says {stated} for {ours} of {name}, the file {value}")


def verify_coverage(chain: Chain, held: Active, hours: Collection[int], findings: Findings) -> None:
    """Prove that coverage holds the rows of all versions of these hours, with what replaced them. Cost: reads them."""
    for hour in sorted(hours):
        folder = (paths.table_dir(chain.lake, "coverage") / paths.data_file(hour, "_")).parent
        with findings.doubting(folder):
            _coverage_of(chain, held, hour, findings)


def _coverage_of(chain: Chain, held: Active, hour: int, findings: Findings) -> None:
    root = paths.table_dir(chain.lake, "coverage")
    folder = (root / paths.data_file(hour, "_")).parent
    for path in sorted(folder.glob("*.parquet")) if folder.is_dir() else []:
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem.rpartition("-")[2]:
            findings.doubt(path, "its sha256 is not the one that it is named by")
    parts = []
    for one in held.files(hour):
        path = root / one["path"]
        if path.parent != folder:
            findings.doubt(path, "stands in the partition of another hour")
        data = path.read_bytes()
        part = pq.read_table(pa.BufferReader(data))
        if (len(data), part.num_rows) != (one["size_bytes"], one["num_records"]) or not part.schema.equals(COVERAGE):
            findings.doubt(path, "is not what its table says of it")
        _statistics(root, "coverage", one, findings)
        parts.append(part)
    decided = []
    for version in chain.hours.get(hour, []):
        if version.manifest.n <= held.manifest:
            over_us = version.superseded_us
            replaced = over_us is not None and chain.hours[hour][version.entry.version].manifest.n <= held.manifest
            decided.append(_superseded(chain.rows(version), over_us if replaced else None))
    found = pa.concat_tables(parts) if parts else COVERAGE.empty_table()
    wanted = pa.concat_tables(decided) if decided else COVERAGE.empty_table()
    if not _same(found, wanted):
        findings.doubt(folder, f"holds {found.num_rows} rows that are not the {wanted.num_rows} decided")
        return
    findings.proved("coverage rows", found.num_rows)


def _superseded(rows: pa.Table, at_us: int | None) -> pa.Table:
    place = COVERAGE.get_field_index("superseded_at")
    column = (
        pa.nulls(rows.num_rows, pa.int64()) if at_us is None else pa.repeat(pa.scalar(at_us, pa.int64()), rows.num_rows)
    )
    return rows.set_column(place, COVERAGE.field(place), column.cast(COVERAGE.field(place).type))


def _same(one: pa.Table, other: pa.Table) -> bool:
    if one.num_rows != other.num_rows:
        return False
    sorted_one, sorted_other = (rows.take(pc.sort_indices(rows, sort_keys=_KEYS)) for rows in (one, other))
    return bool(sorted_one.combine_chunks().equals(sorted_other.combine_chunks()))


def tables(lake: Path) -> list[str]:
    """Return the tables that a lake may have, coverage first: what it holds is read before what it rests on."""
    return ["coverage", *(table for table in PUBLISHED if table != "coverage")]
