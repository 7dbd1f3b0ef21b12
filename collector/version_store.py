"""The last versions of metadata on disk, so that a restart knows them however old they are.

Owns one file a table beside the journal, gathered from hours to which nothing is added any more: from the journal's
folder, or where that is gone from the published hour. A file that is missing or damaged is gathered anew. Never holds
what the log does not hold, and never alters the log.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError
from pyarrow import ipc

from book.errors import CorruptError
from book.records import HOUR_US
from book.wire.merging import PAID
from collector.versions import KEYS, PAID_KEPT_US, Versions
from lake import durable, paths
from lake.journal.reader import Hour
from lake.publishing import parquet
from lake.publishing.shelf import Shelf
from lake.schemas import TABLES

LOOK_BACK_HOURS = 31 * 24
"""Published hours that are read where no file tells of the older ones."""
SETTLED_US = HOUR_US // 12
"""How long after its end an hour may still be added to."""
HOURS_AT_ONCE = 24
_UPTO = b"upto"
_SHELF_BYTES = 8 << 20


class VersionStore:
    """The last versions of one shard. For one thread at a time; ``troubles`` are what could not be read or written."""

    def __init__(self, home: Path, shard: int, lake: Path) -> None:
        self.troubles: list[CorruptError] = []
        self._home = home
        self._shard = shard
        self._shelf = Shelf(lake, cache_bytes=_SHELF_BYTES)

    def load(self, now_us: int) -> Versions:
        """Return every record's last version in the log, and gather what is not gathered yet.

        An hour that cannot be read is passed over: its records become versions once more, which is better than no
        recording. Cost: the files, and the hours after them; without files the journal and a month of the lake.
        """
        versions = Versions()
        gathered = self._gathered(now_us)
        for table, rows in gathered.items():
            recent = self._joined(table, [rows, *self._rows(table, self._hours(self._upto(now_us)))])
            for batch in recent.to_batches(max_chunksize=1000):
                versions.load(table, _plain(batch), now_us)
        return versions

    def gather(self, now_us: int) -> None:
        """Bring the files up to date. Cost: reads and writes them where an hour has ended since."""
        self._gathered(now_us)

    def _gathered(self, now_us: int) -> dict[str, pa.Table]:
        try:
            self._shelf.refresh()
        except (CorruptError, DeltaError, OSError) as error:  # the journal is there, and recording goes on
            self.troubles.append(CorruptError(str(self._shelf.lake), 0, f"the lake cannot be read: {error}"))
        return {table: self._gather(table, now_us) for table in KEYS}

    def _gather(self, table: str, now_us: int) -> pa.Table:
        path, upto = paths.versions_path(self._home, self._shard, table), self._upto(now_us)
        rows, since = self._read(path, table)
        if since >= upto:
            return rows
        parts = [rows]
        for part in self._rows(table, [hour for hour in self._hours(since) if hour < upto]):
            parts.append(part)
            if len(parts) > HOURS_AT_ONCE:
                parts = [self._joined(table, parts)]
        rows = _without_old(table, self._joined(table, parts), now_us)
        sink = pa.BufferOutputStream()
        named = rows.replace_schema_metadata({_UPTO: str(upto)})
        with ipc.new_file(sink, named.schema, options=ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(named)
        try:
            durable.make_folder(path.parent)
            durable.replace_file(path, sink.getvalue())
        except OSError as error:
            self.troubles.append(CorruptError(str(path), 0, f"it cannot be written: {error}"))
        return rows

    def _read(self, path: Path, table: str) -> tuple[pa.Table, int]:
        """Return a file's rows and the hour that it does not reach; nothing where there is no such file."""
        try:
            with ipc.open_file(pa.py_buffer(path.read_bytes())) as file:
                rows, upto = file.read_all(), int(file.schema.metadata[_UPTO])
            if rows.schema.equals(TABLES[table]):
                return rows.replace_schema_metadata(None), upto
        except FileNotFoundError:
            pass
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            self.troubles.append(CorruptError(str(path), 0, f"it cannot be read: {error}"))
        published = self._shelf.hours()
        return TABLES[table].empty_table(), published[-1] - LOOK_BACK_HOURS if published else 0

    def _hours(self, since: int) -> list[int]:
        journal = paths.hours(self._home, self._shard)
        return sorted(hour for hour in {*journal, *self._shelf.hours()} if hour >= since)

    def _rows(self, table: str, hours: list[int]) -> Iterator[pa.Table]:
        """Yield the versions logged in each hour, oldest first."""
        for hour in hours:
            try:
                rows = self._of_hour(table, hour)
            except CorruptError as error:
                self.troubles.append(error)
                continue
            if rows.num_rows:
                yield rows

    def _of_hour(self, table: str, hour: int) -> pa.Table:
        folder = paths.hour_dir(self._home, self._shard, hour)
        if (folder / paths.FLUSH_NAME).exists():
            reader = Hour(folder, self._shard, hour)
            reader.poll()
            return reader.table(table)
        told = self._shelf.standing_rows(hour)
        files = told.filter(pc.and_(pc.equal(told["state"], "table"), pc.equal(told["channel"], table)))["file"]
        parts = [parquet.read_file(self._shelf.path(table, file), table) for file in files.to_pylist()]
        return pa.concat_tables(parts) if parts else TABLES[table].empty_table()

    def _joined(self, table: str, parts: list[pa.Table]) -> pa.Table:
        """Return the last row of each record."""
        schema = TABLES[table]
        whole = pl.DataFrame(pl.from_arrow(pa.concat_tables([part.cast(schema) for part in parts])))
        last = whole.sort("valid_from", maintain_order=True).unique(KEYS[table], keep="last", maintain_order=True)
        return last.to_arrow().cast(schema)

    def _upto(self, now_us: int) -> int:
        return paths.hour_of(now_us - SETTLED_US)


def _without_old(table: str, rows: pa.Table, now_us: int) -> pa.Table:
    """Leave out markets that were paid out long ago: nothing is said of them any more."""
    if table != "markets":
        return rows
    paid = pc.is_in(rows["status"], pa.array(sorted(PAID)))
    old = pc.less(rows["valid_from"].cast(pa.int64()), now_us - PAID_KEPT_US)
    return rows.filter(pc.invert(pc.and_(paid, old)))


def _plain(batch: pa.RecordBatch) -> list[dict[str, object]]:
    """Return rows with instants as microseconds."""
    kinds = [pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in batch.schema]
    rows: list[dict[str, object]] = pa.Table.from_batches([batch]).cast(pa.schema(kinds)).to_pylist()
    return rows
