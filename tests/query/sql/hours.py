"""Published hours written from a log's rows by brute force: sorted rows, and a coverage told market by market.

Owns a reading of the published form of its own, so that what SQL answers does not rest on the publisher alone. It
writes no Delta log and no manifest: the files are named to the reader.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from book.records import HOUR_US, OPENS_NO_GAP, Kind
from lake import paths
from lake.schemas import PUBLISHED, SORT_KEYS
from tests.model.log_rows import Row, withdrawn

ENDS = ("market_closed", "unsubscribed")
Files = dict[str, list[str]]


@dataclass
class Piece:
    """A fragment of a market's hour, growing."""

    ticker: str
    state: str
    conn: int
    from_us: int
    last_hour: int | None
    rows: list[Row] = field(default_factory=list)
    to_us: int | None = None
    reason: str | None = None
    changed_us: int | None = None


@dataclass
class Life:
    """Where a market stands at the end of an hour."""

    live: int | None = None
    gap: tuple[str, int] | None = None
    last_hour: int | None = None
    changed_us: int | None = None


def settled(rows: Sequence[Row]) -> list[Row]:
    """Return one market's rows as published: void changes are orphans, other void rows are left out; sorted."""
    gone = withdrawn(list(rows))
    kept: dict[Any, Row] = {}
    for row in rows:
        if row.place not in gone:
            key = (*row.key, row.reason) if row.kind == Kind.CLOSE else row.place
            kept.setdefault(key, row)
        elif row.kind == Kind.DELTA:
            kept[row.place] = row._replace(kind=Kind.ORPHAN)
    return sorted(kept.values(), key=lambda row: (row.key, row.side or 0, row.price_e4 or 0))


def publish(
    lake: Path, logged: dict[str, list[Row]], silences: Iterable[tuple[int, int, int]], hours: Sequence[int]
) -> Files:
    """Write every hour of ``hours``, ascending; return the files by table."""
    of_hour: dict[int, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for ticker, rows in logged.items():
        for row in settled(rows):
            of_hour[row.ts_us // HOUR_US][ticker].append(row)
    lives: dict[str, Life] = defaultdict(Life)
    files: Files = {"orderbook": [], "coverage": []}
    for hour in hours:
        pieces: list[Piece] = []
        for ticker in sorted({*of_hour[hour], *lives}):
            pieces += _pieces(ticker, lives[ticker], of_hour[hour][ticker], hour)
        book = [(ticker, row) for ticker in sorted(of_hour[hour]) for row in of_hour[hour][ticker]]
        name = paths.data_file(hour, f"{hour:032x}")
        places = {(ticker, row.place): at for at, (ticker, row) in enumerate(book)}
        if book:
            files["orderbook"].append(_write(lake, "orderbook", name, [_row(ticker, row) for ticker, row in book]))
        ledger = [_fragment(piece, hour, name, places) for piece in pieces]
        if book:
            ledger.append(_ledger_row(hour, "*", "table", channel="orderbook", file=name, first_row=0, rows=len(book)))
        for conn, from_us, to_us in silences:
            cut = max(from_us, hour * HOUR_US), min(to_us, (hour + 1) * HOUR_US)
            if cut[0] < cut[1]:
                fields = {"conn": conn, "ts_from": cut[0], "ts_to": cut[1], "end_reason": "stall"}
                ledger.append(_ledger_row(hour, "*", "silence", **fields))
        if not ledger:
            ledger.append(_ledger_row(hour, "*", "conn"))
        ledger.sort(key=lambda row: (row["ticker"], row["channel"], row["state"], row["ts_from"], row["conn"] or 0))
        files["coverage"].append(_write(lake, "coverage", paths.data_file(hour, f"{hour:08x}-0"), ledger))
    return files


class _Walk:
    """One market's hour, told row by row in published order."""

    def __init__(self, ticker: str, life: Life, hour: int) -> None:
        self.ticker, self.life, self.hour = ticker, life, hour
        self.found: list[Piece] = []
        if life.live is not None:
            self.begin("known", life.live, hour * HOUR_US)
        elif life.gap is not None:
            self.begin("gap", life.gap[1], hour * HOUR_US, life.gap[0])

    def begin(self, state: str, conn: int, from_us: int, reason: str | None = None) -> None:
        self.found.append(Piece(self.ticker, state, conn, from_us, self.life.last_hour, reason=reason))

    def take(self, row: Row) -> None:
        life = self.life
        if row.kind == Kind.CLOSE:
            self.close(row)
            return
        if row.kind in (Kind.SNAPSHOT, Kind.CHECKPOINT) and life.live != row.conn:
            if life.gap is not None:
                self.found[-1].to_us = row.ts_us
            life.live, life.gap = row.conn, None
            self.begin("known", row.conn, row.ts_us)
        self.add(row)

    def add(self, row: Row) -> None:
        """Give a row to the last piece; one with which nothing began makes a piece of no length."""
        if not self.found:
            self.begin("gap", row.conn, row.ts_us)
            self.found[-1].to_us = row.ts_us
        self.found[-1].rows.append(row)

    def close(self, row: Row) -> None:
        life = self.life
        if life.live == row.conn:
            self.add(row)
            self.found[-1].to_us, self.found[-1].reason = row.ts_us, row.reason
            life.live = None
            if row.reason not in OPENS_NO_GAP:
                life.gap = (row.reason or "", row.conn)
                self.begin("gap", row.conn, row.ts_us, row.reason)
        elif life.gap is not None and row.reason in ENDS:
            self.add(row)
            self.found[-1].to_us, life.gap = row.ts_us, None
        else:
            if life.live is None and life.gap is None and row.reason not in OPENS_NO_GAP:
                life.gap = (row.reason or "", row.conn)
                self.begin("gap", row.conn, row.ts_us, row.reason)
            self.add(row)

    def finish(self, rows: Sequence[Row]) -> list[Piece]:
        for piece in self.found:
            if piece.to_us is None:
                piece.to_us = (self.hour + 1) * HOUR_US
                piece.reason = "continues" if piece.state == "known" else piece.reason
            changes = [row.ts_us for row in piece.rows if row.kind in (Kind.SNAPSHOT, Kind.DELTA)]
            piece.changed_us = self.life.changed_us = max(changes, default=self.life.changed_us)
        if any(row.kind in (Kind.SNAPSHOT, Kind.CHECKPOINT, Kind.CLOSE) for row in rows):
            self.life.last_hour = self.hour
        return self.found


def _pieces(ticker: str, life: Life, rows: Sequence[Row], hour: int) -> list[Piece]:
    walk = _Walk(ticker, life, hour)
    for row in rows:
        walk.take(row)
    return walk.finish(rows)


def _row(ticker: str, row: Row) -> dict[str, Any]:
    names = ("conn", "seq", "kind", "side", "price_e4", "qty_e2", "reason")
    known = {name: getattr(row, name) for name in names}
    return {"ticker": ticker, "ts_recv": row.ts_us, "ts_exch": row.exch_us, **known}


def _fragment(piece: Piece, hour: int, name: str, places: dict[tuple[str, int], int]) -> dict[str, Any]:
    bases: dict[Any, dict[str, Any]] = {}
    for row in piece.rows:
        if row.kind in (Kind.SNAPSHOT, Kind.CHECKPOINT, Kind.CLOSE):
            place = places[piece.ticker, row.place]
            fields = {"conn": row.conn, "seq": row.seq, "kind": row.kind, "reason": row.reason}
            new = {"ts_recv": row.ts_us, "ts_exch": row.exch_us, "row": place, "rows": 0, **fields}
            bases.setdefault((*row.key, row.reason), new)["rows"] += 1
    kinds = [base["kind"] for base in bases.values()]
    return _ledger_row(
        hour,
        piece.ticker,
        piece.state,
        conn=piece.conn,
        ts_from=piece.from_us,
        ts_to=piece.to_us,
        end_reason=piece.reason,
        snapshots=kinds.count(0),
        checkpoints=kinds.count(2),
        closes=kinds.count(3),
        deltas=sum(row.kind == Kind.DELTA for row in piece.rows),
        orphans=sum(row.kind == Kind.ORPHAN for row in piece.rows),
        file=name if piece.rows else None,
        first_row=places[piece.ticker, piece.rows[0].place] if piece.rows else None,
        rows=len(piece.rows),
        bases=list(bases.values()),
        last_record_hour=None if piece.last_hour is None else piece.last_hour * HOUR_US,
        last_change=piece.changed_us,
    )


def _ledger_row(hour: int, ticker: str, state: str, **fields: Any) -> dict[str, Any]:
    blank: dict[str, Any] = dict.fromkeys(PUBLISHED["coverage"].names)
    counts = dict.fromkeys(("snapshots", "deltas", "checkpoints", "closes", "orphans", "rows", "audits"), 0)
    told = {"ts_from": hour * HOUR_US, "ts_to": (hour + 1) * HOUR_US, "channel": "orderbook", "bases": []}
    made = {"version": 1, "manifest": 1, "published_at": (hour + 2) * HOUR_US, "reason": "hour", "shard": 0}
    return blank | counts | told | made | {"ticker": ticker, "state": state} | fields


def _write(lake: Path, table: str, name: str, rows: list[dict[str, Any]]) -> str:
    path = paths.table_dir(lake, table) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert set(SORT_KEYS[table]) <= set(PUBLISHED[table].names)
    pq.write_table(pa.Table.from_pylist(rows, schema=PUBLISHED[table]), path, row_group_size=64, compression="zstd")
    return str(path)
