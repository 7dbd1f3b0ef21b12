"""A journal written row by row through the product's own writers, for questions to be asked of."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake import durable, paths, schemas
from lake.journal.ends import End, write_end
from lake.journal.flush import ConnMark, Extent, FeedMark, Fill, FlushRecord, FlushWriter, Lapse, Silence
from lake.journal.reader import Hour
from lake.journal.segment import SegmentWriter
from lake.publishing.manifest import Manifest
from lake.publishing.publish import publish_hours
from query.log import Log

HOUR = 3_600_000_000
H0 = 496_000
"""An hour like any other; H0 + 8 begins a day."""
SNAPSHOT, DELTA, CHECKPOINT, CLOSE, ORPHAN = range(5)


class Journal:
    """One shard's log. Rows wait until ``flush``; closes stand in the folder that is open, others in their hour's."""

    def __init__(self, home: Path, shard: int = 0) -> None:
        self.home = home
        self.shard = shard
        self.logged: list[dict[str, Any]] = []
        """Every order book row of the log, in log order, with ``flush`` and ``hour``."""
        self.heard_us: dict[int, int] = {}
        self.silences: list[Silence] = []
        self.records: list[FlushRecord] = []
        self._pending: dict[str, list[dict[str, Any]]] = {}
        self._pending_silences: list[Silence] = []
        self.feeds: dict[str, FeedMark] = {}
        """The marks of the firehoses; every flush names them."""
        self.lapses: list[Lapse] = []
        """Lapses that the next flush tells."""
        self.fills: list[Fill] = []
        """Fills that the next flush tells."""
        self._last_seq: dict[int, int] = {}
        self._told: dict[int, set[int]] = {}
        self._hour: int | None = None
        self._flush: FlushWriter | None = None
        self._segments: dict[str, SegmentWriter] = {}
        self._numbers: dict[str, int] = {}
        self._n = 1

    def row(self, table: str, **fields: Any) -> None:
        schema = schemas.TABLES[table]
        told = {"source": "rest"} | fields if table in {"markets", "events", "series"} else fields
        self._pending.setdefault(table, []).append({name: told.get(name) for name in schema.names})
        own_message = fields.get("kind") not in {CHECKPOINT, CLOSE} and fields.get("equal") is not False
        if "conn" in fields and fields.get("seq") is not None and own_message:
            self._told.setdefault(fields["conn"], set()).add(fields["seq"])

    def group(
        self,
        kind: int,
        ticker: str,
        ts: int,
        conn: int,
        seq: int,
        levels: Sequence[Sequence[int]],
        exch: int | None = None,
    ) -> None:
        for side, price, qty in levels or [(None, None, None)]:
            self.book_row(kind, ticker, ts, conn, seq, side, price, qty, exch=exch)

    def snapshot(self, ticker: str, ts: int, conn: int, seq: int, levels: Any = (), exch: int | None = None) -> None:
        self.group(SNAPSHOT, ticker, ts, conn, seq, levels, exch)

    def checkpoint(self, ticker: str, ts: int, conn: int, seq: int, levels: Any = (), exch: int | None = None) -> None:
        self.group(CHECKPOINT, ticker, ts, conn, seq, levels, exch)

    def delta(
        self, ticker: str, ts: int, conn: int, seq: int, side: int, price: int, change: int, exch: int | None = None
    ) -> None:
        self.book_row(DELTA, ticker, ts, conn, seq, side, price, change, exch=exch)

    def orphan(self, ticker: str, ts: int, conn: int, seq: int, side: int, price: int, change: int) -> None:
        self.book_row(ORPHAN, ticker, ts, conn, seq, side, price, change)

    def close(self, ticker: str, ts: int, conn: int, seq: int, reason: str = "disconnect") -> None:
        self.book_row(CLOSE, ticker, ts, conn, seq, None, None, None, reason=reason)

    def book_row(
        self,
        kind: int,
        ticker: str,
        ts: int,
        conn: int,
        seq: int,
        side: int | None,
        price: int | None,
        qty: int | None,
        *,
        reason: str | None = None,
        exch: int | None = None,
    ) -> None:
        self.row(
            "orderbook",
            ticker=ticker,
            ts_recv=ts,
            ts_exch=exch,
            conn=conn,
            seq=seq,
            kind=kind,
            side=side,
            price_e4=price,
            qty_e2=qty,
            reason=reason,
        )
        if kind in {SNAPSHOT, DELTA, ORPHAN}:
            self.heard(conn, ts, seq)

    def trade(self, ticker: str, ts: int, conn: int, seq: int, trade_id: str, **fields: Any) -> None:
        base = {"yes_price_e4": 4500, "qty_e2": 100, "taker_side": 0, "block": False, "source": "ws", "ts_exch": ts}
        self.row("trades", ticker=ticker, trade_id=trade_id, ts_recv=ts, conn=conn, seq=seq, **(base | fields))
        self.heard(conn, ts, seq)

    def audit(self, ticker: str, ts: int, conn: int, seq: int, *, equal: bool = True) -> None:
        venue = "a" * 16 if equal else "b" * 16
        self.row(
            "audits",
            ticker=ticker,
            ts_recv=ts,
            conn=conn,
            seq=seq,
            digest_ours="a" * 16,
            digest_venue=venue,
            equal=equal,
        )

    def market(self, ticker: str, valid_from: int, **fields: Any) -> None:
        base = {"event_ticker": ticker.rpartition("-")[0] or ticker, "title": ticker, "status": "active"}
        record = json.dumps({"ticker": ticker} | {k: v for k, v in fields.items() if isinstance(v, str)})
        self.row("markets", ticker=ticker, valid_from=valid_from, record=record, **(base | fields))

    def feed(self, channel: str, conn: int, since: int) -> None:
        """Have a firehose be followed on a conn, without a break since an instant."""
        self.feeds[channel] = FeedMark(conn, since, 1, since)

    def heard(self, conn: int, ts: int, seq: int | None = None) -> None:
        self.heard_us[conn] = max(ts, self.heard_us.get(conn, 0))
        if seq is not None:
            self._last_seq[conn] = max(seq, self._last_seq.get(conn, 0))

    def silence(self, conn: int, start: int, end: int) -> None:
        self._pending_silences.append(Silence(conn, start, end))

    def flush(self, hour: int | None = None, *, up: Sequence[int] | None = None) -> FlushRecord:
        """Acknowledge what waits, in the folder of ``hour``, by default that of the last row that is not a close."""
        rows = self._pending.get("orderbook", [])
        stamped = [row["ts_recv"] // HOUR for row in rows if row["kind"] != CLOSE]
        stamped += [row["ts_recv"] // HOUR for row in self._pending.get("trades", [])]
        wanted = hour if hour is not None else max([*stamped, self._hour or 0])
        if wanted != self._hour:
            self._open(wanted or max(self.heard_us.values()) // HOUR)
        assert self._hour is not None
        assert self._flush is not None
        tables = {table: self._write(table, found) for table, found in self._pending.items() if found}
        closes = {row["ts_recv"] // HOUR for row in rows if row["kind"] == CLOSE}
        record = FlushRecord(
            n=self._n,
            at_us=max(self.heard_us.values(), default=0),
            tables=tables,
            conns={
                str(conn): ConnMark(
                    ts, seq := self._last_seq.get(conn, 0), int(up is None or conn in up), self._apart(conn, seq)
                )
                for conn, ts in self.heard_us.items()
            },
            silences=self._pending_silences,
            reach=sorted(early for early in closes if early < self._hour),
            feeds=dict(self.feeds),
            lapses=self.lapses,
            fills=self.fills,
        )
        self._flush.append(record)
        self.logged.extend(row | {"flush": self._n, "hour": self._hour} for row in rows)
        self.silences.extend(self._pending_silences)
        self.records.append(record)
        self._n += 1
        self._pending, self._pending_silences = {}, []
        self.lapses, self.fills = [], []
        return record

    def _apart(self, conn: int, last_seq: int) -> int:
        """Return how many numbers of a conn stand in no table."""
        return last_seq - sum(seq <= last_seq for seq in self._told.get(conn, ()))

    def seal(self) -> None:
        """Seal the open segments; the next flush opens new ones."""
        marks = self.records[-1].conns if self.records else {}
        for writer in self._segments.values():
            writer.seal({int(conn): (mark.last_frame_us, mark.last_seq) for conn, mark in marks.items()})
        self._segments = {}

    def end(self, *hours: int) -> None:
        """Say that hours are complete, as of the last flush."""
        for hour in hours:
            source = Hour(paths.hour_dir(self.home, self.shard, hour), self.shard, hour)
            source.poll()
            named = sorted(path.name for path in source.dir.glob("*.arrow"))
            marks = {str(conn): mark for conn, mark in source.conns.items()}
            write_end(self.home, End(self.shard, hour, self._n - 1, named, marks, sorted(source.reach)))

    def _open(self, hour: int) -> None:
        self.seal()
        if self._flush:
            self._flush.close()
        folder = paths.hour_dir(self.home, self.shard, hour)
        durable.make_folder(folder)
        self._hour, self._numbers = hour, {}
        self._flush = FlushWriter(folder / paths.FLUSH_NAME)

    def _write(self, table: str, rows: list[dict[str, Any]]) -> Extent:
        writer = self._segments.get(table)
        if writer is None:
            number = self._numbers.get(table, -1) + 1
            self._numbers[table] = number
            folder = paths.hour_dir(self.home, self.shard, self._hour or 0)
            writer = SegmentWriter(folder / paths.segment_name(table, number), schemas.TABLES[table])
            self._segments[table] = writer
        writer.append(pa.RecordBatch.from_pylist(rows, schema=schemas.TABLES[table]))
        return Extent(writer.path.name, *writer.sync())


class Press:
    """The publisher of a home's journals, told which hours are due; ``now_us`` is when it publishes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lake = home / "lake"
        self.now_us = (H0 + 900) * HOUR

    def publish(self, *hours: int, reason: str = "hour") -> Manifest | None:
        """Publish hours in one manifest; with any reason but ``hour`` also such as are published already."""
        self.now_us += 1
        return publish_hours(self.lake, self.home, hours, now_us=lambda: self.now_us, reason=reason)

    def finish(self, journal: Journal, *hours: int) -> Manifest | None:
        """End hours and publish them."""
        journal.end(*hours)
        return self.publish(*hours)

    def log(self, **options: Any) -> Log:
        """Return a reader of the journal and the lake that looks anew before each question."""
        return Log(self.home, lambda: (H0 + 1000) * HOUR, lake=self.lake, poll_every_s=0, **options)


@pytest.fixture
def press(tmp_path: Path) -> Press:
    return Press(tmp_path)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


@pytest.fixture
def journals(tmp_path: Path) -> Callable[[int], Journal]:
    """Make the log of another shard under the same home."""
    return lambda shard: Journal(tmp_path, shard)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """A reader that looks at the journal anew before each question; its clock is far ahead of every stamp."""
    return Log(tmp_path, lambda: (H0 + 1000) * HOUR, poll_every_s=0)
