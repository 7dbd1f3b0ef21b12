"""What an hour's segments hold for each market, without their contents.

Owns the map from a market to its rows and batches, and the groups that a book can start from or end at. Extends
itself as the hour grows. Row lists can be dropped to save memory and are read again when asked for.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from book.errors import CorruptError
from book.records import HOUR_US, Kind
from lake.journal.batches import Ints
from lake.journal.reader import NO_INSTANT, Hour
from query.group import POS_HOUR_BITS, Group

_CHUNK_BATCHES = 4096
_CHUNK_BYTES = 32 << 20
_FAR = 1 << 62
_LIST_BYTES = 80


@dataclass(slots=True)
class Counts:
    """What was received of one market in an hour, withdrawn changes included: stamps are NO_INSTANT where none is."""

    deltas: int = 0
    last_us: int = NO_INSTANT
    last_delta_us: int = NO_INSTANT


class Shown:
    """How far a conn has shown the exchange's clock: for each batch with its changes, the greatest ts_exch by then."""

    def __init__(self) -> None:
        self.batch: array[int] = array("q")
        self.greatest_us: array[int] = array("q")

    def add(self, batches: Ints, greatest_us: NDArray[np.signedinteger]) -> None:
        """Add the batches, ascending, each with the greatest ts_exch in it."""
        before = self.greatest_us[-1] if self.greatest_us else NO_INSTANT
        reached = np.maximum.accumulate(np.maximum(greatest_us, before))
        self.batch.frombytes(batches.astype(np.int64).tobytes())
        self.greatest_us.frombytes(reached.astype(np.int64).tobytes())


class RowIndex:
    """For one table of one hour: each market's row numbers, and the stamps each batch spans."""

    COLUMNS: tuple[str, ...] = ("ticker", "ts_recv")

    def __init__(self, hour: Hour, table: str) -> None:
        self.hour = hour
        self.table = table
        self.scanned = 0
        """Batches taken in."""
        self.bytes = 0
        """Memory that the row lists hold, about."""
        self._rows: dict[str, array[int]] | None = {}
        self._least = np.zeros(0, np.int64)
        self._greatest = np.zeros(0, np.int64)
        self._suffix_least: Ints | None = None

    def extend(self) -> bool:
        """Take in the batches added since the last call; say whether there were any."""
        batches = self.hour.batches(self.table)
        if batches.count == self.scanned:
            return False
        for numbers in _chunks(batches.end - batches.offset, self.scanned):
            chunk = self.hour.decode(self.table, numbers, self.COLUMNS)
            self._take(_Chunk(chunk, int(batches.first_row[numbers[0]]), batches.sizes(numbers)))
            self.scanned = int(numbers[-1]) + 1
        return True

    def drop_rows(self) -> None:
        """Give the row lists' memory back; they are read again when asked for."""
        self._rows = None
        self.bytes = 0

    def rows_between(self, ticker: str, first_row: int, end_row: int) -> Ints:
        """Return a market's row numbers in [first_row, end_row), ascending.

        Cost: where the row lists were dropped, the hour's tickers are read.
        """
        found = self._held_rows().get(ticker)
        if found is None:
            return np.zeros(0, np.int64)
        view = np.frombuffer(found, np.uint32)
        start, end = np.searchsorted(view, np.array([first_row, end_row], np.uint32))
        return view[start:end].astype(np.int64)

    def tickers(self) -> list[str]:
        """Return the markets that have rows."""
        return list(self._held_rows())

    def batch_range(self, from_us: int, to_us: int) -> tuple[int, int]:
        """Return a range of batches that holds every row stamped in [from_us, to_us], both inclusive.

        Of an order book only changes count: deltas and orphans.
        """
        first = int(np.searchsorted(self._greatest, from_us, side="left"))
        return first, int(np.searchsorted(self._least_after(), to_us, side="right"))

    def least_from(self, batch: int) -> int:
        """Return the least stamp of a batch and those after it; one beyond all instants where there is none."""
        least = self._least_after()
        return int(least[batch]) if batch < len(least) else _FAR

    def _least_after(self) -> Ints:
        if self._suffix_least is None:
            self._suffix_least = np.minimum.accumulate(self._least[::-1])[::-1]
        return self._suffix_least

    def _take(self, chunk: "_Chunk") -> None:
        """Take in one chunk of new batches."""
        self._stamp_batches(chunk, np.ones(chunk.rows, bool))
        self._add_rows(chunk)

    def _stamp_batches(self, chunk: "_Chunk", counted: NDArray[np.bool_]) -> None:
        least = np.minimum.reduceat(np.where(counted, chunk.ts_us, _FAR), chunk.starts)
        greatest = np.maximum.reduceat(np.where(counted, chunk.ts_us, -_FAR), chunk.starts)
        before = self._greatest[-1] if len(self._greatest) else -_FAR
        self._least = np.concatenate([self._least, least])
        self._greatest = np.concatenate([self._greatest, np.maximum.accumulate(np.maximum(greatest, before))])
        self._suffix_least = None

    def _add_rows(self, chunk: "_Chunk") -> None:
        if self._rows is None:
            return
        for ticker, rows in chunk.by_ticker:
            found = self._rows.get(ticker)
            if found is None:
                found = self._rows[ticker] = array("I")
                self.bytes += _LIST_BYTES + len(ticker)
            found.frombytes((rows + chunk.first_row).astype(np.uint32).tobytes())
            self.bytes += 4 * len(rows)

    def _held_rows(self) -> "dict[str, array[int]]":
        if self._rows is None:
            self._rows = {}
            self._read_rows()
        return self._rows

    def _read_rows(self) -> None:
        batches = self.hour.batches(self.table)
        for numbers in _chunks((batches.end - batches.offset)[: self.scanned], 0):
            chunk = self.hour.decode(self.table, numbers, ("ticker",))
            self._add_rows(_Chunk(chunk, int(batches.first_row[numbers[0]]), batches.sizes(numbers)))


class BookIndex(RowIndex):
    """The index of an hour of the order book: also the groups, and counts a market."""

    COLUMNS = ("ticker", "ts_recv", "ts_exch", "conn", "seq", "kind", "reason")

    def __init__(self, hour: Hour) -> None:
        super().__init__(hour, "orderbook")
        self.groups: dict[str, list[Group]] = {}
        """Snapshots, checkpoints and closes of each market, in log order."""
        self.counts: dict[str, Counts] = {}
        self.shown: dict[int, Shown] = {}
        """For each conn, how far the exchange's clock was seen."""

    def _take(self, chunk: "_Chunk") -> None:
        kind = chunk.integers("kind")
        change = (kind == Kind.DELTA) | (kind == Kind.ORPHAN)
        received = change | (kind == Kind.SNAPSHOT)
        if np.any(chunk.ts_us[received] // HOUR_US != self.hour.hour):
            raise CorruptError(str(self.hour.dir), 0, "a row that is neither close nor checkpoint is of another hour")
        self._stamp_batches(chunk, change)
        self._add_rows(chunk)
        self._count(chunk, kind)
        self._show(chunk, change)
        self._add_groups(chunk, np.flatnonzero(~change))

    def _show(self, chunk: "_Chunk", change: NDArray[np.bool_]) -> None:
        exch_us, conns = chunk.integers("ts_exch"), chunk.integers("conn")
        stamped = np.flatnonzero(change & (exch_us != NO_INSTANT))
        batch = self.scanned + np.searchsorted(chunk.starts, stamped, side="right") - 1
        for conn in np.unique(conns[stamped]).tolist():
            own = conns[stamped] == conn
            numbers = batch[own]
            starts = np.flatnonzero(np.append(True, np.diff(numbers) != 0))
            greatest = np.maximum.reduceat(exch_us[stamped][own], starts)
            self.shown.setdefault(conn, Shown()).add(numbers[starts], greatest)

    def _count(self, chunk: "_Chunk", kind: NDArray[np.signedinteger]) -> None:
        count = len(chunk.names)
        codes, delta = chunk.codes, kind == Kind.DELTA
        received = delta | (kind == Kind.ORPHAN) | (kind == Kind.SNAPSHOT)
        last, last_delta = np.full(count, NO_INSTANT), np.full(count, NO_INSTANT)
        np.maximum.at(last, codes[received], chunk.ts_us[received])
        np.maximum.at(last_delta, codes[delta], chunk.ts_us[delta])
        deltas = np.bincount(codes[delta], minlength=count)
        columns = (deltas.tolist(), last.tolist(), last_delta.tolist())
        for ticker, found, last_us, last_delta_us in zip(chunk.names, *columns, strict=True):
            counts = self.counts.setdefault(ticker, Counts())
            counts.deltas += found
            counts.last_us = max(counts.last_us, last_us)
            counts.last_delta_us = max(counts.last_delta_us, last_delta_us)

    def _add_groups(self, chunk: "_Chunk", rows: Ints) -> None:
        if not len(rows):
            return
        part = chunk.table.take(rows)
        part_chunk = _Chunk(part, 0, np.array([len(rows)]))
        columns = [part_chunk.codes, *(part_chunk.integers(name) for name in ("ts_recv", "conn", "seq", "kind"))]
        cut = (np.diff(rows) != 1) | (columns[-1][1:] == Kind.CLOSE)
        for column in columns:
            cut |= np.diff(column) != 0
        starts = np.concatenate([[0], np.flatnonzero(cut) + 1])
        sizes = np.diff(np.append(starts, len(rows)))
        base = self.hour.hour << POS_HOUR_BITS
        reasons = part.column("reason").take(starts).to_pylist()
        fields = zip(
            *(column[starts].tolist() for column in columns),
            (rows[starts] + chunk.first_row).tolist(),
            sizes.tolist(),
            part_chunk.integers("ts_exch")[starts].tolist(),
            reasons,
            strict=True,
        )
        for code, ts_us, conn, seq, kind, row, size, exch_us, reason in fields:
            group = Group(ts_us, conn, seq, kind, base | row, size, exch_us, reason)
            self.groups.setdefault(part_chunk.names[code], []).append(group)


class AuditIndex(RowIndex):
    """The index of an hour of audits: also the stamps of those that were equal."""

    COLUMNS = ("ticker", "ts_recv", "equal")

    def __init__(self, hour: Hour) -> None:
        super().__init__(hour, "audits")
        self.equal: dict[str, list[int]] = {}
        """Stamps of each market's equal audits, in log order."""

    def _take(self, chunk: "_Chunk") -> None:
        super()._take(chunk)
        equal = chunk.table.column("equal").to_numpy()
        for row in np.flatnonzero(equal).tolist():
            self.equal.setdefault(chunk.names[chunk.codes[row]], []).append(int(chunk.ts_us[row]))


class _Chunk:
    """Some neighbouring batches, decoded: tickers as codes into ``names``."""

    def __init__(self, table: pa.Table, first_row: int, sizes: Ints) -> None:
        self.table = table
        self.first_row = first_row
        self.rows: int = table.num_rows
        self.starts = np.cumsum(sizes) - sizes
        tickers = table.column("ticker").unify_dictionaries().combine_chunks()
        tickers = tickers.chunk(0) if isinstance(tickers, pa.ChunkedArray) else tickers
        self.names: list[str] = tickers.dictionary.to_pylist()
        self.codes: NDArray[np.signedinteger] = tickers.indices.to_numpy()

    @cached_property
    def ts_us(self) -> NDArray[np.signedinteger]:
        """Stamps of receipt."""
        return self.integers("ts_recv")

    def integers(self, name: str) -> NDArray[np.signedinteger]:
        """Return a column as integers, a null instant as NO_INSTANT."""
        column = self.table.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        if column.null_count:
            column = pc.fill_null(column, NO_INSTANT)
        values: NDArray[np.signedinteger] = column.to_numpy()
        return values

    @cached_property
    def by_ticker(self) -> list[tuple[str, Ints]]:
        """Each market with its rows in this chunk, ascending."""
        order = np.argsort(self.codes, kind="stable")
        cuts = np.flatnonzero(np.diff(self.codes[order])) + 1
        return [(self.names[self.codes[part[0]]], part) for part in np.split(order, cuts) if len(part)]


def _chunks(sizes: Ints, first: int) -> Iterator[Ints]:
    """Yield the batch numbers from ``first`` on in chunks bounded by count and by bytes."""
    ends = np.cumsum(sizes)
    while first < len(sizes):
        done = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, done + _CHUNK_BYTES, side="right"))
        last = max(first + 1, min(last, first + _CHUNK_BATCHES, len(sizes)))
        yield np.arange(first, last)
        first = last
