"""A shard's log as plain rows, and the rule of design section 4 over them, read word by word.

Owns the slow reading that the log's shape is checked with: which rows a close withdraws, whether a file sorted by key
would say the same as the log, and what the book was. The fast reading is query's.
"""

from pathlib import Path
from typing import NamedTuple

from book.records import Kind
from lake import paths
from lake.journal.reader import Hour
from tests.model.oracle import add

NEVER = 1 << 62
BASES = (Kind.SNAPSHOT, Kind.CHECKPOINT, Kind.CLOSE)


class Row(NamedTuple):
    """A row of the orderbook table, its place in the log and in which flush's hour it stands."""

    ts_us: int
    conn: int
    seq: int
    kind: int
    side: int | None
    price_e4: int | None
    qty_e2: int | None
    exch_us: int | None
    reason: str | None
    hour: int
    place: int

    @property
    def key(self) -> tuple[int, int, int, int]:
        return (self.ts_us, self.conn, self.seq, self.kind)


def read(home: Path, shard: int) -> dict[str, list[Row]]:
    """Return every durable row of each market in log order."""
    found: dict[str, list[Row]] = {}
    place = 0
    for number in paths.hours(home, shard):
        hour = Hour(paths.hour_dir(home, shard, number), shard, number)
        hour.poll()
        table = hour.table("orderbook")
        columns = [
            (table[name].cast("int64") if name in ("ts_recv", "ts_exch") else table[name]).to_pylist()
            for name in table.column_names
        ]
        for ticker, ts_us, exch_us, conn, seq, kind, side, price_e4, qty_e2, reason in zip(*columns, strict=True):
            row = Row(ts_us, conn, seq, kind, side, price_e4, qty_e2, exch_us, reason, number, place)
            found.setdefault(ticker, []).append(row)
            place += 1
    return found


def withdrawn(rows: list[Row]) -> set[int]:
    """Return the places of the rows that a later close of their market and conn makes void."""
    gone = set()
    for at, close in enumerate(rows):
        if close.kind != Kind.CLOSE:
            continue
        for row in rows[:at]:
            after = row.seq > close.seq or (row.kind == Kind.CHECKPOINT and row.key > close.key)
            if row.conn == close.conn and row.kind in (Kind.SNAPSHOT, Kind.DELTA, Kind.CHECKPOINT) and after:
                gone.add(row.place)
    return gone


def book_at(rows: list[Row], ts_us: int) -> dict[tuple[int, int], int] | str:
    """Return the book by the rule, silences and known_until left aside: "no data", "unknown" or the levels."""
    gone = withdrawn(rows)
    valid = [row for row in rows if row.place not in gone and row.ts_us <= ts_us]
    base = max((row.key for row in valid if row.kind in BASES), default=None)
    if base is None:
        return "no data"
    _, conn, seq, kind = base
    if kind == Kind.CLOSE:
        return "unknown"
    book: dict[tuple[int, int], int] = {}
    for row in valid:
        counts = row.key == base or (row.kind == Kind.DELTA and row.conn == conn and row.seq > seq)
        if counts and row.side is not None and row.price_e4 is not None and row.qty_e2 is not None:
            add(book, (row.side, row.price_e4, row.qty_e2))
    return book


def disorders(rows: list[Row]) -> list[str]:
    """Say where a file of these rows, sorted by key, could not be read by the rule; publishing refuses such an hour."""
    gone = withdrawn(rows)
    found = []
    last: dict[int, tuple[int, int]] = {}
    owner: int | None = None
    for row in sorted(rows, key=lambda row: row.key):
        if row.place in gone or row.kind == Kind.ORPHAN:
            continue
        if (row.seq, row.kind) < last.get(row.conn, (-1, 0)):
            found.append(f"order: {row} after {last[row.conn]}")
        last[row.conn] = (row.seq, row.kind)
        if row.kind == Kind.DELTA and row.conn != owner:
            found.append(f"delta outside its conn's span: {row}")
        if row.kind in (Kind.SNAPSHOT, Kind.CHECKPOINT):
            owner = row.conn
        elif row.kind == Kind.CLOSE and row.conn == owner:
            owner = None
    return found
