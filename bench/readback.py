"""The proof that an ingest run did its work: its log holds every message once, and its books are right.

Owns the comparison of a recorded log with the tape it came from, by a plain fold.
"""

from pathlib import Path
from typing import Any

import msgspec

from bench import tape
from book.records import Kind, Reason
from lake import paths
from lake.journal.reader import Hour

HARMLESS = frozenset({Reason.SHUTDOWN.value, Reason.MARKET_CLOSED.value, None})

Sizes = dict[str, dict[tuple[int, int], int]]


class Written(msgspec.Struct):
    """What stands in a log: changes, trades and lifecycle messages, flushes, bytes of the segments."""

    deltas: int = 0
    trades: int = 0
    lifecycle: int = 0
    flushes: int = 0
    size_bytes: int = 0


def read_back(home: Path, played: tape.Tape) -> Written:
    """Return what a log of shard 0 holds. Raises AssertionError where it is not what the tape says."""
    written = Written(size_bytes=sum(file.stat().st_size for file in home.rglob("*.arrow")))
    sizes: Sizes = {}
    for number in paths.hours(home, 0):
        hour = Hour(paths.hour_dir(home, 0, number), 0, number)
        written.flushes += len(hour.poll())
        rows = hour.table("orderbook")
        reasons = set(rows.column("reason").unique().to_pylist())
        assert reasons <= HARMLESS, f"spans ended by {reasons - HARMLESS}"
        written.deltas += _fold(rows, sizes)
        written.trades += hour.table("trades").num_rows
        written.lifecycle += hour.table("lifecycle").num_rows
    counted = (written.deltas, written.trades, written.lifecycle)
    wanted = tuple(played.count(kind) for kind in (tape.DELTA, tape.TRADE, tape.LIFECYCLE))
    assert counted == wanted, f"deltas, trades, lifecycle messages written {counted}, sent {wanted}"
    for ticker, levels in played.last.items():
        found = sorted((*key, size) for key, size in sizes[ticker].items() if size)
        assert found == [tuple(level) for level in levels], f"the book of {ticker} differs"
    return written


def _fold(rows: Any, sizes: Sizes) -> int:
    """Add an hour's rows to the books and return how many changes there were."""
    columns = ("ticker", "conn", "seq", "kind", "side", "price_e4", "qty_e2")
    last: tuple[str, int, int] | None = None
    deltas = 0
    for ticker, conn, seq, kind, side, price_e4, qty_e2 in zip(
        *(rows.column(name).to_pylist() for name in columns), strict=True
    ):
        if kind == Kind.SNAPSHOT and last != (ticker, conn, seq):
            sizes[ticker] = {}
        if kind == Kind.DELTA:
            deltas += 1
        if side is not None and kind in (Kind.SNAPSHOT, Kind.DELTA):
            book = sizes[ticker]
            book[side, price_e4] = book.get((side, price_e4), 0) + qty_e2
        last = (ticker, conn, seq) if kind == Kind.SNAPSHOT else None
    return deltas
