"""The archive of raw frames, file by file.

Owns the proof that each block stands as it was written. What the frames say, and whether an hour is whole, shows when
it is rebuilt.
"""

from collections.abc import Collection
from pathlib import Path

from lake import paths
from lake.raw.hours import read_hour
from lake.verifying.findings import Findings


def verify_raw(home: Path, hours: Collection[int] | None, findings: Findings) -> None:
    """Prove the raw frames that are kept of these hours (None: all); that none are kept is no doubt.

    A file without an end is none either: its process was killed, or writes it. Cost: one read of every file.
    """
    for shard in paths.shards(home):
        for hour in paths.raw_hours(home, shard):
            if hours is not None and hour not in hours:
                continue
            with findings.doubting(paths.raw_hour_dir(home, shard, hour)):
                found = read_hour(home, shard, hour)
                findings.proved("bytes of raw frames by crc32", sum(process.bytes for process in found))
