"""The coverage of one version of one published hour, as columns that are looked up by market.

Owns what coverage rows say of where a market's rows stand, what its books can start from, and how far conns were
heard. Never opens a data file.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

import pyarrow as pa

from book.errors import CorruptError
from book.records import Kind
from lake import paths
from lake.journal.reader import NO_INSTANT
from lake.settling.columns import integers
from lake.settling.coverage import EVERY
from lake.settling.feeds import FeedPart, ShardFill, told_parts
from lake.settling.fragments import CONTINUES
from query.group import NOTHING, POS_HOUR_BITS, Group, Tally
from query.intervals import Interval
from query.rows import Numbers
from query.withdrawal import UNTOUCHED, Settled

_PUBLISHED = frozenset({"known", "gap"})
_GROUP_BYTES = 300
_MARKET_BYTES = 1500
_ROW_BYTES = 400
_INTEGERS = (
    "shard", "conn", "ts_from", "ts_to", "snapshots", "deltas", "orphans", "first_row", "rows", "last_record_hour",
    "last_change", "last_audit", "audits",
)  # fmt: skip
_BASES = ("ts_recv", "conn", "seq", "kind", "row", "rows", "ts_exch")


class Heard(NamedTuple):
    """How far a conn was heard in an hour: the last stamp, and whether it was heard at or past the hour's end."""

    until_us: int
    goes_on: bool


class File(NamedTuple):
    """A file of the hour: its path below the table's folder, and its rows."""

    name: str
    rows: int


class Audited(NamedTuple):
    """A fragment's account of audits: since when it is, how many it holds, the last equal one up to its end."""

    from_us: int
    audits: int
    last_us: int | None


class Market:
    """A market's hour: its groups, and its rows [first_row, end_row) of ``file``."""

    def __init__(self, groups: Sequence[Group], file: str | None, first_row: int, end_row: int) -> None:
        self.settled = Settled(groups) if groups else UNTOUCHED
        self.file = file
        self.first_row = first_row
        self.end_row = end_row
        self.shard = -1
        """The shard that it is published from."""
        self.tally: Tally = NOTHING
        self.alone: int | None = None
        """The conn that all its rows are of, where there is no orphan among them; None where they are of several."""
        self.last_record_hour: int | None = None
        """The latest earlier hour with a group of it, None where the hour does not know of one."""
        self.last_change_us: int | None = None
        self.audited: list[Audited] = []

    @property
    def size_bytes(self) -> int:
        """Return the memory it holds, about."""
        return _MARKET_BYTES + _GROUP_BYTES * len(self.settled.groups)

    def goes_on(self, base: Group, upto_us: int) -> bool:
        """Say whether no group stands after a base, up to an instant."""
        place = bisect_right(self.settled.groups, base.pos, key=_pos)
        return place == len(self.settled.groups) or self.settled.stamps[place] > upto_us

    def row_before(self, ts_us: int) -> int:
        """Return a row before which every row is stamped before an instant: that of the last group before it."""
        place = bisect_left(self.settled.stamps, ts_us)
        return self.settled.groups[place - 1].first_row if place else self.first_row

    def row_from(self, ts_us: int) -> int:
        """Return a row from which on every row is stamped at or after an instant: that of the first such group."""
        return self._row(bisect_left(self.settled.stamps, ts_us))

    def row_after(self, ts_us: int) -> int:
        """Return a row from which on every row is stamped after an instant: that of the first such group."""
        return self._row(bisect_right(self.settled.stamps, ts_us))

    def _row(self, place: int) -> int:
        groups = self.settled.groups
        return groups[place].first_row if place < len(groups) else self.end_row


_pos = attrgetter("pos")


class HourCoverage:
    """Coverage rows of one version of an hour."""

    def __init__(self, hour: int, rows: pa.Table) -> None:
        """Take the rows of the version, in the order of their file."""
        self.hour = hour
        self._rows = rows.combine_chunks()
        self._columns = {name: integers(self._rows[name]) for name in _INTEGERS}
        self._places = _places(rows["ticker"].to_pylist())
        self.size_bytes = rows.nbytes + _ROW_BYTES * rows.num_rows
        """The memory it holds, about, once it was asked."""

    def tickers(self) -> list[str]:
        """Return the markets with rows, ascending."""
        return [ticker for ticker in self._places if ticker != EVERY]

    def market(self, ticker: str) -> Market | None:
        """Return a market's hour as it is published, None where there is no row of it.

        Raises CorruptError where its rows are not of one piece. Cost: about 30 us, and 1 us a group.
        """
        places = self._fragments(ticker)
        if not places:
            return None
        file, first_row, end_row = self._extent(ticker, places)
        market = Market([group for place in places for group in self._groups(place)], file, first_row, end_row)
        market.shard = self._value("shard", places[0])
        market.alone = self._alone(places)
        market.tally = self._tally(places)
        market.last_change_us = self._instant("last_change", places[-1])
        record_us = self._instant("last_record_hour", places[0])
        market.last_record_hour = None if record_us is None else paths.hour_of(record_us)
        market.audited = [
            Audited(self._value("ts_from", at), self._value("audits", at), self._instant("last_audit", at))
            for at in places
        ]
        return market

    def conns(self) -> dict[int, Heard]:
        """Return how far the conns of every shard were heard. Cost: a look at each."""
        end_us = paths.hour_start_us(self.hour + 1)
        found: dict[int, Heard] = {}
        for place in self._every("conn"):
            goes_on = self._reasons[place] == CONTINUES
            until_us = end_us if goes_on else self._value("ts_to", place) - 1
            found[self._value("conn", place)] = Heard(until_us, goes_on)
        return found

    def silences(self) -> dict[int, list[Interval]]:
        """Return the silences of each conn, ascending."""
        found: dict[int, list[Interval]] = {}
        for place in self._every("silence"):
            part = (self._value("ts_from", place), self._value("ts_to", place))
            found.setdefault(self._value("conn", place), []).append(part)
        return {conn: sorted(parts) for conn, parts in found.items()}

    @cached_property
    def feeds(self) -> tuple[list[FeedPart], list[ShardFill]]:
        """The stretches of the firehoses, and the lapses that were filled in the hour."""
        first, end = self._places.get(EVERY, (0, 0))
        return told_parts(self._rows.slice(first, end - first))

    def files(self, table: str) -> list[File]:
        """Return the files of a table, in the order of their rows' tickers where there are several."""
        channels = self._rows["channel"]
        return [
            File(str(self._files[place]), self._value("rows", place))
            for place in self._every("table")
            if channels[place].as_py() == table
        ]

    def snapshots(self) -> dict[int, list[int]]:
        """Return the seqs of each conn's snapshots."""
        found: dict[int, list[int]] = {}
        columns = (self._bases[name].tolist() for name in ("conn", "seq", "kind"))
        for conn, seq, kind in zip(*columns, strict=True):
            if kind == Kind.SNAPSHOT:
                found.setdefault(conn, []).append(seq)
        return found

    def _value(self, name: str, place: int) -> int:
        return int(self._columns[name][place])

    def _instant(self, name: str, place: int) -> int | None:
        found = int(self._columns[name][place])
        return None if found == NO_INSTANT else found

    def _every(self, state: str) -> list[int]:
        """Return the rows of a state that concern no market."""
        first, end = self._places.get(EVERY, (0, 0))
        states = self._rows["state"].slice(first, end - first).to_pylist()
        return [first + at for at, found in enumerate(states) if found == state]

    def _fragments(self, ticker: str) -> list[int]:
        """Return the rows of a market as it is published, in order of time."""
        first, end = self._places.get(ticker, (0, 0))
        starts, ends = self._columns["ts_from"], self._columns["ts_to"]
        states = self._rows["state"].slice(first, end - first).to_pylist()
        own = [first + at for at, state in enumerate(states) if state in _PUBLISHED]
        return sorted(own, key=lambda place: (starts[place], ends[place], self._columns["first_row"][place]))

    def _extent(self, ticker: str, places: list[int]) -> tuple[str | None, int, int]:
        """Return where a market's rows stand: file, first row, end."""
        file: str | None = None
        first_row = end_row = 0
        for place in places:
            rows = self._value("rows", place)
            if not rows:
                continue
            begin = self._value("first_row", place)
            if file is None:
                file, first_row = self._files[place], begin
            elif self._files[place] != file or begin != end_row:
                raise CorruptError(f"coverage of hour {self.hour}", 0, f"the rows of {ticker} are not of one piece")
            end_row = begin + rows
        return file, first_row, end_row

    def _alone(self, places: list[int]) -> int | None:
        """Return the one conn that all rows are of, None where they are of several or orphans are among them."""
        conns = {self._value("conn", place) for place in places if self._value("rows", place)}
        orphans = any(self._value("orphans", place) for place in places)
        return conns.pop() if len(conns) == 1 and not orphans else None

    def _tally(self, places: list[int]) -> Tally:
        last_us = self._instant("last_change", places[-1])
        start_us = paths.hour_start_us(self.hour)
        return Tally(
            sum(self._value("snapshots", place) for place in places),
            sum(self._value("deltas", place) for place in places),
            last_us if last_us is not None and last_us >= start_us else None,
        )

    def _groups(self, place: int) -> list[Group]:
        start, end = int(self._offsets[place]), int(self._offsets[place + 1])
        if start == end:
            return []
        base = self.hour << POS_HOUR_BITS
        columns = (self._bases[name][start:end].tolist() for name in _BASES)
        reasons = self._base_reasons.slice(start, end - start).to_pylist()
        return [
            Group(ts_us, conn, seq, kind, base | row, rows, exch_us, reason)
            for ts_us, conn, seq, kind, row, rows, exch_us, reason in zip(*columns, reasons, strict=True)
        ]

    @cached_property
    def _files(self) -> list[str | None]:
        found: list[str | None] = self._rows["file"].to_pylist()
        return found

    @cached_property
    def _reasons(self) -> list[str | None]:
        found: list[str | None] = self._rows["end_reason"].to_pylist()
        return found

    @cached_property
    def _lists(self) -> pa.ListArray:
        column = self._rows["bases"]
        return column.chunk(0) if column.num_chunks == 1 else pa.array([], column.type)

    @cached_property
    def _offsets(self) -> Numbers:
        found: Numbers = self._lists.offsets.to_numpy()
        return found

    @cached_property
    def _bases(self) -> dict[str, Numbers]:
        values = self._lists.values
        return {name: integers(pa.chunked_array([values.field(name)])) for name in _BASES}

    @cached_property
    def _base_reasons(self) -> pa.Array:
        return self._lists.values.field("reason")


def _places(tickers: list[str]) -> dict[str, tuple[int, int]]:
    """Return the rows [first, end) of each ticker."""
    found: dict[str, tuple[int, int]] = {}
    first = 0
    for place in range(1, len(tickers) + 1):
        if place == len(tickers) or tickers[place] != tickers[first]:
            found[tickers[first]] = (first, place)
            first = place
    return found
