"""The data files of published hours, read by row group.

Owns which files stand open, how a row group becomes columns, and that each page is checked. Never decides which rows
count. A file's name is never used twice, so that what was read of it stays right.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as pq

from book.errors import CorruptError
from lake.journal.batches import Ints
from lake.schemas import PUBLISHED
from query.memory import Memory
from query.row_group import RowGroup
from query.rows import BookRows, joined

_OPEN_FILES = 64
_DAMAGE = (OSError, pa.ArrowException, ValueError, KeyError)
"""What pyarrow raises over altered bytes."""


class PartFile(NamedTuple):
    """A file that stands open: ``starts`` are the first rows of its row groups, and at last the rows of all."""

    path: str
    parquet: pq.ParquetFile
    starts: Ints


class PartFiles:
    """Read published files; what is decoded of the order book is kept. Not safe for two threads at once."""

    def __init__(self, path: Callable[[str, str], Path], memory: Memory) -> None:
        """Read the files that ``path`` finds by table and name; decoded row groups go into ``memory``."""
        self._path = path
        self._memory = memory
        self._open: OrderedDict[tuple[str, str], PartFile] = OrderedDict()

    def book_rows(
        self, name: str, first_row: int, end_row: int, wanted: Sequence[str], upto_us: int | None = None
    ) -> BookRows:
        """Return rows [first_row, end_row) of an orderbook file; columns that are not ``wanted`` may say nothing.

        With ``upto_us``, an instant, row groups that follow a row past it are left out: the rows are of one market.
        Raises CorruptError. Cost: decodes the row groups that hold them and are not in memory.
        """
        if first_row >= end_row:
            return joined(())
        file = self.file("orderbook", name)
        first, last = (file.starts.searchsorted((first_row, end_row - 1), side="right") - 1).tolist()
        if first < 0 or end_row > int(file.starts[-1]):
            raise CorruptError(file.path, 0, f"it has no rows {first_row} to {end_row}")
        parts: list[BookRows] = []
        for number in range(first, last + 1):
            start, end = file.starts[number : number + 2].tolist()
            group = self._group(file, name, number, wanted)
            parts.append(group.rows(max(first_row, start) - start, min(end_row, end) - start, start))
            if upto_us is not None and parts[-1].ts_us[-1] > upto_us:
                break
        return joined(parts)

    def row_starts(self, name: str) -> Ints:
        """Return the first rows of the row groups of an orderbook file, and at last the rows of all."""
        return self.file("orderbook", name).starts

    def of_market(self, table: str, name: str, ticker: str) -> pa.Table:
        """Return a market's rows of a file that is sorted by ticker. Raises CorruptError.

        Cost: decodes the row groups whose tickers span it.
        """
        file = self.file(table, name)
        metadata = file.parquet.metadata
        column = PUBLISHED[table].get_field_index("ticker")
        wanted: list[int] = []
        for group in range(metadata.num_row_groups):
            found = metadata.row_group(group).column(column).statistics
            if found is None or not found.has_min_max or found.min <= ticker <= found.max:
                wanted.append(group)
        with _checked(file.path):
            rows = file.parquet.read_row_groups(wanted, use_threads=False)
            return rows.filter(pc.equal(rows["ticker"], ticker))

    def whole(self, table: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of a file. Raises CorruptError."""
        file = self.file(table, name)
        with _checked(file.path):
            return file.parquet.read(columns, use_threads=False)

    def groups(self, table: str, name: str, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield columns of a file, a row group at a time. Raises CorruptError."""
        file = self.file(table, name)
        for group in range(file.parquet.metadata.num_row_groups):
            with _checked(file.path):
                yield file.parquet.read_row_groups([group], columns=list(columns), use_threads=False)

    def file(self, table: str, name: str) -> PartFile:
        """Return a file that stands open. Raises CorruptError where it is missing or not one of the table."""
        key = (table, name)
        found = self._open.get(key)
        if found is not None:
            self._open.move_to_end(key)
            return found
        path = self._path(table, name)
        try:
            with _checked(str(path)):
                parquet = pq.ParquetFile(path, page_checksum_verification=True)
        except CorruptError:
            if not path.exists():
                raise CorruptError(str(path), 0, "a file of the lake is missing") from None
            raise
        metadata = parquet.metadata
        if not parquet.schema_arrow.equals(PUBLISHED[table]):
            raise CorruptError(str(path), 0, f"its columns are not those of table {table}")
        rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        found = self._open[key] = PartFile(str(path), parquet, np.append(0, np.cumsum(np.array(rows, np.int64))))
        if len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)[1].parquet.close()
        return found

    def _group(self, file: PartFile, name: str, number: int, wanted: Sequence[str]) -> RowGroup:
        """Return a row group of the order book with the columns that are wanted."""
        key = ("group", name, number)
        kept: RowGroup = self._memory.get(key) or RowGroup()
        missing = kept.missing(wanted)
        if missing:
            with _checked(file.path):
                kept.add(file.parquet.read_row_groups([number], columns=missing, use_threads=False))
            self._memory.put(key, kept, kept.size_bytes)
        return kept


@contextmanager
def _checked(path: str) -> Iterator[None]:
    """Turn what reading altered bytes raises into CorruptError."""
    try:
        yield
    except CorruptError:
        raise
    except _DAMAGE as error:
        raise CorruptError(path, 0, f"it cannot be read: {error}") from None
