"""A published hour read alone: one Parquet file's rows and its hour's coverage, in plain Python.

Owns the word-by-word reading of the rule over published files. Takes nothing of the reader under test but where the
files stand.
"""

from collections import defaultdict
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from book.records import HOUR_US, Kind
from lake.publishing.shelf import Shelf
from tests.model.oracle import GAP, OVER, UNWANTED, add

BASES = (Kind.SNAPSHOT, Kind.CHECKPOINT, Kind.CLOSE)
Verdict = dict[tuple[int, int], int] | str


class Row(NamedTuple):
    """A row of a market in a file."""

    ts_us: int
    conn: int
    seq: int
    kind: int
    side: int | None
    price_e4: int | None
    qty_e2: int | None
    reason: str | None


class Files:
    """The hours that stand, each read whole."""

    def __init__(self, lake: Path) -> None:
        self._shelf = Shelf(lake)
        self._shelf.refresh()
        self.hours = self._shelf.hours()
        self._read = lru_cache(maxsize=None)(self._read_hour)

    def touched(self, ticker: str, ts_us: int) -> bool:
        """Say whether a market has a base or close at or before an instant in its hour's file."""
        rows, _, _ = self._read(ts_us // HOUR_US)
        return any(row.ts_us <= ts_us and row.kind in BASES for row in rows[ticker])

    def answer(self, ticker: str, ts_us: int) -> Verdict:
        """Answer from the file of the instant's hour alone; where it is untouched, from the one it points to."""
        rows, silences, pointers = self._read(ts_us // HOUR_US)
        if not self.touched(ticker, ts_us):
            if ticker not in pointers:
                return "nothing here"
            if pointers[ticker] is None:
                return "no data"
            rows = self._read(pointers[ticker])[0]
        return _verdict([row for row in rows[ticker] if row.ts_us <= ts_us], silences, ts_us)

    def _read_hour(self, hour: int) -> Any:
        coverage = self._shelf.standing_rows(hour).to_pylist()
        rows: dict[str, list[Row]] = defaultdict(list)
        for one in coverage:
            if one["state"] == "table" and one["channel"] == "orderbook":
                table = pq.read_table(self._shelf.path("orderbook", one["file"]), partitioning=None)
                table = table.set_column(1, "ts_recv", pc.cast(table["ts_recv"], "int64"))
                names = ("ts_recv", "conn", "seq", "kind", "side", "price_e4", "qty_e2", "reason")
                for ticker, *row in zip(
                    table["ticker"].to_pylist(), *(table[n].to_pylist() for n in names), strict=True
                ):
                    rows[ticker].append(Row(*row))
        silences = [
            (one["conn"], _micros(one["ts_from"]), _micros(one["ts_to"]))
            for one in coverage
            if one["state"] == "silence"
        ]
        pointers: dict[str, int | None] = {}
        for one in coverage:
            loose = one["end_reason"] is None  # changes that came before any base: the hour knows nothing of the market
            if one["state"] in ("known", "gap") and not loose:
                last = one["last_record_hour"]
                pointers.setdefault(one["ticker"], None if last is None else _micros(last) // HOUR_US)
        return rows, silences, pointers


def _verdict(rows: list[Row], silences: list[tuple[int, int, int]], ts_us: int) -> Verdict:
    """Read the rule over a market's rows up to an instant, in file order."""
    groups: list[Row] = [row for row in rows if row.kind in BASES]
    if not groups:
        return "no data"
    top = max(groups, key=lambda row: row[:4])
    if top.kind == Kind.CLOSE:
        closes = list(takewhile(lambda row: row.kind == Kind.CLOSE, sorted(groups, key=lambda row: row[:4])[::-1]))
        reasons = [close.reason for close in closes]
        if "market_closed" in reasons:
            return OVER
        return UNWANTED if reasons[0] == "unsubscribed" else GAP
    if any(conn == top.conn and from_us <= ts_us < to_us for conn, from_us, to_us in silences):
        return GAP
    book: dict[tuple[int, int], int] = {}
    for row in rows:
        if row[:4] == top[:4] and row.side is not None:
            add(book, (row.side, row.price_e4 or 0, row.qty_e2 or 0))
    for row in rows:
        if row.kind == Kind.DELTA and row.conn == top.conn and row.seq > top.seq:
            add(book, (row.side or 0, row.price_e4 or 0, row.qty_e2 or 0))
    return book


def _micros(moment: Any) -> int:
    return int(moment.timestamp()) * 1_000_000 + int(moment.microsecond)
