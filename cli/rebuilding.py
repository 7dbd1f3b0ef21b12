"""Hours published anew from their raw frames: ``kalshibook publish --from-raw``.

Owns the composition of the collector's session with publishing, and which rows of an hour come from no frame. What is
missing is refused by the parts (collector.raw_rebuild).
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from book.errors import PublishError
from collector.raw_rebuild import FROM_FRAMES, rebuild
from lake import paths
from lake.journal.flush import FlushTail
from lake.publishing import manifest, parquet
from lake.publishing.manifest import HourEntry
from lake.publishing.publish import Rebuild
from lake.publishing.shelf import Shelf
from lake.raw.rebuilt import claim
from lake.schemas import TABLES
from lake.settling.sources import read_tables

FILLED = "rest"
"""The source of trades that were learned otherwise."""


def rebuild_of(lake: Path, home: Path, shelf: Shelf) -> Rebuild:
    """Return what makes the logs of an hour anew, of every shard that has it, for ``publish_rebuilt``."""

    def made(hour: int, rebuilt: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
        shelf.refresh()
        entry = _entry(shelf, hour)
        found = {shard: _expected(home, shard, hour, entry) for shard in paths.shards(home)}
        found = {shard: marks for shard, marks in found.items() if marks or _recorded(home, shard, hour)}
        if not found:
            raise PublishError(hour, "nothing was recorded of it")
        number = claim(home)
        for shard, marks in found.items():
            before = rebuilt.get(shard, {}).get(hour - 1)
            rebuild(
                home,
                shard,
                hour,
                paths.rebuilt_home(home, number),
                before=None if before is None else paths.rebuilt_home(home, before),
                carried=_carried(lake, home, shard, hour, entry),
                expected=marks,
            )
        return dict.fromkeys(found, number)

    return made


def _recorded(home: Path, shard: int, hour: int) -> bool:
    return paths.hour_dir(home, shard, hour).is_dir() or paths.raw_hour_dir(home, shard, hour).is_dir()


def _entry(shelf: Shelf, hour: int) -> HourEntry | None:
    if not shelf.published(hour):
        return None
    found = manifest.read(shelf.lake, shelf.manifest_of(hour)).hours
    return next(entry for entry in found if entry.hour == hour)


def _expected(home: Path, shard: int, hour: int, entry: HourEntry | None) -> dict[int, int]:
    """Return the last number of each conn with messages in a shard's hour, by what is published, else by its log."""
    if entry is not None:
        of_shard = {conn: one for conn, one in entry.conns.items() if one.shard == shard}
        return {conn: one.last_seq for conn, one in of_shard.items() if one.last_seq >= (one.first_seq or 1)}
    found: dict[int, int] = {}
    for record in FlushTail(paths.hour_dir(home, shard, hour) / paths.FLUSH_NAME).poll():
        marks = {int(conn): mark for conn, mark in record.conns.items()}
        found |= {conn: mark.last_seq for conn, mark in marks.items() if paths.hour_of(mark.last_frame_us) == hour}
    return found


def _carried(lake: Path, home: Path, shard: int, hour: int, entry: HourEntry | None) -> dict[str, pa.Table]:
    """Return the rows of an hour that come from no frame: out of its log, where that is gone out of the lake."""
    names = [name for name in TABLES if name not in FROM_FRAMES] + ["trades"]
    if paths.hour_dir(home, shard, hour).is_dir():
        found = read_tables(home, shard, hour, names)
    else:
        files = {} if entry is None else entry.files
        found = {name: parquet.read_hour(lake, name, files[name]).cast(TABLES[name]) for name in names if name in files}
    if "trades" in found:
        found["trades"] = found["trades"].filter(pc.equal(found["trades"]["source"], FILLED))
    return found
