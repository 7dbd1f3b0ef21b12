"""The rows of one market out of an hour's folder, decoded, and what was decoded before.

Owns which batches are read for a question: those that hold the market, no other. Never decides which rows count.
"""

from dataclasses import dataclass

import numpy as np

from query.index import BookIndex
from query.memory import Memory
from query.rows import BookRows, joined, levels

_JOIN_ROWS = 8192
_COLUMNS = ("ts_recv", "ts_exch", "conn", "seq", "kind")


@dataclass(slots=True)
class _Piece:
    """A market's rows in the batches [first, end) of an hour."""

    first: int
    end: int
    rows: BookRows


class FolderRows:
    """Read a market's rows by ranges of batches; what was decoded is kept in a memory shared with others."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def read(self, index: BookIndex, ticker: str, first: int, end: int) -> BookRows:
        """Return a market's rows of all kinds in the batches [first, end) of an hour.

        Cost: decodes those of these batches that hold the market and are not in memory.
        """
        if first >= end:
            return joined(())
        if not self._memory.most_bytes:
            return decode(index, ticker, first, end)
        key = ("folder", index.hour.shard, index.hour.hour, ticker)
        pieces: list[_Piece] = self._memory.get(key) or []
        if not any(piece.first <= first and end <= piece.end for piece in pieces):
            pieces = _filled(pieces, index, ticker, first, end)
            self._memory.put(key, pieces, sum(piece.rows.nbytes() for piece in pieces))
        batches = index.hour.batches("orderbook")
        start_row, end_row = int(batches.first_row[first]), batches.row_end(end)
        return joined(
            piece.rows.between(start_row, end_row) for piece in pieces if piece.first < end and piece.end > first
        )

    def forget(self, shard: int, hour: int) -> None:
        """Drop what is kept of an hour."""
        self._memory.drop(lambda key: isinstance(key, tuple) and key[:3] == ("folder", shard, hour))


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
    columns = index.hour.integers("orderbook", numbers, (*_COLUMNS, "side", "price_e4", "qty_e2"))
    sizes = batches.sizes(numbers)
    shift = np.cumsum(sizes) - sizes - first_row[numbers]
    chosen = rows + shift[np.cumsum(new) - 1]
    level = levels(columns["side"][chosen], columns["price_e4"][chosen])
    ts_us, exch_us, conn, seq, kind = (columns[name][chosen] for name in _COLUMNS)
    return BookRows(rows, ts_us, exch_us, conn, seq, kind, level, columns["qty_e2"][chosen])
