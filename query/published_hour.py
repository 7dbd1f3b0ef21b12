"""A published hour as questions see it: coverage says where, files say what.

Owns how an hour's question becomes reads of row groups. The hour is settled: what its closes withdrew is orphaned or
left out already, and its rows stand in sort order. Of each market it holds one shard's rows.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

import numpy as np
import pyarrow as pa

from book.errors import CorruptError
from book.records import Kind
from lake.journal.reader import NO_INSTANT
from lake.settling.columns import integers
from query.clocks import ConnClock, FileClock
from query.group import NOTHING, Group, Tally
from query.hour_book import FAR_US, Stretch
from query.hour_coverage import Heard, HourCoverage, Market
from query.intervals import Interval
from query.memory import Memory
from query.part_files import PartFiles
from query.row_group import EXCHANGE, LEAN, RECEIVED
from query.rows import BookRows, Numbers, joined
from query.withdrawal import UNTOUCHED, Settled

_CLOCK_COLUMNS = ("conn", "seq", "kind", "ts_recv", "ts_exch")
_OBJECT_BYTES = 1000
_AUDIT_BYTES = 100
_FIRST_ROWS = 512


class PublishedHour:
    """A HourBook over one version of a published hour; see query.hour_book."""

    def __init__(self, coverage: HourCoverage, version: int, files: PartFiles, memory: Memory) -> None:
        """Read a version of an hour; what is derived is kept in ``memory``."""
        self.hour = coverage.hour
        self.version = version
        self.coverage = coverage
        self._files = files
        self._memory = memory
        self._key = (self.hour, version)
        self._conns: dict[int, Heard] | None = None
        self._silences: dict[int, list[Interval]] | None = None
        self._checked = False

    def heard(self, conn: int) -> Heard | None:
        """Return how far a conn was heard in the hour, None where it was not."""
        if self._conns is None:
            self._conns = self.coverage.conns()
        return self._conns.get(conn)

    def heard_until_us(self) -> int | None:
        """Return the last stamp heard on any conn."""
        self.heard(0)
        return max((heard.until_us for heard in (self._conns or {}).values()), default=None)

    def silences(self, conn: int) -> Sequence[Interval]:
        """Return a conn's silences in the hour, ascending."""
        if self._silences is None:
            self._silences = self.coverage.silences()
        return self._silences.get(conn, ())

    def market(self, ticker: str) -> Market | None:
        """Return a market's hour, None where coverage does not name it."""
        key = ("market", *self._key, ticker)
        found: Market | None = self._memory.get(key)
        if found is None:
            found = self.coverage.market(ticker)
            if found is not None:
                self._memory.put(key, found, found.size_bytes)
        return found

    def tickers(self) -> Iterable[str]:
        """Return the markets that coverage names."""
        return self.coverage.tickers()

    def holds(self, ticker: str) -> bool:
        """Say whether coverage names a market: its book was followed or missing, or it has rows."""
        return self.market(ticker) is not None

    def groups(self, ticker: str) -> Sequence[Group]:
        """Return a market's groups, in sort order. Cost: nothing is decoded."""
        market = self.market(ticker)
        return market.settled.groups if market else ()

    def settled(self, ticker: str) -> Settled | None:
        """Return a market's groups as they stand."""
        market = self.market(ticker)
        return market.settled if market else UNTOUCHED

    def tally(self, ticker: str) -> Tally:
        """Return what was received of a market and stands."""
        market = self.market(ticker)
        return market.tally if market else NOTHING

    def last_change_us(self, ticker: str) -> int | None:
        """Return the stamp of a market's last snapshot or delta up to the hour's end."""
        market = self.market(ticker)
        return market.last_change_us if market else None

    def last_audit(self, ticker: str, upto_us: int) -> tuple[int | None, bool]:
        """Return the stamp of a market's last equal audit up to an instant, and whether the hour before may tell it.

        Cost: nothing is decoded, but where an audit follows the instant in the same fragment.
        """
        market = self.market(ticker)
        if market is None:
            return None, False
        audited = market.audited
        at = bisect_right(audited, upto_us, key=_from_us) - 1
        if at >= 0 and (audited[at].last_us or 0) <= upto_us:
            return audited[at].last_us, False
        kept = self._audits() if any(each.audits for each in audited) else None
        stamps = kept.equal.get(ticker, ()) if kept else ()
        before = audited[at - 1].last_us if at > 0 else None
        found = max((stamp for stamp in stamps if stamp <= upto_us), default=before)
        return found, found is None and at <= 0 and market.last_record_hour is not None

    def stretch(self, ticker: str, base: Group, upto_us: int, *, exchange: bool) -> Stretch:
        """Return a base's own rows where they stand here, and the rows up to the first group after the instant.

        Raises CorruptError where the file does not hold what coverage says.
        """
        market = self.market(ticker)
        if market is None or market.file is None:
            return Stretch(None, joined(()), exact=False)
        own = base.rows if base.hour == self.hour else 0
        first = base.first_row if own else market.first_row
        lean = not exchange and own > 0 and market.alone == base.conn and market.goes_on(base, upto_us)
        wanted = LEAN if lean else EXCHANGE if exchange else RECEIVED
        upto_us = max(upto_us, base.ts_us) if own else upto_us
        rows = self._book_rows(market.file, first, max(first + own, market.row_after(upto_us)), wanted, upto_us)
        end = max(own, int(rows.ts_us.searchsorted(upto_us, side="right")))
        changes = rows.take(slice(own, end))
        if not own:
            return Stretch(None, changes, exact=False)
        base_rows = rows.take(slice(0, own))
        self._check(market.file, base, base_rows, lean=lean)
        return Stretch(base_rows, changes, exact=lean)

    def changes(self, ticker: str, start_us: int, end_us: int) -> Iterator[tuple[BookRows, int]]:
        """Yield a market's rows of a range. Cost: decodes a row group as it is reached."""
        market = self.market(ticker)
        if market is None or market.file is None:
            return
        first, end = market.row_before(start_us), market.row_from(end_us)
        starts = self._files.row_starts(market.file)
        while first < end:
            upto = min(end, int(starts[np.searchsorted(starts, first, side="right")]))
            rows = self._book_rows(market.file, first, upto, EXCHANGE)
            for part in _steps(len(rows)):
                yield rows.take(part), FAR_US
            first = upto

    def trades(self, ticker: str, start_us: int, end_us: int) -> Iterator[tuple[pa.Table, int]]:
        """Yield a market's trades of the hour, all at once."""
        key = ("trades", *self._key, ticker)
        found: pa.Table | None = self._memory.get(key)
        if found is None:
            parts = [self._files.of_market("trades", file.name, ticker) for file in self.coverage.files("trades")]
            found = pa.concat_tables(parts) if parts else None
            if found is None:
                return
            self._memory.put(key, found, found.nbytes + _OBJECT_BYTES)
        if found.num_rows:
            yield found, FAR_US

    def audits(self, ticker: str) -> pa.Table | None:
        """Return a market's audits. Cost: where coverage counts any, reads the hour's, once while they are kept."""
        market = self.market(ticker)
        kept = self._audits() if market and any(each.audits for each in market.audited) else None
        first, end = kept.places.get(ticker, (0, 0)) if kept else (0, 0)
        return kept.rows.slice(first, end - first) if kept and first < end else None

    def clock(self, conn: int) -> ConnClock | None:
        """Return what a conn's changes show. Cost: one reading of five columns of the hour, once while it is kept."""
        if self.heard(conn) is None:
            return None
        key = ("clocks", *self._key)
        clocks: dict[int, FileClock] | None = self._memory.get(key)
        if clocks is None:
            clocks = self._clocks()
            self._memory.put(key, clocks, _OBJECT_BYTES + sum(clock.size_bytes for clock in clocks.values()))
        return clocks.get(conn)

    def _audits(self) -> "_Audits | None":
        key = ("audits", *self._key)
        kept: _Audits | None = self._memory.get(key)
        if kept is None:
            parts = [self._files.whole("audits", file.name) for file in self.coverage.files("audits")]
            if not parts:
                return None
            kept = _Audits(pa.concat_tables(parts))
            self._memory.put(key, kept, kept.size_bytes)
        return kept

    def _clocks(self) -> dict[int, FileClock]:
        shown: dict[int, list[tuple[Numbers, Numbers, Numbers]]] = {}
        for file in self.coverage.files("orderbook"):
            for rows in self._files.groups("orderbook", file.name, _CLOCK_COLUMNS):
                conns, seq, kind, ts_us, exch_us = (integers(rows[name]) for name in _CLOCK_COLUMNS)
                change = ((kind == Kind.DELTA) | (kind == Kind.ORPHAN)) & (exch_us != NO_INSTANT)
                for conn in np.unique(conns[change]).tolist():
                    own = change & (conns == conn)
                    shown.setdefault(conn, []).append((seq[own], ts_us[own], exch_us[own]))
        snapshots = self.coverage.snapshots()
        return {conn: FileClock(*_joined(parts), snapshots.get(conn, [])) for conn, parts in shown.items()}

    def _book_rows(
        self, file: str, first_row: int, end_row: int, wanted: Sequence[str], upto_us: int | None = None
    ) -> BookRows:
        if not self._checked:
            for part in self.coverage.files("orderbook"):
                if int(self._files.row_starts(part.name)[-1]) != part.rows:
                    raise CorruptError(part.name, 0, f"it does not have the {part.rows} rows that coverage names")
            self._checked = True
        return self._files.book_rows(file, first_row, end_row, wanted, upto_us)

    @staticmethod
    def _check(file: str, base: Group, rows: BookRows, *, lean: bool) -> None:
        """Raise CorruptError where a base's rows are not those that coverage names."""
        right = len(rows) == base.rows
        for at in (0, -1) if right else ():
            right &= rows.ts_us[at] == base.ts_us and rows.seq[at] == base.seq
            right &= lean or (rows.conn[at] == base.conn and rows.kind[at] == base.kind)
        if not right:
            raise CorruptError(file, base.first_row, f"row {base.first_row} is not the base that coverage names")


_from_us = attrgetter("from_us")


def _joined(parts: list[tuple[Numbers, Numbers, Numbers]]) -> tuple[Numbers, Numbers, Numbers]:
    seq, ts_us, exch_us = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return seq, ts_us, exch_us


def _steps(rows: int) -> Iterator[slice]:
    """Yield neighbouring parts of some rows, growing in size."""
    first, size = 0, _FIRST_ROWS
    while first < rows:
        yield slice(first, min(rows, first + size))
        first, size = first + size, 2 * size


class _Audits:
    """The audits of an hour, sorted by ticker: the rows of each market, and the stamps of its equal ones."""

    def __init__(self, rows: pa.Table) -> None:
        self.rows = rows
        self.places: dict[str, tuple[int, int]] = {}
        self.equal: dict[str, list[int]] = {}
        columns = (rows["ticker"].to_pylist(), integers(rows["ts_recv"]).tolist(), rows["equal"].to_pylist())
        for row, (ticker, ts_us, equal) in enumerate(zip(*columns, strict=True)):
            self.places[ticker] = (self.places.get(ticker, (row, row))[0], row + 1)
            if equal:
                self.equal.setdefault(ticker, []).append(ts_us)
        self.size_bytes = _OBJECT_BYTES + rows.nbytes + _AUDIT_BYTES * rows.num_rows
