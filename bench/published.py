"""Logs of a bench made into published hours, and what those hold.

Owns which hours of a bench's log are published and how their files are found. Measures nothing.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lake import paths
from lake.publishing.publish import publish_hours
from lake.publishing.shelf import Shelf

MINUTE_US = 60_000_000


def ended(home: Path) -> list[int]:
    """Return the hours of shard 0 that have an END, ascending."""
    return [hour for hour in paths.hours(home, 0) if paths.end_path(home, 0, hour).exists()]


def publish_one(home: Path, lake: Path, hour: int) -> None:
    """Publish an hour as the publisher does, a minute after its end."""
    now_us = paths.hour_start_us(hour + 1) + MINUTE_US
    made = publish_hours(lake, home, [hour], now_us=lambda: now_us)
    assert made is not None, f"hour {hour} was not published"


def publish(home: Path, lake: Path) -> list[int]:
    """Publish every ended hour; return them."""
    hours = ended(home)
    for hour in hours:
        publish_one(home, lake, hour)
    return hours


def orderbook_files(lake: Path, hour: int) -> list[Path]:
    """Return an hour's files of the order book, in the order of their rows."""
    shelf = Shelf(lake)
    shelf.refresh()
    rows = shelf.standing_rows(hour)
    mine = rows.filter(pc.and_(pc.equal(rows["state"], "table"), pc.equal(rows["channel"], "orderbook")))
    return [shelf.path("orderbook", file) for file in mine["file"].to_pylist()]


def digests(lake: Path, hour: int) -> dict[str, str]:
    """Return the digest of each market's book at an hour's end, as coverage has it."""
    shelf = Shelf(lake)
    shelf.refresh()
    rows: pa.Table = shelf.standing_rows(hour)
    known = rows.filter(pc.and_(pc.equal(rows["state"], "known"), pc.equal(rows["end_reason"], "continues")))
    return dict(zip(known["ticker"].to_pylist(), known["digest"].to_pylist(), strict=True))
