"""A log of one market written row by row, published by brute force.

Owns nothing but convenience; expectations stand in the tests.
"""

from pathlib import Path

import duckdb

from book.records import DAY_US, HOUR_US
from tests.model.log_rows import Row
from tests.query.sql import hours as by_force
from tests.query.sql import runs

S = 1_000_000
MIDNIGHT_US = 20_676 * DAY_US  # 2026-08-11
CONN = 1_786_000_000_000 * 1024
SNAPSHOT, DELTA, CHECKPOINT, CLOSE, ORPHAN = range(5)


class Log:
    """Rows of market A, logged one by one; ``lake`` publishes them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.silences: list[tuple[int, int, int]] = []
        self.hour: int | None = None

    def add(
        self,
        kind: int,
        ts_us: int,
        seq: int,
        *levels: tuple[int, int, int],
        conn: int = CONN,
        reason: str | None = None,
    ) -> None:
        for side, price_e4, qty_e2 in levels or [(None, None, None)]:
            at = len(self.rows)
            self.rows.append(Row(ts_us, conn, seq, kind, side, price_e4, qty_e2, None, reason, ts_us // HOUR_US, at))

    def book(self, kind: int, ts_us: int, seq: int, book: dict[tuple[int, int], int], *, conn: int) -> None:
        self.add(kind, ts_us, seq, *((*level, qty_e2) for level, qty_e2 in book.items()), conn=conn)

    def lake(self, folder: Path, *hours: int) -> duckdb.DuckDBPyConnection:
        found = hours or sorted({row.ts_us // HOUR_US for row in self.rows})
        return runs.connect(by_force.publish(folder, {"A": self.rows}, self.silences, found))
