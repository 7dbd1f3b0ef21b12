"""Publishing the logs of tapes, and comparing what is published with what was logged.

Owns what the tests of publishing share.
"""

from pathlib import Path

import polars as pl
import pyarrow.compute as pc

from book.records import HOUR_US
from lake import objects, paths
from lake.publishing import parquet
from lake.publishing.manifest import Manifest
from lake.publishing.publish import publish_hours
from lake.publishing.shelf import Shelf
from tests.lake.tapes import FIRST, Tape, expected, found

NOW_US = (FIRST + 9) * HOUR_US
TABLES = ("orderbook", "trades", "audits")


def publish(lake: Path, tape: Tape, *hours: int, reason: str = "hour", **more: objects.Step) -> Manifest | None:
    return publish_hours(
        lake, tape.home, [FIRST + hour for hour in hours], now_us=lambda: NOW_US, reason=reason, **more
    )


def shelf_of(lake: Path) -> Shelf:
    shelf = Shelf(lake)
    shelf.refresh()
    return shelf


def stored(shelf: Shelf, hour: int, table: str, as_of_us: int | None = None) -> list[tuple[object, ...]]:
    """Return the rows of the files that an hour's coverage names, sorted."""
    rows = shelf.standing_rows(hour, as_of_us)
    rows = rows.filter(pc.and_(pc.equal(rows["state"], "table"), pc.equal(rows["channel"], table)))
    files = [parquet.read_file(shelf.path(table, file), table) for file in rows["file"].to_pylist()]
    return sorted((one for file in files for one in found(file)), key=repr)


def assert_holds(lake: Path, tapes: list[Tape], *hours: int) -> None:
    """Compare what is published with what was logged: by coverage, and as Delta tells it to a reader of its own."""
    shelf = shelf_of(lake)
    for hour in hours:
        place = paths.partition(FIRST + hour)
        for table in TABLES:
            wanted = expected(tapes, FIRST + hour, table)
            assert stored(shelf, FIRST + hour, table) == wanted, (hour, table)
            seen = pl.scan_delta(str(paths.table_dir(lake, table)))
            seen = seen.filter((pl.col("dt") == place["dt"]) & (pl.col("hr") == int(place["hr"])))
            assert seen.select(pl.len()).collect().item() == len(wanted)


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.parquet") if "_delta_log" not in path.parts}


def late(tape: Tape, shard: int = 1) -> Tape:
    """Return a shard whose log of the first hour comes only now."""
    other = Tape(tape.home, shard, (f"L{shard}",), seed=shard)
    other.write_hour(FIRST, flushes=1, deltas=8, books_only=True)
    return other


def close_of(tape: Tape, ticker: str, at_us: int, reason: str = "seq_gap") -> dict[str, object]:
    seq = max(row["seq"] for rows in tape.rows.values() for row in rows["orderbook"] if row["ticker"] == ticker)
    return {"ticker": ticker, "ts_recv": at_us, "conn": tape.book_conn, "seq": seq, "kind": 3, "reason": reason}
