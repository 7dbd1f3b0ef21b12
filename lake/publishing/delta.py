"""The Delta tables of the lake: made, and changed by one commit for each publication.

Owns what Delta is told: which files stand in an hour, and which publication a table holds. Files are written by
lake.publishing.parquet and only registered here. Never decides what is published.

Every commit follows the same path: a fresh handle, the number of the last publication it holds, the files of the
hours to replace taken from that same handle, and a commit that must be that handle's next version or fails. So two
writers at once do no harm: one commits, the other looks again and finds it done.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction
from pyarrow import parquet as pq

from book.errors import CorruptError, PublishError
from lake import durable, objects, paths
from lake.publishing.manifest import DataFile
from lake.schemas import PUBLISHED

APP = "publish"
"""The application whose number Delta keeps with each commit: that of the manifest."""
CHECKPOINT_EVERY = 100
TRIES = 50
_PARTITIONS = [pa.field("dt", pa.utf8(), nullable=False), pa.field("hr", pa.int32(), nullable=False)]
_LAST_CHECKPOINT = "_last_checkpoint"
_MAGIC = b"PAR1"

HourFiles = Sequence[tuple[int, DataFile]]
"""Files, each with its hour."""


def schema_of(table: str) -> pa.Schema:
    """Return a table's schema as Delta has it: its columns, then the partition's."""
    return pa.schema([*PUBLISHED[table], *_PARTITIONS])


def ensure_tables(lake: Path) -> None:
    """Make every table that is not there, and mend what a power cut left; doing it again changes nothing.

    Cost: a listing a table.
    """
    for table in PUBLISHED:
        root = paths.table_dir(lake, table)
        if (root / "_delta_log").is_dir():
            mend(root / "_delta_log")
        if DeltaTable.is_deltatable(str(root)):
            continue
        durable.make_folder(root)
        with suppress(CommitFailedError):  # then another process has made it
            DeltaTable.create(
                root,
                schema_of(table),
                mode="ignore",
                partition_by=[field.name for field in _PARTITIONS],
                name=table,
                configuration={"delta.checkpointInterval": str(CHECKPOINT_EVERY)},
                commit_properties=CommitProperties(max_commit_retries=0),  # it is the first version, or it fails
            )
        _sync(root, 0)
        durable.sync_folder(root)


def committed(lake: Path, table: str) -> int:
    """Return the number of the last publication that a table holds, 0 where none. Cost: a fresh look at its log."""
    return DeltaTable(paths.table_dir(lake, table)).transaction_version(APP) or 0


def make_durable(lake: Path, table: str) -> None:
    """Make a table's newest version durable, which another process may have committed without living to do so."""
    root = paths.table_dir(lake, table)
    _sync(root, DeltaTable(root).version())


def files_of(handle: DeltaTable, hours: Iterable[int]) -> dict[int, list[str]]:
    """Return the files that a handle's version has in some hours, as paths below the table's folder."""
    found: dict[int, list[str]] = {}
    for hour, _, path, _ in _actions_of(handle, hours):
        found.setdefault(hour, []).append(path)
    return found


def commit(
    lake: Path,
    table: str,
    number: int,
    hours: Sequence[int],
    build: Callable[[DeltaTable], HourFiles],
    step: objects.Step = objects.no_step,
) -> bool:
    """Replace the files of some hours as publication ``number``, durable on return; False where that was done.

    ``build`` gives the new files, of these hours only; it is called with the handle that the commit rests on, again
    where somebody else committed meanwhile. Each file is looked for before it is registered. Steps: ``commit``,
    ``committed`` (visible, not durable yet). Raises PublishError where a table has gone past the number or others
    commit faster, CorruptError where a file is missing or of another size.
    """
    root = paths.table_dir(lake, table)
    for _ in range(TRIES):
        handle = DeltaTable(root)
        done = handle.transaction_version(APP) or 0
        if done >= number:
            _sync(root, handle.version())
            return False
        files = build(handle)
        actions = [_add(root, hour, data, table) for hour, data in files] + _removes(handle, hours)
        step("commit")
        try:
            handle.create_write_transaction(
                actions,
                "append",
                schema_of(table),
                partition_by=[field.name for field in _PARTITIONS],
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(APP, number)],
                    max_commit_retries=0,  # it is this handle's next version, or it fails
                ),
            )
        except CommitFailedError:
            continue
        step("committed")
        _sync(root, handle.version() + 1)
        return True
    raise PublishError(hours[0], f"others have committed to {table} {TRIES} times meanwhile")


def mend(log: Path) -> list[str]:
    """Remove from a table's log what a power cut tore: its newest commit or checkpoint, where not whole.

    A process that dies tears nothing, since names are given to whole files. What is removed was not durable, so that
    its publication is not over, and is committed again. Returns the names removed. Cost: a listing.
    """
    with _locked(log):
        names = sorted(entry.name for entry in log.iterdir())
        checkpoints = [name for name in names if name.endswith(".checkpoint.parquet")]
        commits = [name for name in names if name.endswith(".json") and name[:-5].isdecimal()]
        torn = [name for name in checkpoints[-1:] if not _is_parquet(log / name)]
        torn += [name for name in commits[-1:] if not _is_lines(log / name)]
        if _LAST_CHECKPOINT in names and (torn or not _is_lines(log / _LAST_CHECKPOINT)):
            torn.append(_LAST_CHECKPOINT)
        for name in torn:
            (log / name).unlink()
        if torn:
            durable.sync_folder(log)
        return torn


def stats_of(path: Path, table: str) -> dict[str, Any]:
    """Return a data file's statistics in Delta's form, read off its footer: instants to the ms, outwards."""
    footer = pq.read_metadata(path)
    schema = PUBLISHED[table]
    found: dict[str, Any] = {"numRecords": footer.num_rows, "minValues": {}, "maxValues": {}, "nullCount": {}}
    for column in range(footer.num_columns):
        name = footer.schema.column(column).path
        index = schema.get_field_index(name)
        kind = None if index < 0 else schema.field(index).type
        if kind is None or not _has_range(kind):
            continue
        parts = [footer.row_group(group).column(column).statistics for group in range(footer.num_row_groups)]
        if not all(part is not None and part.has_null_count for part in parts):
            continue
        found["nullCount"][name] = sum(part.null_count for part in parts)
        ranges = [part for part in parts if part.has_min_max]
        if ranges and len(ranges) == sum(part.num_values > 0 for part in parts):
            found["minValues"][name] = _told(min(part.min for part in ranges), up=False)
            found["maxValues"][name] = _told(max(part.max for part in ranges), up=True)
    return found


def _has_range(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_string(kind))


def _told(value: Any, *, up: bool) -> Any:
    if not isinstance(value, datetime):
        return value
    us = int((value - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000 + value.microsecond
    ms = -(-us // 1000) if up else us // 1000
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def _add(root: Path, hour: int, data: DataFile, table: str) -> AddAction:
    path = root / data.file
    try:
        found = path.stat()
    except FileNotFoundError:
        raise CorruptError(str(path), 0, "a file of the lake is missing") from None
    if found.st_size != data.bytes:
        raise CorruptError(str(path), found.st_size, f"{data.bytes} bytes were written")
    return AddAction(
        path=data.file,
        size=data.bytes,
        partition_values=paths.partition(hour),
        modification_time=found.st_mtime_ns // 1_000_000,
        data_change=True,
        stats=json.dumps(stats_of(path, table)),
    )


def _removes(handle: DeltaTable, hours: Iterable[int]) -> list[RemoveAction]:
    """Return what takes the files of these hours out. A commit is refused where the handle is not the newest."""
    now_ms = time.time_ns() // 1_000_000  # Delta's own stamps are the machine's too
    return [
        RemoveAction(path, data_change=True, deletion_timestamp=now_ms, size=size, partition_values={**place})
        for hour, place, path, size in _actions_of(handle, hours)
    ]


def _actions_of(handle: DeltaTable, hours: Iterable[int]) -> list[tuple[int, dict[str, str | None], str, int]]:
    """Return the files of some hours: hour, partition, path below the table's folder, bytes."""
    wanted = {hour: paths.partition(hour) for hour in hours}
    actions = pa.table(handle.get_add_actions(flatten=True))
    days = pa.array({place["dt"] for place in wanted.values()}, pa.utf8())
    actions = actions.filter(pc.is_in(actions["partition.dt"].cast(pa.utf8()), days))
    columns = (actions[name].to_pylist() for name in ("partition.dt", "partition.hr", "path", "size_bytes"))
    return [
        (hour, {**wanted[hour]}, path, size)
        for dt, hr, path, size in zip(*columns, strict=True)
        if (hour := paths.partition_hour(dt, hr)) in wanted
    ]


def _sync(root: Path, version: int) -> None:
    """Make a version of a table's log durable, and the checkpoint made with it."""
    log = root / "_delta_log"
    stem = f"{version:020d}"
    for name in (f"{stem}.json", f"{stem}.checkpoint.parquet", _LAST_CHECKPOINT):
        try:
            durable.sync_file(log / name)
        except FileNotFoundError:
            continue
    durable.sync_folder(log)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone among those that ask."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _is_lines(path: Path) -> bool:
    """Say whether a file is JSON objects, one a line, at least one."""
    try:
        found = [json.loads(line) for line in path.read_bytes().splitlines()]
    except ValueError:
        return False
    return bool(found) and all(isinstance(one, dict) for one in found)


def _is_parquet(path: Path) -> bool:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
        file.seek(max(size - len(_MAGIC), 0))
        return size > 2 * len(_MAGIC) and head == file.read() == _MAGIC
