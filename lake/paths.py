"""Every path of the journal, both ways.

Owns where a file of the lake stands; no other module joins a path. Never touches the disk but to list it.
"""

import re
from datetime import UTC, datetime
from pathlib import Path

from book.records import HOUR_US

FLUSH_NAME = "flush.jsonl"
SIDECAR_SUFFIX = ".json"
TEMPORARY_SUFFIX = ".tmp"
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
    start = datetime.fromtimestamp(hour * 3600, UTC)
    return journal_dir(home, shard) / f"{start:%Y-%m-%d}" / f"{start:%H}"


def parse_hour(day: str, hour: str) -> int | None:
    """Return the hour number that two folder names stand for, None where they are not such names."""
    if not (_DAY.fullmatch(day) and _HOUR.fullmatch(hour)):
        return None
    try:
        start = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(start.timestamp()) // 3600 + int(hour)


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


def shards(home: Path) -> list[int]:
    """Return the shards whose log stands under a home, ascending."""
    root = journal_root(home)
    return sorted(int(entry.name) for entry in root.iterdir() if entry.name.isdecimal()) if root.is_dir() else []


def hours(home: Path, shard: int) -> list[int]:
    """Return the hours that have a folder in a shard's log, ascending. Cost: one listing a day."""
    root = journal_dir(home, shard)
    if not root.is_dir():
        return []
    found = (
        parse_hour(day.name, folder.name)
        for day in root.iterdir()
        if _DAY.fullmatch(day.name) and day.is_dir()
        for folder in day.iterdir()
    )
    return sorted(hour for hour in found if hour is not None)
