"""An hour of a shard's log as questions see it, out of its folder's segments.

Owns how an hour's question becomes reads of batches. Never decides which rows a close withdraws.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from book.records import Kind
from lake.journal.reader import NO_INSTANT, Hour
from query.clocks import ConnClock
from query.folder_clock import FolderClock
from query.folder_rows import FolderRows
from query.group import NOTHING, Group, Tally
from query.hour_book import Stretch
from query.index import AuditIndex, BookIndex, RowIndex
from query.rows import BookRows
from query.withdrawal import Settled

_FIRST_BATCHES = 64
_MOST_BATCHES = 4096


class Indexes(Protocol):
    """Where an hour's indexes are kept, up to date."""

    def book(self, hour: int) -> BookIndex:
        """Return an hour's index of the order book."""

    def trades(self, hour: int) -> RowIndex:
        """Return an hour's index of trades."""

    def audits(self, hour: int) -> AuditIndex:
        """Return an hour's index of audits."""


class FolderHour:
    """A HourBook over a folder; see query.hour_book."""

    version = 0

    def __init__(self, source: Hour, indexes: Indexes, rows: FolderRows) -> None:
        self.source = source
        self.hour = source.hour
        self._indexes = indexes
        self._rows = rows

    def tickers(self) -> Iterable[str]:
        """Return the markets with rows. Cost: indexes the hour, as most questions do."""
        return self._indexes.book(self.hour).counts

    def holds(self, ticker: str) -> bool:
        """Say whether a market has rows."""
        return ticker in self._indexes.book(self.hour).counts

    def groups(self, ticker: str) -> Sequence[Group]:
        """Return a market's groups in log order, withdrawn ones too."""
        return self._indexes.book(self.hour).groups.get(ticker, ())

    def settled(self, ticker: str) -> Settled | None:
        """Return None: closes logged here withdraw."""
        return None

    def tally(self, ticker: str) -> Tally:
        """Return what was received of a market."""
        index = self._indexes.book(self.hour)
        counts = index.counts.get(ticker)
        if counts is None:
            return NOTHING
        snapshots = sum(group.kind == Kind.SNAPSHOT for group in index.groups.get(ticker, ()))
        return Tally(snapshots, counts.deltas, None if counts.last_us == NO_INSTANT else counts.last_us)

    def last_change_us(self, ticker: str) -> int | None:
        """Return the stamp of a market's last delta."""
        counts = self._indexes.book(self.hour).counts.get(ticker)
        return None if counts is None or counts.last_delta_us == NO_INSTANT else counts.last_delta_us

    def last_audit(self, ticker: str, upto_us: int) -> tuple[int | None, bool]:
        """Return the stamp of a market's last equal audit here up to an instant."""
        stamps = self._indexes.audits(self.hour).equal.get(ticker, ())
        found = max((stamp for stamp in stamps if stamp <= upto_us), default=None)
        return found, found is None

    def stretch(self, ticker: str, base: Group, upto_us: int, *, exchange: bool) -> Stretch:
        """Return a base's own rows where they stand here, and the rows that may count after it."""
        index = self._indexes.book(self.hour)
        first, end = index.batch_range(base.ts_us, upto_us)
        if base.hour != self.hour:
            return Stretch(None, self._rows.read(index, ticker, first, end), exact=False)
        span = np.array([base.first_row, base.first_row + base.rows - 1])
        base_first, base_last = self.source.batches("orderbook").of_rows(span).tolist()
        near = base_first <= end and base_last >= first - 1 and first < end
        if near:
            first, end = min(first, base_first), max(end, base_last + 1)
        rows = self._rows.read(index, ticker, first, end)
        own = rows if near else self._rows.read(index, ticker, base_first, base_last + 1)
        return Stretch(own.between(base.first_row, base.first_row + base.rows), rows, exact=False)

    def changes(self, ticker: str, start_us: int, end_us: int) -> Iterator[tuple[BookRows, int]]:
        """Yield a market's rows of a range: batches are nearly in order of stamps."""
        index = self._indexes.book(self.hour)
        for first, end in _steps(index, start_us, end_us):
            yield self._rows.read(index, ticker, first, end), index.least_from(end)

    def trades(self, ticker: str, start_us: int, end_us: int) -> Iterator[tuple[pa.Table, int]]:
        """Yield a market's trades of a range."""
        index = self._indexes.trades(self.hour)
        batches = self.source.batches("trades")
        for first, end in _steps(index, start_us, end_us):
            found = self._of_market(index, ticker, int(batches.first_row[first]), batches.row_end(end))
            if found is not None:
                yield found, index.least_from(end)

    def audits(self, ticker: str) -> pa.Table | None:
        """Return a market's audits."""
        index = self._indexes.audits(self.hour)
        return self._of_market(index, ticker, 0, self.source.batches("audits").rows)

    def clock(self, conn: int) -> ConnClock | None:
        """Return a conn's clock."""
        index = self._indexes.book(self.hour)
        shown = index.shown.get(conn)
        return FolderClock(index, conn, shown) if shown else None

    def _of_market(self, index: RowIndex, ticker: str, first_row: int, end_row: int) -> pa.Table | None:
        """Return a market's rows of a table among some rows. Cost: decodes the batches that hold it."""
        rows = index.rows_between(ticker, first_row, end_row)
        if not len(rows):
            return None
        batches = self.source.batches(index.table)
        numbers = np.unique(batches.of_rows(rows))
        table = self.source.decode(index.table, numbers)
        return table.take(pa.array(np.searchsorted(batches.row_numbers(numbers), rows)))


def _steps(index: RowIndex, start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """Yield neighbouring ranges of the batches that hold rows of [start_us, end_us), growing in size."""
    first, last = index.batch_range(start_us, end_us - 1)
    size = _FIRST_BATCHES
    while first < last:
        end = min(last, first + size)
        yield first, end
        first, size = end, min(2 * size, _MOST_BATCHES)
