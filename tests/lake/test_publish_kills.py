"""A publisher killed anywhere: readers find the old state or the new one, whole, and the next run finishes it."""

import random
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from deltalake import DeltaTable

from book.records import HOUR_US
from lake import paths
from lake.publishing import carry_out, delta, manifest, parquet
from lake.publishing.publish import publish_hours
from lake.publishing.shelf import Shelf
from tests.lake.forks import DIED, Forks, job
from tests.lake.tapes import FIRST, SECOND_US, Tape, expected, found

TABLES = ("orderbook", "trades", "audits")
Rows = dict[str, list[tuple[object, ...]]]
State = dict[int, tuple[int, Rows]]
"""What a reader finds: hour -> version and rows by table."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    running = Forks()
    yield running
    running.close()


def seen(lake: Path) -> State:
    """Return what a new reader finds, each file that coverage names compared with what was decided of it."""
    shelf = Shelf(lake)
    shelf.refresh()
    state: State = {}
    for hour in shelf.hours():
        standing = shelf.standing_rows(hour)
        entry = next(one for one in manifest.read(lake, shelf.manifest_of(hour)).hours if one.hour == hour)
        decided = {data.file: data for files in entry.files.values() for data in files}
        rows: Rows = {}
        for row in standing.to_pylist():
            if row["state"] != "table":
                continue
            path = shelf.path(row["channel"], row["file"])
            parquet.check_bytes(path, decided[row["file"]])
            read = parquet.read_file(path, row["channel"])
            assert read.num_rows == row["rows"]
            rows.setdefault(row["channel"], []).extend(found(read))
        told = sum(row["rows"] for row in standing.to_pylist() if row["state"] in {"known", "gap"})
        assert told == len(rows.get("orderbook", []))
        assert entry.version == shelf.version(hour)
        state[hour] = entry.version, {table: sorted(part, key=repr) for table, part in rows.items()}
    return state


def wanted(tapes: list[Tape], hour: int) -> Rows:
    """Return the rows that the log holds of an hour now; of the trades those of one shard: each has them all."""
    rows = {table: expected(tapes[:1] if table == "trades" else tapes, hour, table) for table in TABLES}
    return {table: part for table, part in rows.items() if part}


class Campaign:
    """Hours logged and published one after another while publishers die; now and then something reaches back."""

    def __init__(self, root: Path, forks: Forks, seed: int) -> None:
        self.home, self.lake = root / "home", root / "lake"
        self.forks = forks
        self.rng = random.Random(seed)
        self.tapes = [Tape(self.home, 0, ("A", "B", "C"), seed), Tape(self.home, 1, ("D", "E"), seed + 1)]
        self.truth: dict[tuple[int, int], Rows] = {}
        """The rows of each version of each hour."""
        self.state: State = {}
        self.kills = 0

    def run(self, kills: int) -> None:
        """Go on until so many publishers have died."""
        hour = FIRST
        while self.kills < kills:
            for tape in self.tapes:
                tape.write_hour(hour, flushes=2, deltas=12)
            self.publish([hour], "hour")
            if hour > FIRST and self.rng.random() < 0.5:
                self.publish(self._reach_back(hour), "late")
            hour += 1
        assert sorted(self.state) == list(range(FIRST, hour))

    def publish(self, hours: list[int], reason: str) -> None:
        """Publish hours that have a log, however many publishers die on it."""
        after: State = dict(self.state)
        for hour in hours:
            version, rows = self.state.get(hour, (0, {}))
            new = wanted(self.tapes, hour)
            if {table: part for table, part in rows.items() if table != "corrections"} != new:
                after[hour] = version + 1, new
        now_us = (max(self.tapes[0].last_us, hours[-1] * HOUR_US)) + 2 * HOUR_US
        while True:
            one = job(self.lake, self.home, hours, now_us, reason, **self._death())
            end = self.forks.run(one)[0]
            assert end in {0, DIED, -9}
            self.kills += end != 0
            self._look(after)
            if end == 0:
                break
        assert self._without_corrections(seen(self.lake)) == after
        self.state = after
        chain = [manifest.read_chained(self.lake, n) for n in range(1, manifest.last_number(self.lake) + 1)]
        assert all(a.at_us < b.at_us for a, b in pairwise(chain))

    def _look(self, after: State) -> None:
        """Look as a reader does: all of the old state, or all of the new one."""
        read = self._without_corrections(seen(self.lake))
        assert read in (self.state, after)

    def _death(self) -> dict[str, object]:
        if self.rng.random() < 0.3:
            return {"kill_after_s": self.rng.uniform(0, 0.25)}
        return {"die_at": self.rng.randrange(50)}

    def _reach_back(self, hour: int) -> list[int]:
        tape = self.rng.choice(self.tapes)
        if self.rng.random() < 0.5:
            tape.withdraw(tape.markets[0], hour + 1, hour * HOUR_US - self.rng.randint(1, 3000) * SECOND_US)
        else:
            tape.withdraw(tape.markets[1], hour + 1, hour * HOUR_US + self.rng.randint(3000, 3500) * SECOND_US)
        return [hour - 1, hour]

    @staticmethod
    def _without_corrections(state: State) -> State:
        return {
            hour: (version, {table: part for table, part in rows.items() if table != "corrections"})
            for hour, (version, rows) in state.items()
        }


def test_a_publisher_dies_at_fifteen_places(tmp_path: Path, forks: Forks) -> None:
    Campaign(tmp_path, forks, seed=1).run(15)


@pytest.mark.fault
def test_two_hundred_publishers_die(tmp_path: Path, forks: Forks) -> None:
    for seed in range(2, 6):
        Campaign(tmp_path / str(seed), forks, seed).run(50)


def test_dying_at_each_step_in_turn(tmp_path: Path, forks: Forks) -> None:
    tape = Tape(tmp_path / "home")
    tape.write_hour(FIRST, flushes=1, deltas=5, books_only=True)
    now_us = (FIRST + 2) * HOUR_US
    carry_out.finish(tmp_path / "empty")
    steps: list[str] = []
    shutil.copytree(tmp_path / "empty", tmp_path / "whole")
    publish_hours(tmp_path / "whole", tape.home, [FIRST], now_us=lambda: now_us, fail_point=steps.append)
    rows = wanted([tape], FIRST)
    for place, name in enumerate(steps):
        lake = tmp_path / str(place)
        shutil.copytree(tmp_path / "empty", lake)
        assert forks.run(job(lake, tape.home, [FIRST], now_us, die_at=place)) == [DIED]
        decided = name == "2.decided" or name[:2] in {"3.", "4."} or name == "2.manifest.linked"
        assert manifest.last_number(lake) == int(decided), name
        visible = name == "4.coverage.committed"
        assert seen(lake) == ({FIRST: (1, rows)} if visible else {}), name
        assert forks.run(job(lake, tape.home, [FIRST], now_us)) == [0]
        assert seen(lake) == {FIRST: (1, rows)}, name
        assert manifest.last_number(lake) == 1, name
        assert delta.committed(lake, "orderbook") == 1, name
        assert len(DeltaTable(paths.table_dir(lake, "orderbook")).file_uris()) == 1, name
