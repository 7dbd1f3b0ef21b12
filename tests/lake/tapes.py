"""Generated logs of a shard, hour by hour, and the rows that must be published of them.

Owns the making of both: the log goes through the lake's own writers, the rows are kept aside as they are made. No
collector and no query stands behind it, so that a process that only publishes starts fast.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from book.records import HOUR_US
from lake import durable, paths, schemas
from lake.journal import ends
from lake.journal.flush import ConnMark, Extent, FlushRecord, FlushWriter, Silence
from lake.journal.segment import SegmentWriter

FIRST = 495_046
"""22:00 UTC: two hours before a midnight."""
SECOND_US = 1_000_000
Row = dict[str, Any]


class Tape:
    """A shard's log: one conn for the books, one for trades, all from the first hour on."""

    def __init__(self, home: Path, shard: int = 0, markets: Sequence[str] = ("A", "B", "C"), seed: int = 1) -> None:
        self.home, self.shard, self.markets = home, shard, list(markets)
        self.rng = random.Random(seed)
        self.n = 0
        self.rows: dict[int, dict[str, list[Row]]] = {}
        """What is published of each hour: table -> rows in no order."""
        start_ms = FIRST * HOUR_US // 1000
        self.book_conn, self.trade_conn = (start_ms << 10) + shard, ((start_ms + 1) << 10) + shard
        self.seq = {self.book_conn: 0, self.trade_conn: 0}
        self.last_us = 0
        self._reach: dict[int, set[int]] = {}
        self._touched: dict[int, set[str]] = {}
        self._live: dict[str, dict[tuple[int, int], int]] = {}
        self._folder = -1
        self._flush: FlushWriter | None = None
        self._segments: dict[str, SegmentWriter] = {}

    def write_hour(
        self, hour: int, flushes: int = 4, deltas: int = 20, *, end: bool = True, books_only: bool = False
    ) -> None:
        """Log an hour: snapshots in the first, a checkpoint before each market's first record in the others.

        With ``end`` the next hour's folder is begun, so that each conn has been heard past this one, and END written.
        """
        start_us = hour * HOUR_US
        step_us = (HOUR_US - 20 * SECOND_US) // (flushes * (deltas + len(self.markets) + 2))
        at_us = max(start_us + SECOND_US, self.last_us)
        touched = self._touched.setdefault(hour, set())
        for _ in range(flushes):
            book: list[Row] = []
            for _ in range(deltas):
                at_us += self.rng.randint(1, step_us)
                ticker = self.rng.choice(self.markets)
                if ticker not in self._live:
                    book += self._snapshot(ticker, at_us)
                elif ticker not in touched:
                    book += self._checkpoint(ticker, start_us)
                touched.add(ticker)
                at_us += 1
                book.append(self._delta(ticker, at_us))
            audits = [self._audit(at_us)] if not books_only and self.rng.random() < 0.5 else []
            trades = [self._trade(at_us) for _ in range(0 if books_only else self.rng.randint(0, 3))]
            self.flush(hour, at_us, orderbook=book, trades=trades, audits=audits)
        if end:
            self.flush(hour + 1, start_us + HOUR_US + SECOND_US)
            self.end(hour)

    def flush(
        self,
        hour: int,
        at_us: int,
        *,
        heard_us: int | None = None,
        up: bool = True,
        silences: Sequence[Silence] = (),
        **tables: list[Row],
    ) -> None:
        """Acknowledge rows in an hour's folder; they are published in the hour of their stamp, closes in it too.

        The conns were heard up to the flush, or up to ``heard_us``.
        """
        self._roll(hour)
        extents = {}
        reach: set[int] = set()
        for table, rows in tables.items():
            if not rows:
                continue
            if table not in self._segments:
                path = self._dir() / paths.segment_name(table, self._next(table))
                self._segments[table] = SegmentWriter(path, schemas.TABLES[table])
            writer = self._segments[table]
            writer.append(pa.RecordBatch.from_pylist(rows, schema=schemas.TABLES[table]))
            extents[table] = Extent(writer.path.name, *writer.sync())
            for row in rows:
                own = row["ts_recv"] // HOUR_US
                self.rows.setdefault(own, {}).setdefault(table, []).append(row)
                reach |= {own} if own < hour else set()
        self.n += 1
        self.last_us = at_us
        heard_us = at_us if heard_us is None else heard_us
        marks = {str(conn): ConnMark(heard_us, seq, int(up), 0) for conn, seq in self.seq.items()}
        self._reach.setdefault(hour, set()).update(reach)
        record = FlushRecord(
            n=self.n, at_us=at_us, tables=extents, conns=marks, silences=list(silences), reach=sorted(reach)
        )
        assert self._flush is not None
        self._flush.append(record)

    def end(self, hour: int) -> None:
        """Write an hour's END."""
        marks = {str(conn): ConnMark(self.last_us, seq, 1, 0) for conn, seq in self.seq.items()}
        names = sorted(path.name for path in paths.hour_dir(self.home, self.shard, hour).glob("*.arrow"))
        assert ends.write_end(
            self.home, ends.End(self.shard, hour, self.n, names, marks, sorted(self._reach.get(hour, ())))
        )

    def withdraw(self, ticker: str, hour: int, at_us: int, reason: str = "audit_mismatch") -> None:
        """Log in an hour's folder a close that takes effect at an earlier instant, and a new snapshot.

        What it withdraws is taken out of the rows that are to be published, or becomes orphans there.
        """
        before = [
            row
            for rows in self.rows.values()
            for row in rows.get("orderbook", ())
            if row["ticker"] == ticker and row["kind"] in {0, 1} and row["ts_recv"] < at_us
        ]
        seq = max(row["seq"] for row in before)
        for rows in self.rows.values():
            kept = []
            for row in rows.get("orderbook", []):
                void = row["ticker"] == ticker and row["kind"] <= 2 and (
                    row["seq"] > seq or (row["kind"] == 2 and row["ts_recv"] >= at_us)
                )  # fmt: skip
                if not void:
                    kept.append(row)
                elif row["kind"] == 1:
                    kept.append(row | {"kind": 4})
            rows["orderbook"] = kept
        close = {"ticker": ticker, "ts_recv": at_us, "conn": self.book_conn, "seq": seq, "kind": 3, "reason": reason}
        base_us = self.last_us + SECOND_US
        self._touched.setdefault(hour, set()).add(ticker)
        self.flush(hour, base_us, orderbook=[close, *self._snapshot(ticker, base_us)])

    def _roll(self, hour: int) -> None:
        if hour == self._folder:
            return
        for writer in self._segments.values():
            writer.seal({})
        self._segments = {}
        if self._flush is not None:
            self._flush.close()
        self._folder = hour
        durable.make_folder(self._dir())
        self._flush = FlushWriter(self._dir() / paths.FLUSH_NAME)

    def _dir(self) -> Path:
        return paths.hour_dir(self.home, self.shard, self._folder)

    def _next(self, table: str) -> int:
        return len(list(self._dir().glob(f"{table}-*.arrow")))

    def _number(self, conn: int) -> int:
        self.seq[conn] += 1
        return self.seq[conn]

    def _row(self, ticker: str, at_us: int, seq: int, kind: int, **fields: Any) -> Row:
        return {"ticker": ticker, "ts_recv": at_us, "conn": self.book_conn, "seq": seq, "kind": kind} | fields

    def _book(self, ticker: str, at_us: int, seq: int, kind: int) -> list[Row]:
        exch = {"ts_exch": at_us}
        levels = sorted(self._live[ticker].items())
        if not levels:
            return [self._row(ticker, at_us, seq, kind, **exch)]
        return [
            self._row(ticker, at_us, seq, kind, side=side, price_e4=price_e4, qty_e2=qty_e2, **exch)
            for (side, price_e4), qty_e2 in levels
        ]

    def _snapshot(self, ticker: str, at_us: int) -> list[Row]:
        count = self.rng.randint(0, 6)
        self._live[ticker] = {
            (self.rng.randint(0, 1), 100 * self.rng.randint(1, 99)): 100 * self.rng.randint(1, 500)
            for _ in range(count)
        }
        return self._book(ticker, at_us, self._number(self.book_conn), 0)

    def _checkpoint(self, ticker: str, at_us: int) -> list[Row]:
        """Return the book at an hour's first instant, after the market's last record."""
        seqs = [
            row["seq"]
            for rows in self.rows.values()
            for row in rows.get("orderbook", ())
            if row["ticker"] == ticker and row["kind"] in {0, 1, 4}
        ]
        return self._book(ticker, at_us, max(seqs), 2)

    def _delta(self, ticker: str, at_us: int) -> Row:
        book = self._live[ticker]
        side, price_e4 = self.rng.randint(0, 1), 100 * self.rng.randint(1, 99)
        if book and self.rng.random() < 0.7:
            side, price_e4 = self.rng.choice(sorted(book))
        have = book.get((side, price_e4), 0)
        change = -have if have and self.rng.random() < 0.2 else 100 * self.rng.randint(1, 50)
        book[side, price_e4] = have + change
        if not book[side, price_e4]:
            del book[side, price_e4]
        fields = {"ts_exch": at_us - 5, "side": side, "price_e4": price_e4, "qty_e2": change}
        return self._row(ticker, at_us, self._number(self.book_conn), 1, **fields)

    def _audit(self, at_us: int) -> Row:
        digest = "0123456789abcdef"
        return {
            "ticker": self.rng.choice(sorted(self._live)), "conn": self.book_conn, "ts_recv": at_us,
            "seq": self._number(self.book_conn), "digest_ours": digest, "digest_venue": digest, "equal": True,
        }  # fmt: skip

    def _trade(self, at_us: int) -> Row:
        seq = self._number(self.trade_conn)
        return {
            "ticker": self.rng.choice(self.markets), "trade_id": f"t-{self.shard}-{seq}", "ts_recv": at_us,
            "conn": self.trade_conn, "seq": seq, "yes_price_e4": 4500, "qty_e2": 100, "source": "ws",
        }  # fmt: skip


def expected(tapes: Sequence[Tape], hour: int, table: str) -> list[tuple[Any, ...]]:
    """Return the rows that must be published of an hour, sorted, each as a tuple of plain values."""
    names = schemas.PUBLISHED[table].names
    rows = [row for tape in tapes for row in tape.rows.get(hour, {}).get(table, [])]
    return sorted((tuple(row.get(name) for name in names) for row in rows), key=repr)


def found(rows: pa.Table) -> list[tuple[Any, ...]]:
    """Return published rows likewise."""
    plain = pa.table([_plain(column) for column in rows.columns], names=rows.column_names)
    return sorted((tuple(row.values()) for row in plain.to_pylist()), key=repr)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
