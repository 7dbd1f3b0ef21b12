"""Every path of the journal and the lake, both ways.

Owns where a file stands; no other module joins a path. Never touches the disk but to list it.

Journal: ``<home>/journal/<shard>/<YYYY-MM-DD>/<HH>/``, raw frames likewise under ``<home>/raw/``.
Lake: ``<lake>/v1/<table>/dt=<YYYY-MM-DD>/hr=<H>/``, ``<lake>/v1/manifest/``.
"""

import re
from datetime import UTC, date, datetime
from pathlib import Path

from book.records import HOUR_US

FLUSH_NAME = "flush.jsonl"
END_NAME = "end.json"
SIDECAR_SUFFIX = ".json"
TEMPORARY_SUFFIX = ".tmp"
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_RAW = re.compile(r"(\d+)-(\d+)\.raw")
_SEGMENT = re.compile(r"([a-z_]+)-(\d{6,})\.arrow")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_HOUR = re.compile(r"[01]\d|2[0-3]")


def hour_of(ts_us: int) -> int:
    """Return the hour number of an instant: whole hours since the epoch."""
    return ts_us // HOUR_US


def hour_start_us(hour: int) -> int:
    """Return the first instant of an hour."""
    return hour * HOUR_US


def journal_root(home: Path) -> Path:
    """Return the folder that holds one folder a shard."""
    return home / "journal"


def journal_dir(home: Path, shard: int) -> Path:
    """Return the folder of a shard's log."""
    return journal_root(home) / str(shard)


def hour_dir(home: Path, shard: int, hour: int) -> Path:
    """Return the folder of one hour of a shard's log: ``<YYYY-MM-DD>/<HH>``, UTC."""
    return journal_dir(home, shard) / _day_and_hour(hour)


def parse_hour(day: str, hour: str) -> int | None:
    """Return the hour number that two folder names stand for, None where they are not such names."""
    if not (_DAY.fullmatch(day) and _HOUR.fullmatch(hour)):
        return None
    try:
        days = date.fromisoformat(day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return days * 24 + int(hour)


def segment_name(table: str, number: int) -> str:
    """Return the file name of a table's segment; numbers are given within an hour, in the order of writing."""
    return f"{table}-{number:06d}.arrow"


def parse_segment(name: str) -> tuple[str, int] | None:
    """Return the table and number of a segment's file name, None where it is not one."""
    match = _SEGMENT.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def sidecar_name(segment: str) -> str:
    """Return the file name of a segment's sidecar."""
    return segment + SIDECAR_SUFFIX


def end_path(home: Path, shard: int, hour: int) -> Path:
    """Return the file that says that a shard has ended an hour."""
    return hour_dir(home, shard, hour) / END_NAME


def lock_path(home: Path, shard: int) -> Path:
    """Return the file that the process of a shard holds locked."""
    return journal_dir(home, shard) / "lock"


def reserve_path(home: Path, shard: int) -> Path:
    """Return the file whose bytes are given back when the disk of a shard is full."""
    return journal_dir(home, shard) / "reserve"


def epoch_path(home: Path, shard: int, epoch: int) -> Path:
    """Return the object that a process of a shard makes when it begins; each has the number after the last."""
    return journal_dir(home, shard) / "epoch" / str(epoch)


def epochs(home: Path, shard: int) -> list[int]:
    """Return the epochs of a shard that stand, ascending. Cost: one listing."""
    folder = epoch_path(home, shard, 0).parent
    return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()) if folder.is_dir() else []


def raw_dir(home: Path, shard: int) -> Path:
    """Return the folder of a shard's raw frames."""
    return home / "raw" / str(shard)


def raw_hour_dir(home: Path, shard: int, hour: int) -> Path:
    """Return the folder of one hour of a shard's raw frames."""
    return raw_dir(home, shard) / _day_and_hour(hour)


def raw_name(start_us: int, link: int) -> str:
    """Return the file name of a link's raw frames in an hour; ``start_us`` is the first stamp of its process."""
    return f"{start_us}-{link}.raw"


def parse_raw(name: str) -> tuple[int, int] | None:
    """Return the process and link of a file of raw frames, None where it is not one."""
    match = _RAW.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def raw_hours(home: Path, shard: int) -> list[int]:
    """Return the hours that have a folder of raw frames, ascending. Cost: one listing a day."""
    return _hours(raw_dir(home, shard), "")


def rebuilt_root(home: Path) -> Path:
    """Return the folder that holds one folder a rebuild from raw frames."""
    return home / "rebuilt"


def rebuilt_home(home: Path, number: int) -> Path:
    """Return the folder of a rebuild: a home of its own, whose journal holds the hours that were rebuilt."""
    return rebuilt_root(home) / str(number)


def rebuilt_numbers(home: Path) -> list[int]:
    """Return the numbers of the rebuilds under a home, ascending. Cost: one listing."""
    root = rebuilt_root(home)
    return sorted(int(entry.name) for entry in root.iterdir() if entry.name.isdecimal()) if root.is_dir() else []


def versions_path(home: Path, shard: int, table: str) -> Path:
    """Return the file of the last versions of a table of metadata, as far as a shard's log is gathered in it."""
    return home / "versions" / str(shard) / f"{table}.arrow"


def partition(hour: int) -> dict[str, str]:
    """Return the partition of an hour as Delta has it: day and hour, UTC."""
    start = datetime.fromtimestamp(hour * 3600, UTC)
    return {"dt": f"{start:%Y-%m-%d}", "hr": str(start.hour)}


def partition_hour(dt: str, hr: int | str) -> int:
    """Return the hour number of a partition. Raises ValueError where it is none."""
    hour = parse_hour(dt, f"{int(hr):02d}")
    if hour is None:
        raise ValueError(f"dt={dt}/hr={hr} is no hour")
    return hour


def table_dir(lake: Path, table: str) -> Path:
    """Return the root of a table of the lake."""
    return lake / "v1" / table


def data_file(hour: int, name: str) -> str:
    """Return the path of a data file below its table's root."""
    place = partition(hour)
    return f"dt={place['dt']}/hr={place['hr']}/{name}.parquet"


def manifest_dir(lake: Path) -> Path:
    """Return the folder of the manifests."""
    return lake / "v1" / "manifest"


def manifest_name(number: int) -> str:
    """Return the file name of a manifest; they are numbered from 1 in the order of publication."""
    return f"{number:010d}.json"


def manifest_numbers(lake: Path) -> list[int]:
    """Return the numbers of the manifests that stand, ascending. Cost: one listing."""
    folder = manifest_dir(lake)
    if not folder.is_dir():
        return []
    stems = (entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def views_path(lake: Path) -> Path:
    """Return the script that opens the lake in DuckDB."""
    return lake / "v1" / "views.sql"


def shards(home: Path) -> list[int]:
    """Return the shards whose log stands under a home, ascending."""
    root = journal_root(home)
    return sorted(int(entry.name) for entry in root.iterdir() if entry.name.isdecimal()) if root.is_dir() else []


def hours(home: Path, shard: int, since: int | None = None) -> list[int]:
    """Return the hours that have a folder in a shard's log, ascending; with ``since`` those of its day and later.

    Cost: one listing a day.
    """
    return _hours(journal_dir(home, shard), "" if since is None else partition(since)["dt"])


def _day_and_hour(hour: int) -> str:
    start = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{start:%Y-%m-%d}/{start:%H}"


def _hours(root: Path, first: str) -> list[int]:
    """Return the hours that have a folder under ``root``, of the day named ``first`` and later ones."""
    if not root.is_dir():
        return []
    found = (
        parse_hour(day.name, folder.name)
        for day in root.iterdir()
        if day.name >= first and _DAY.fullmatch(day.name) and day.is_dir()
        for folder in day.iterdir()
    )
    return sorted(hour for hour in found if hour is not None)
