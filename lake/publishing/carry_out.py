"""Carrying out what a manifest decided: each table's commit, and coverage's last of all.

Owns the order in which a publication becomes visible: nothing of it is until coverage is committed, then all of it is.
Whoever comes first after a crash finishes what was decided; each part is done once, whoever tries. Decides nothing.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake import paths
from lake.objects import Step, no_step
from lake.publishing import delta, manifest, parquet
from lake.publishing.manifest import DataFile, HourEntry, Manifest
from lake.schemas import COVERAGE, SORT_KEYS


def finish(lake: Path, step: Step = no_step) -> int:
    """Carry out every manifest that is not yet; return the number of the last one, 0 where there is none.

    Raises CorruptError where the chain or a file is damaged, PublishError. Cost: a listing, and a look at coverage's
    log where nothing is left to do.
    """
    delta.ensure_tables(lake)
    last = manifest.last_number(lake)
    if last:
        manifest.make_durable(lake, last)
    for number in range(delta.committed(lake, "coverage") + 1, last + 1):
        carry_out(lake, manifest.read_chained(lake, number), step)
    if last:
        delta.make_durable(lake, "coverage")
    return last


def carry_out(lake: Path, decided: Manifest, step: Step = no_step) -> None:
    """Commit a manifest to its tables, then to coverage, durable on return; what is done already is left alone.

    The manifests before it must be carried out. Steps: ``3.<table>`` before each table, ``3.<table>.commit`` and
    ``.committed``, then ``4.coverage`` likewise. Raises CorruptError where a file is missing or altered, PublishError.
    """
    hours = [entry.hour for entry in decided.hours]
    for table in sorted({table for entry in decided.hours for table in entry.files}):
        touched = [entry for entry in decided.hours if table in entry.files]
        files = [(entry.hour, data) for entry in touched for data in entry.files[table]]
        step(f"3.{table}")
        delta.commit(
            lake,
            table,
            decided.n,
            [entry.hour for entry in touched],
            lambda _handle, files=files: files,  # type: ignore[misc]  # bound now
            _below(f"3.{table}", step),
        )
    step("4.coverage")
    rows = _new_rows(lake, decided)
    below = _below("4.coverage", step)

    def build(handle: DeltaTable) -> list[tuple[int, DataFile]]:
        return [(entry.hour, _write_coverage(lake, handle, decided, entry, rows, below)) for entry in decided.hours]

    delta.commit(lake, "coverage", decided.n, hours, build, below)


def _new_rows(lake: Path, decided: Manifest) -> pa.Table:
    path = manifest.rows_path(lake, decided)
    parquet.check_bytes(path, decided.rows_file)
    return parquet.read_file(path, "coverage")


def _write_coverage(
    lake: Path, handle: DeltaTable, decided: Manifest, entry: HourEntry, rows: pa.Table, step: Step
) -> DataFile:
    """Write an hour's coverage anew: the rows there were, those that stood superseded now, and the new ones."""
    known = [
        parquet.read_file(paths.table_dir(lake, "coverage") / file, "coverage")
        for file in delta.files_of(handle, [entry.hour]).get(entry.hour, [])
    ]
    now = pa.scalar(decided.at_us, pa.int64()).cast(COVERAGE.field("superseded_at").type)
    index = COVERAGE.get_field_index("superseded_at")
    old = [part.set_column(index, COVERAGE.field(index), pc.fill_null(part["superseded_at"], now)) for part in known]
    merged = pa.concat_tables([*old, rows.slice(entry.first_row, entry.coverage_rows)])
    keys = [(name, "ascending", "at_start") for name in SORT_KEYS["coverage"]]
    return parquet.write_new(lake, "coverage", entry.hour, merged.take(pc.sort_indices(merged, sort_keys=keys)), step)


def _below(name: str, step: Step) -> Step:
    return lambda part: step(f"{name}.{part}")
