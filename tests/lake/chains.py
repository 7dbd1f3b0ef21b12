"""Simulated logs with faults, and every hour of them settled one on the other, as publishing does it.

Owns the run and the chain; what must hold of an hour stands in the tests.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa

from collector import spans
from collector.limits import Limits
from lake import paths
from lake.settling.coverage import FilePart, derive
from lake.settling.settle import SettledHour, settle
from lake.settling.sources import Source, read_source
from lake.settling.standing import Standing, standing_of
from tests.lake.slow import Hours, read_log
from tests.model.faults import FAULTS, schedule
from tests.model.frames import lives
from tests.model.rig import Rig
from tests.model.times import NS, Shown

ALL = tuple(FAULTS)


def run(home: Path, kinds: tuple[str, ...], seed: int, seconds: float, *, files: int = 3) -> Rig:
    """Let a collector record a simulated venue; an hour is shown in a second."""
    rng = random.Random(seed)
    shown = Shown(1_000_000)
    with patch.object(spans, "CHECKPOINT_EVERY", 128):
        markets = lives(None, files, seconds, 12.0, rng)
        rig = Rig(home, markets, shown, rng, limits=Limits(audit_every_s=4.0))
        schedule(rig, kinds, 2 * NS, int((seconds - 2) * NS), rng)
        rig.agenda.run(int(seconds * NS))
    if rig.up:
        rig.close()
    return rig


def slow_hours(home: Path, shard: int = 0, upto: int | None = None) -> Hours:
    """Return the slow reading of a log up to a flush."""
    flushes = [flush for flush in read_log(home, shard) if upto is None or flush.n <= upto]
    ended = set()
    for hour in paths.hours(home, shard):
        path = paths.end_path(home, shard, hour)
        end = json.loads(path.read_bytes().rpartition(b"\t")[0]) if path.exists() else None
        if end and (upto is None or end["flush"] <= upto):
            ended.add(hour)
    return Hours(flushes, ended)


@dataclass
class Link:
    """An hour of the chain; ``standing`` is what stood before it."""

    source: Source
    settled: SettledHour
    standing: Standing
    coverage: pa.Table

    @property
    def book(self) -> pa.Table | None:
        return self.settled.tables.get("orderbook")


def parts_of(book: pa.Table | None, most: int = 1 << 40) -> list[FilePart]:
    """Return files of whole markets with about ``most`` rows each, named by number."""
    tickers = book["ticker"].to_pylist() if book else []
    cuts = [0]
    for row in range(1, len(tickers)):
        if tickers[row] != tickers[row - 1] and row - cuts[-1] >= most:
            cuts.append(row)
    if tickers:
        cuts.append(len(tickers))
    return [FilePart(f"file-{at}", at, to - at) for at, to in pairwise(cuts)]


def chain(home: Path, hours: list[int], shard: int = 0, upto: int | None = None) -> Iterator[Link]:
    """Settle hours in order, each on what stood after the one before."""
    standing = Standing.empty()
    for hour in hours:
        source = read_source(home, shard, hour, upto)
        settled = settle([source], standing)
        coverage = derive(settled, parts_of(settled.tables.get("orderbook"), 200), standing)
        yield Link(source, settled, standing, coverage)
        standing = standing_of(coverage)
