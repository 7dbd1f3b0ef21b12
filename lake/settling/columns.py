"""The order book as columns of integers, from segments or from published files.

Owns what stands for a null in them, and which rows are one group. Never sorts and never decides what a row means.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from book.records import Kind
from lake.journal.batches import Ints
from lake.journal.reader import NO_INSTANT

NO_LEVEL = -1
"""What stands for the null side and price of an empty book and of a close."""
Numbers = NDArray[np.signedinteger]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class BookColumns:
    """Rows of the order book, all arrays of one length; ``market`` is a place in ``names``, which ascend."""

    names: list[str]
    market: Numbers
    ts_us: Numbers
    conn: Numbers
    seq: Numbers
    kind: Numbers

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ts_us)

    def name(self, row: int) -> str:
        """Return a row's ticker."""
        return self.names[int(self.market[row])]

    def part(self, rows: slice) -> "BookColumns":
        """Return some neighbouring rows."""
        columns = (self.market, self.ts_us, self.conn, self.seq, self.kind)
        return BookColumns(self.names, *(column[rows] for column in columns))


@dataclass(frozen=True)
class Levels:
    """What rows say of a level, NO_LEVEL and 0 where they say nothing."""

    side: Numbers
    price_e4: Numbers
    qty_e2: Numbers

    def part(self, rows: slice) -> "Levels":
        """Return some neighbouring rows."""
        return Levels(self.side[rows], self.price_e4[rows], self.qty_e2[rows])


@dataclass(frozen=True)
class Groups:
    """Snapshots, checkpoints and closes in the order of their rows: first row and number of rows of each."""

    row: Ints
    rows: Ints

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.row)


def book_columns(table: pa.Table) -> BookColumns:
    """Return the keys of orderbook rows, of a segment's schema or the published one. Cost: about 0.1 us a row."""
    names, market = coded(table["ticker"])
    return BookColumns(
        names=names,
        market=market,
        ts_us=integers(table["ts_recv"]),
        conn=integers(table["conn"]),
        seq=integers(table["seq"]),
        kind=integers(table["kind"]),
    )


def level_columns(table: pa.Table) -> Levels:
    """Return the levels of orderbook rows."""
    return Levels(
        side=integers(table["side"], null=NO_LEVEL),
        price_e4=integers(table["price_e4"], null=NO_LEVEL),
        qty_e2=integers(table["qty_e2"]),
    )


def coded(column: pa.ChunkedArray) -> tuple[list[str], Numbers]:
    """Return the distinct texts of a column without nulls, ascending, and each row's place among them."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if column.num_chunks == 0:
        return [], np.zeros(0, np.int32)
    whole = column.unify_dictionaries()
    texts = whole.chunk(0).dictionary.to_pylist()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks])
    used = np.flatnonzero(np.bincount(codes, minlength=len(texts)))
    names = sorted(texts[code] for code in used.tolist())
    place = {text: index for index, text in enumerate(names)}
    ranks = np.array([place.get(text, 0) for text in texts], np.int32)
    return names, ranks[codes]


def integers(column: pa.ChunkedArray, null: int = 0) -> Numbers:
    """Return an integer or instant column as an array; null is ``null``, a null instant NO_INSTANT."""
    if pa.types.is_timestamp(column.type):
        column, null = column.cast(pa.int64()), NO_INSTANT
    if column.null_count:
        column = pc.fill_null(column, null)
    values: Numbers = column.to_numpy()
    return values


def runs(*keys: Numbers) -> Ints:
    """Return where each run of rows equal in all keys begins; arrays of one length."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    cut = np.zeros(len(keys[0]), bool)
    cut[0] = True
    for key in keys:
        cut[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(cut)


def groups(columns: BookColumns) -> Groups:
    """Return the groups among rows in published order: rows equal in key and next to each other; a close is one row."""
    rows = np.flatnonzero((columns.kind != Kind.DELTA) & (columns.kind != Kind.ORPHAN))
    keys = [key[rows] for key in (columns.market, columns.ts_us, columns.conn, columns.seq, columns.kind)]
    cut = np.zeros(len(rows), bool)
    cut[runs(*keys)] = True
    cut |= keys[4] == Kind.CLOSE
    first = rows[cut]
    return Groups(first, np.diff(np.append(np.flatnonzero(cut), len(rows))))


def concat_ranges(starts: Ints, sizes: Ints) -> Ints:
    """Return start, start + 1, ... of each range, one range after the other."""
    total = int(sizes.sum())
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts - before, sizes) + np.arange(total)


def joined(schema: pa.Schema, tables: Sequence[pa.Table]) -> pa.Table:
    """Return tables of one schema as one, without copying rows."""
    found = [table for table in tables if table.num_rows]
    return pa.concat_tables(found) if found else schema.empty_table()
