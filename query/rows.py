"""The rows of one market, decoded, and a bounded memory of those decoded before.

Owns which batches are read for a question: those that hold the market, no other. Never decides which rows count.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from lake.batches import Ints
from query.index import BookIndex

_COLUMNS = ("ts_recv", "ts_exch", "conn", "seq", "kind", "side", "price_e4", "qty_e2")
_JOIN_ROWS = 8192
_OBJECT_BYTES = 1200
Numbers = NDArray[np.signedinteger]


@dataclass(frozen=True, slots=True)
class BookRows:
    """Rows of the order book as columns, ascending by row number of their hour."""

    row: Ints
    ts_us: Numbers
    exch_us: Numbers
    conn: Numbers
    seq: Numbers
    kind: Numbers
    side: Numbers
    price_e4: Numbers
    qty_e2: Numbers

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.row)

    def take(self, chosen: "slice | NDArray[np.bool_] | Numbers") -> "BookRows":
        """Return the chosen rows."""
        return BookRows(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def between(self, first_row: int, end_row: int) -> "BookRows":
        """Return the rows numbered from ``first_row`` up to, not including, ``end_row``."""
        start, end = np.searchsorted(self.row, [first_row, end_row])
        return self.take(slice(int(start), int(end)))

    def nbytes(self) -> int:
        """Return the memory the columns hold, about."""
        return _OBJECT_BYTES + sum(int(getattr(self, field.name).nbytes) for field in fields(self))


def joined(parts: Iterable[BookRows]) -> BookRows:
    """Return the rows of all parts, one after the other."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    if not found:
        return BookRows(*(np.zeros(0, np.int64) for _ in fields(BookRows)))
    return BookRows(*(np.concatenate([getattr(part, field.name) for part in found]) for field in fields(BookRows)))


@dataclass(slots=True)
class _Piece:
    """A market's rows in the batches [first, end) of an hour."""

    first: int
    end: int
    rows: BookRows


class RowReader:
    """Read a market's rows by ranges of batches; keep up to ``memory_bytes`` of what was decoded (0: nothing)."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self._kept: OrderedDict[tuple[int, int, str], list[_Piece]] = OrderedDict()
        self._held = 0

    def read(self, index: BookIndex, ticker: str, first: int, end: int) -> BookRows:
        """Return a market's rows of all kinds in the batches [first, end) of an hour.

        Cost: decodes those of these batches that hold the market and are not in memory.
        """
        if first >= end:
            return joined(())
        if not self.memory_bytes:
            return decode(index, ticker, first, end)
        key = (index.hour.shard, index.hour.hour, ticker)
        pieces = self._kept.get(key, [])
        if not any(piece.first <= first and end <= piece.end for piece in pieces):
            before = sum(piece.rows.nbytes() for piece in pieces)
            pieces = _filled(pieces, index, ticker, first, end)
            self._kept[key] = pieces
            self._held += sum(piece.rows.nbytes() for piece in pieces) - before
        self._kept.move_to_end(key)
        while self._held > self.memory_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._held -= sum(piece.rows.nbytes() for piece in dropped)
        batches = index.hour.batches("orderbook")
        start_row, end_row = int(batches.first_row[first]), batches.row_end(end)
        return joined(
            piece.rows.between(start_row, end_row) for piece in pieces if piece.first < end and piece.end > first
        )

    def forget(self) -> None:
        """Drop all that was kept."""
        self._kept.clear()
        self._held = 0


def _filled(pieces: list[_Piece], index: BookIndex, ticker: str, first: int, end: int) -> list[_Piece]:
    """Return the pieces, ascending, with the batches [first, end) all covered."""
    found: list[_Piece] = []
    at = first
    for piece in pieces:
        if piece.first >= end:
            if at < end:
                found.append(_Piece(at, end, decode(index, ticker, at, end)))
                at = end
        elif piece.end > at:
            if piece.first > at:
                found.append(_Piece(at, piece.first, decode(index, ticker, at, piece.first)))
            at = max(at, piece.end)
        found.append(piece)
    if at < end:
        found.append(_Piece(at, end, decode(index, ticker, at, end)))
    return _merged(found)


def _merged(pieces: list[_Piece]) -> list[_Piece]:
    """Join small neighbours, so that a market asked about live does not gather thousands of pieces."""
    found: list[_Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if last and last.end == piece.first and len(last.rows) + len(piece.rows) <= _JOIN_ROWS:
            found[-1] = _Piece(last.first, piece.end, joined((last.rows, piece.rows)))
        else:
            found.append(piece)
    return found


def decode(index: BookIndex, ticker: str, first: int, end: int) -> BookRows:
    """Return a market's rows in the batches [first, end), always decoded anew."""
    batches = index.hour.batches("orderbook")
    first_row = batches.first_row
    rows = index.rows_between(ticker, int(first_row[first]), batches.row_end(end))
    if not len(rows):
        return joined(())
    batch = batches.of_rows(rows)
    new = np.append(True, np.diff(batch) != 0)
    numbers = batch[new]
    columns = index.hour.integers("orderbook", numbers, _COLUMNS)
    sizes = batches.sizes(numbers)
    shift = np.cumsum(sizes) - sizes - first_row[numbers]
    chosen = rows + shift[np.cumsum(new) - 1]
    return BookRows(rows, *(columns[name][chosen] for name in _COLUMNS))
