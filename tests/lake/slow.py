"""What is published of an hour, reckoned row by row in plain Python from the whole log.

Owns a reading of docs/format.md of its own: it decodes the files itself, knows no columns, and
asks "what is known at this instant?" where the code under test walks. Takes nothing of lake but names and schemas.
"""

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from book.digest import digest
from book.records import DAY_US, HOUR_US

SNAPSHOT, DELTA, CHECKPOINT, CLOSE, ORPHAN = range(5)
BASES = (SNAPSHOT, CHECKPOINT, CLOSE)
OPENS_NO_GAP = ("moved", "unsubscribed", "market_closed")
BEFORE = -1 << 62
State = tuple[Any, ...]


class Row(NamedTuple):
    """A row of the orderbook, in the order of its published columns."""

    ticker: str
    ts: int
    exch: int | None
    conn: int
    seq: int
    kind: int
    side: int | None
    price: int | None
    qty: int | None
    reason: str | None

    @property
    def key(self) -> tuple[int, int, int, int]:
        return (self.ts, self.conn, self.seq, self.kind)

    @property
    def sort_key(self) -> tuple[Any, ...]:
        level = (-1 if self.side is None else self.side, -1 if self.price is None else self.price)
        return (self.ticker, *self.key, *level)


@dataclass
class Flush:
    """A line of a flush file with the rows it acknowledges."""

    n: int
    hour: int
    conns: dict[int, list[int]]
    silences: list[tuple[int, int, int]]
    rows: dict[str, list[dict[str, Any]]]


def read_log(home: Path, shard: int) -> list[Flush]:
    """Return every whole flush of a shard, oldest first."""
    found = []
    root = home / "journal" / str(shard)
    for path in sorted(root.glob("*/*/flush.jsonl")):
        folder = path.parent
        day = pa.scalar(f"{folder.parent.name}T{folder.name}:00:00").cast(pa.timestamp("us")).cast(pa.int64()).as_py()
        at: dict[str, int] = {}
        tables: dict[str, list[dict[str, Any]]] = {}
        lines = [json.loads(line.rpartition(b"\t")[0]) for line in path.read_bytes().split(b"\n")[:-1]]
        lengths = {segment: length for line in lines for segment, length, _, _ in line.get("tables", {}).values()}
        for segment, length in lengths.items():
            rows = pa.ipc.open_stream((folder / segment).read_bytes()[:length]).read_all()
            tables[segment] = _plain(rows)
        for line in lines:
            taken = {}
            for table, (segment, _, _, count) in line.get("tables", {}).items():
                start = at.get(segment, 0)
                taken[table] = tables[segment][start : start + count]
                at[segment] = start + count
            conns = {int(conn): mark for conn, mark in line.get("conns", {}).items()}
            silences = [tuple(one) for one in line.get("silences", [])]
            found.append(Flush(line["n"], day // HOUR_US, conns, silences, taken))
    return found


def _plain(table: pa.Table) -> list[dict[str, Any]]:
    columns = {
        name: (table[name].cast("int64") if pa.types.is_timestamp(table[name].type) else table[name]).to_pylist()
        for name in table.column_names
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def plain_rows(table: pa.Table) -> list[Row]:
    """Return a published orderbook as rows."""
    return [Row(*row.values()) for row in _plain(table)]


def plain(table: pa.Table) -> list[dict[str, Any]]:
    """Return a table's rows, instants as integers."""
    return _plain(table)


@dataclass
class Hours:
    """A shard's log up to a flush, and which of its hours have ended."""

    flushes: list[Flush]
    ended: set[int]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def hours(self) -> list[int]:
        """The hours with a folder or a close stamped in them."""
        closes = {row.ts // HOUR_US for row, _, _ in self.logged if row.kind == CLOSE}
        return sorted({flush.hour for flush in self.flushes} | closes)

    @cached_property
    def logged(self) -> list[tuple[Row, int, bool]]:
        """Every orderbook row with its folder, in log order; last the closes that nobody wrote (True)."""
        found = [
            (Row(*row.values()), flush.hour, False) for flush in self.flushes for row in flush.rows.get("orderbook", [])
        ]
        last: dict[tuple[str, int], Row] = {}
        for row, _, _ in found:
            if row.kind in BASES:
                last[row.ticker, row.conn] = row
        named = {(conn, flush.hour) for flush in self.flushes for conn in flush.conns}
        for conn, (heard, seq, up, *_) in sorted(self.marks.items()):
            at = heard + 1
            if up and (conn, at // HOUR_US) in named and at // HOUR_US not in self.ended:
                for (ticker, of), row in sorted(last.items()):
                    if of == conn and (row.kind != CLOSE or row.ts > at):
                        close = Row(ticker, at, None, conn, seq, CLOSE, None, None, None, "crash")
                        found.append((close, at // HOUR_US, True))
        return found

    @cached_property
    def marks(self) -> dict[int, list[int]]:
        """The mark of each conn that was heard furthest."""
        found: dict[int, list[int]] = {}
        for flush in self.flushes:
            for conn, mark in flush.conns.items():
                if conn not in found or mark[0] >= found[conn][0]:
                    found[conn] = mark
        return found

    @cached_property
    def settled(self) -> dict[int, list[Row]]:
        """What is published of each hour, sorted."""
        by_pair: dict[tuple[str, int], list[int]] = defaultdict(list)
        for place, (row, _, _) in enumerate(self.logged):
            by_pair[row.ticker, row.conn].append(place)
        void: set[int] = set()
        for places in by_pair.values():
            rows = [self.logged[place][0] for place in places]
            for at, close in enumerate(rows):
                if close.kind == CLOSE:
                    for place, row in zip(places[:at], rows, strict=False):
                        after = row.seq > close.seq or (row.kind == CHECKPOINT and row.key > close.key)
                        if row.kind in (SNAPSHOT, DELTA, CHECKPOINT) and after:
                            void.add(place)
        found: dict[int, list[Row]] = defaultdict(list)
        closes: set[Row] = set()
        for place, (row, folder, derived) in enumerate(self.logged):
            hour = row.ts // HOUR_US
            self.counts["derived"] += derived
            if row.kind != CLOSE and folder != hour:
                self.counts["early_checkpoint"] += 1
                assert row.kind == CHECKPOINT
            elif row.kind == CLOSE and row in closes:
                self.counts["close"] += 1
            elif place in void and row.kind != DELTA:
                self.counts[("snapshot", "", "checkpoint")[row.kind]] += 1
            elif place in void:
                self.counts["orphaned"] += 1
                found[hour].append(row._replace(kind=ORPHAN))
            else:
                found[hour].append(row)
                closes |= {row} if row.kind == CLOSE else set()
        return {hour: sorted(rows, key=lambda row: row.sort_key) for hour, rows in found.items()}

    @cached_property
    def lives(self) -> dict[str, "Life"]:
        """Each market's settled rows over all hours."""
        rows: dict[str, list[Row]] = defaultdict(list)
        for hour in sorted(self.settled):
            for row in self.settled[hour]:
                rows[row.ticker].append(row)
        equal: dict[str, list[int]] = defaultdict(list)
        for flush in self.flushes:
            for audit in flush.rows.get("audits", []):
                if audit["equal"]:
                    equal[audit["ticker"]].append(audit["ts_recv"])
        return {ticker: Life(found, equal[ticker]) for ticker, found in rows.items()}

    def silences(self, hour: int) -> list[tuple[int, int, int]]:
        """Return the silences of an hour, cut to it."""
        start, end = hour * HOUR_US, (hour + 1) * HOUR_US
        told = {one for flush in self.flushes if flush.hour >= hour for one in flush.silences}
        return sorted((conn, max(a, start), min(b, end)) for conn, a, b in told if max(a, start) < min(b, end))


class Life:
    """One market: what is known of it at an instant, by the rule."""

    def __init__(self, rows: list[Row], equal: list[int]) -> None:
        self.rows, self.equal = rows, sorted(equal)
        self.keys = [row.key for row in rows]
        self.groups = [row for row in rows if row.kind in BASES]
        self.stamps = [row.ts for row in self.groups]

    def state(self, ts: int, after: int = BEFORE) -> State:
        """Return what is known at an instant; groups stamped before ``after`` are forgotten."""
        found = [row for row in self.groups[: bisect_right(self.stamps, ts)] if row.ts >= after]
        if not found:
            return ("nothing",)
        top = found[-1]
        if top.kind != CLOSE:
            return ("known", top.conn)
        closes = list(takewhile(lambda row: row.kind == CLOSE, reversed(found)))
        if any(close.reason == "market_closed" for close in closes) or top.reason == "unsubscribed":
            return ("nothing",)
        since = list(takewhile(lambda row: row.reason != "unsubscribed", closes))
        first = next((close for close in reversed(since) if close.reason not in OPENS_NO_GAP), since[-1])
        return ("gap", first.conn, first.reason)

    def stood(self, hour: int) -> State:
        """Return what is carried into an hour."""
        start = hour * HOUR_US
        state = self.state(start - 1)
        record = self.record_hour(hour)
        if state[0] == "gap" and record is not None and start >= -(-(record * HOUR_US + DAY_US) // DAY_US) * DAY_US:
            return ("nothing",)
        return state

    def record_hour(self, hour: int) -> int | None:
        """Return the latest hour before this one with a snapshot, checkpoint or close."""
        return max((stamp // HOUR_US for stamp in self.stamps if stamp < hour * HOUR_US), default=None)

    def stretches(self, hour: int) -> list[tuple[int, int, State]]:
        """Return the stretches of an hour in which the state is the same: known or gap."""
        start, end = hour * HOUR_US, (hour + 1) * HOUR_US
        stood = self.stood(hour)
        after = start if stood == ("nothing",) else BEFORE
        cuts = sorted({start, *(stamp for stamp in self.stamps if start <= stamp < end)})
        found: list[tuple[int, int, State]] = []
        for at, to in zip(cuts, [*cuts[1:], end], strict=True):
            state = self.state(at, after)
            if found and found[-1][2] == state:
                found[-1] = (found[-1][0], to, state)
            else:
                found.append((at, to, state))
        return [one for one in found if one[2] != ("nothing",)]

    def book(self, rows: list[Row]) -> dict[tuple[int, int], int]:
        """Return the fold of the last snapshot or checkpoint of these rows, zero sizes included."""
        base = max(row.key for row in rows if row.kind in (SNAPSHOT, CHECKPOINT))
        levels: Counter[tuple[int, int]] = Counter()
        for row in rows:
            later = row.kind == DELTA and row.conn == base[1] and row.seq > base[2]
            if (row.key == base or later) and row.side is not None and row.price is not None:
                levels[row.side, row.price] += row.qty or 0
        return dict(levels)

    def digest(self, rows: list[Row]) -> str:
        return digest((side, price, qty) for (side, price), qty in self.book(rows).items() if qty)
