"""Rows of the log on their way to a segment, in columns.

Owns the buffers and their turning into Arrow record batches. Never decides what is written.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from book.records import Kind, Level, Reason
from book.wire.batch import NO_TIME_US
from lake.schemas import TABLES

Ints = npt.NDArray[np.int64]
_REASONS = tuple(Reason)
_CODES = {reason: code for code, reason in enumerate(_REASONS)}
_NONE = -1
MOST_ROWS = 16_384
"""Rows of one batch of the orderbook, about: a reader decodes whole batches, and one of 12,000 first books is too much
for one of them."""
_COLUMNS = 10
"""market, ts_recv, ts_exch, conn, seq, kind, side, price_e4, qty_e2, reason; -1 is none where -1 cannot occur."""


class OrderbookRows:
    """Rows of the orderbook table; ``names`` holds the ticker of each market's number, and may grow."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._texts: Any = None
        self._blocks: list[npt.NDArray[np.int64]] = []
        self._singles: list[tuple[int, ...]] = []
        self.count = 0

    def renamed(self) -> None:
        """Note that the names have changed; no row of a market that has lost its number may wait."""
        self._texts = None

    def add_changes(
        self,
        kind: Kind,
        market: Ints,
        ts_us: Ints,
        ts_exch_us: Ints,
        conn: int,
        seq: Ints,
        side: Ints,
        price_e4: Ints,
        change_e2: Ints,
    ) -> None:
        """Add deltas or orphans of one conn in order; all arrays have shape (n,)."""
        self._spill()
        block = np.empty((_COLUMNS, len(market)), np.int64)
        columns = (market, ts_us, ts_exch_us, None, seq, None, side, price_e4, change_e2)
        for row, column in enumerate(columns):
            if column is not None:
                block[row] = column
        block[3], block[5], block[9] = conn, int(kind), _NONE
        self._blocks.append(block)
        self.count += len(market)

    def add_change(
        self, kind: Kind, market: int, ts_us: int, ts_exch_us: int, conn: int, seq: int, level: Level
    ) -> None:
        """Add one delta or orphan."""
        self._singles.append((market, ts_us, ts_exch_us, conn, seq, int(kind), *level, _NONE))
        self.count += 1

    def add_book(
        self,
        kind: Kind,
        market: int,
        ts_us: int,
        ts_exch_us: int,
        conn: int,
        seq: int,
        levels: tuple[Level, ...],
    ) -> None:
        """Add a snapshot or checkpoint: a row a level, or one row of none for an empty book."""
        head = (market, ts_us, ts_exch_us, conn, seq, int(kind))
        if levels:
            self._singles.extend((*head, *level, _NONE) for level in levels)
        else:
            self._singles.append((*head, _NONE, _NONE, 0, _NONE))
        self.count += max(1, len(levels))

    def add_close(self, market: int, ts_us: int, conn: int, seq: int, reason: Reason) -> None:
        """Add the end of a span."""
        row = (market, ts_us, NO_TIME_US, conn, seq, int(Kind.CLOSE), _NONE, _NONE, 0, _CODES[reason])
        self._singles.append(row)
        self.count += 1

    def take(self) -> Any | None:
        """Return the rows so far as one record batch and start anew; None where there are none."""
        self._spill()
        if not self._blocks:
            return None
        market, ts_us, exch_us, conn, seq, kind, side, price, qty, reason = np.concatenate(self._blocks, axis=1)
        self._blocks = []
        self.count = 0
        found, codes = np.unique(market, return_inverse=True)
        if self._texts is None:
            self._texts = pa.array(self._names, pa.string())
        names = self._texts.take(pa.array(found))
        level = price != _NONE
        texts = [None if code == _NONE else _REASONS[code].value for code in reason.tolist()] if _any(reason) else None
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), names),
            _times(ts_us),
            _times(exch_us, exch_us != NO_TIME_US),
            pa.array(conn),
            pa.array(seq),
            pa.array(kind.astype(np.int8)),
            pa.array(side.astype(np.int8), mask=~level),
            pa.array(price.astype(np.int32), mask=~level),
            pa.array(qty, mask=~level),
            pa.nulls(len(market), pa.string()) if texts is None else pa.array(texts, pa.string()),
        ]
        return pa.record_batch(columns, schema=TABLES["orderbook"])

    def _spill(self) -> None:
        if self._singles:
            self._blocks.append(np.array(self._singles, np.int64).T)
            self._singles = []


def pieces(batch: Any, most_rows: int = MOST_ROWS) -> Iterator[Any]:
    """Yield a batch of the orderbook in parts of at most ``most_rows`` that hold whole groups; a larger group is whole.

    Each part has a dictionary of its own.
    """
    rows = batch.num_rows
    if rows <= most_rows:
        yield batch
        return
    ticker = batch.column("ticker")
    keys = [ticker.indices, *(batch.column(name) for name in ("conn", "seq", "kind"))]
    new = np.any([np.diff(key.to_numpy(zero_copy_only=False)) != 0 for key in keys], axis=0)
    begins = np.append(np.flatnonzero(new) + 1, rows)
    at = 0
    while at < rows:
        place = int(np.searchsorted(begins, at + most_rows, side="right")) - 1
        end = int(begins[place]) if place >= 0 and begins[place] > at else int(begins[place + 1])
        part = batch.slice(at, end - at)
        names = part.column("ticker").dictionary_decode().dictionary_encode()
        yield pa.record_batch([names, *part.columns[1:]], schema=batch.schema)
        at = end


class TableRows:
    """Rows of a table that grows slowly, as columns of plain values."""

    def __init__(self, table: str) -> None:
        self._schema = TABLES[table]
        self._columns: dict[str, list[Any]] = {name: [] for name in self._schema.names}
        self._count = 0

    def __len__(self) -> int:
        """Return how many rows wait to be taken."""
        return self._count

    def add(self, **row: Any) -> None:
        """Add a row; columns left out are null, times are integer microseconds."""
        for name, column in self._columns.items():
            column.append(row.get(name))
        self._count += 1

    def add_all(self, count: int, **columns: list[Any]) -> None:
        """Add ``count`` rows, a list of that length a column; columns left out are null."""
        for name, column in self._columns.items():
            column += columns.get(name) or [None] * count
        self._count += count

    def take(self) -> Any | None:
        """Return the rows so far as one record batch and start anew; None where there are none."""
        if not self._count:
            return None
        columns = [pa.array(self._columns[field.name], _plain(field.type)) for field in self._schema]
        self._columns = {name: [] for name in self._schema.names}
        self._count = 0
        arrays = [
            column.dictionary_encode() if pa.types.is_dictionary(field.type) else column
            for column, field in zip(columns, self._schema, strict=True)
        ]
        return pa.record_batch(arrays, schema=self._schema)


def _any(codes: Ints) -> bool:
    return bool((codes != _NONE).any())


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _times(values: Ints, valid: npt.NDArray[np.bool_] | None = None) -> Any:
    column = pa.array(values, mask=None if valid is None else ~valid)
    return column.cast(pa.timestamp("us", "UTC"))
