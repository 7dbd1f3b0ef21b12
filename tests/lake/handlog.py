"""A shard's log written by hand, a flush at a time, through the lake's own writers.

Owns nothing but convenience: what stands in which folder, and which marks a flush tells, is the caller's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from book.records import HOUR_US, Level
from lake import durable, paths, schemas
from lake.journal.ends import End, write_end
from lake.journal.flush import ConnMark, Extent, FlushRecord, FlushWriter, Silence
from lake.journal.segment import SegmentWriter

H0 = 496_000
"""An hour like any other; H0 + 8 begins a day."""
T0 = H0 * HOUR_US
S = 1_000_000
SNAPSHOT, DELTA, CHECKPOINT, CLOSE, ORPHAN = range(5)
CONN = (T0 // 1000 - 60_000) << 10
"""A conn that began a minute before H0, of shard 0."""
BOOK: tuple[Level, ...] = ((0, 4500, 100), (1, 5000, 700))


class HandLog:
    """One shard's log; rows wait until ``flush``, which names their folder."""

    def __init__(self, home: Path, shard: int = 0) -> None:
        self.home, self.shard = home, shard
        self.n = 0
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._writers: dict[tuple[int, str], SegmentWriter] = {}
        self._files: dict[int, FlushWriter] = {}

    def row(self, table: str, **fields: Any) -> None:
        names = schemas.TABLES[table].names
        assert set(fields) <= set(names)
        self._rows.setdefault(table, []).append({name: fields.get(name) for name in names})

    def snapshot(self, ticker: str, ts: int, seq: int, levels: Sequence[Level] = BOOK, conn: int = CONN) -> None:
        self._book(SNAPSHOT, ticker, ts, seq, levels, conn)

    def checkpoint(self, ticker: str, ts: int, seq: int, levels: Sequence[Level] = BOOK, conn: int = CONN) -> None:
        self._book(CHECKPOINT, ticker, ts, seq, levels, conn)

    def delta(self, ticker: str, ts: int, seq: int, level: Level = (0, 4500, 1), conn: int = CONN) -> None:
        self._book(DELTA, ticker, ts, seq, [level], conn)

    def orphan(self, ticker: str, ts: int, seq: int, level: Level = (0, 4500, 1), conn: int = CONN) -> None:
        self._book(ORPHAN, ticker, ts, seq, [level], conn)

    def close(self, ticker: str, ts: int, seq: int, reason: str, conn: int = CONN) -> None:
        self.row("orderbook", ticker=ticker, ts_recv=ts, conn=conn, seq=seq, kind=CLOSE, reason=reason)

    def audit(self, ticker: str, ts: int, seq: int, *, equal: bool = True, conn: int = CONN) -> None:
        digests = {"digest_ours": "a" * 16, "digest_venue": ("a" if equal else "b") * 16}
        self.row("audits", ticker=ticker, ts_recv=ts, conn=conn, seq=seq, equal=equal, **digests)

    def trade(self, ticker: str, ts: int, seq: int | None, trade_id: str, conn: int = CONN + 1024) -> None:
        self.row(
            "trades", ticker=ticker, trade_id=trade_id, ts_recv=ts, conn=conn, seq=seq, yes_price_e4=4500, qty_e2=100,
            source="ws",
        )  # fmt: skip

    def flush(
        self, hour: int, conns: dict[int, tuple[int, int, int]] | None = None, silences: Sequence[Silence] = ()
    ) -> int:
        """Acknowledge what waits in an hour's folder and return the flush's number; ``conns`` as ConnMark."""
        folder = paths.hour_dir(self.home, self.shard, hour)
        if hour not in self._files:
            durable.make_folder(folder)
            self._files[hour] = FlushWriter(folder / paths.FLUSH_NAME)
        tables = {}
        for table, rows in self._rows.items():
            key = (hour, table)
            if key not in self._writers:
                path = folder / paths.segment_name(table, 0)
                self._writers[key] = SegmentWriter(path, schemas.TABLES[table])
            self._writers[key].append(pa.RecordBatch.from_pylist(rows, schema=schemas.TABLES[table]))
            tables[table] = Extent(self._writers[key].path.name, *self._writers[key].sync())
        closes = {row["ts_recv"] // HOUR_US for row in self._rows.get("orderbook", ()) if row["kind"] == CLOSE}
        self.n += 1
        record = FlushRecord(
            n=self.n,
            at_us=(hour + 1) * HOUR_US - 1,
            tables=tables,
            conns={str(conn): ConnMark(*mark) for conn, mark in (conns or {}).items()},
            silences=list(silences),
            reach=sorted(one for one in closes if one < hour),
        )
        self._files[hour].append(record)
        self._rows = {}
        return self.n

    def end(self, hour: int) -> None:
        """Write an hour's END, as of the last flush."""
        assert write_end(self.home, End(self.shard, hour, self.n, [], {}, []))

    def _book(self, kind: int, ticker: str, ts: int, seq: int, levels: Sequence[Level], conn: int) -> None:
        for side, price_e4, qty_e2 in levels or [(None, None, None)]:
            self.row(
                "orderbook", ticker=ticker, ts_recv=ts, ts_exch=ts - 5, conn=conn, seq=seq, kind=kind, side=side,
                price_e4=price_e4, qty_e2=qty_e2,
            )  # fmt: skip
