"""One run of the model: markets, faults of some kinds, questions all along and at the end.

Owns the proportions of a run.
"""

import random
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event
from unittest.mock import patch

from book.records import DAY_US, HOUR_US, Kind
from collector import spans
from collector.limits import Limits
from lake.publishing.publisher import Publisher
from query.log import Log
from tests.model import account, log_rows
from tests.model.faults import schedule
from tests.model.frames import lives
from tests.model.oracle import Oracle
from tests.model.questions import Asked, Questions
from tests.model.rig import Rig
from tests.model.times import NS, Shown

LIMITS = Limits(audit_every_s=4.0)
CHECKPOINT_EVERY = 128


@dataclass
class Played:
    """What a run showed."""

    asked: Asked
    happened: Counter[str]
    closes: Counter[str]
    flushes: int
    hours: int
    rows: int
    withdrawn: int
    days: int
    ties: int
    oracle: Oracle
    silences: int
    disorders: list[str]
    unaccounted: list[str]
    false_ends: list[str]
    unended: list[int]

    def line(self, name: str) -> str:
        words = ", ".join(f"{word} {count}" for word, count in sorted(self.asked.verdicts.items()))
        closes = ", ".join(f"{reason} {count}" for reason, count in sorted(self.closes.items()))
        return (
            f"{name}: {self.asked.count} asked, {len(self.asked.wrong)} wrong ({words}); "
            f"{self.flushes} flushes, {self.hours} hours, {self.rows} rows, {self.withdrawn} withdrawn; "
            f"closes: {closes}; faults: {dict(sorted(self.happened.items()))}"
        )


def play(
    home: Path,
    recorded: Path | None,
    kinds: tuple[str, ...],
    *,
    seed: int,
    seconds: float,
    files: int,
    questions: int,
    closing: bool = False,
    lake: Path | None = None,
) -> Played:
    """Run a shard under ``home``; half of the questions are asked while it runs.

    With ``lake`` its hours are published as they end, and the questions are asked of both.
    """
    rng = random.Random(seed)
    shown = Shown(1_000_000)
    markets = lives(recorded, files, seconds, 12.0 if closing else None, rng)
    expected_flushes = int(seconds * 5.5)
    live = questions // 2
    asking: list[Questions] = []
    publishing: list[Publisher] = []

    def publish(rig: Rig) -> None:
        if lake is not None:
            if not publishing:
                publishing.append(_publisher(lake, home, rig))
            if rng.random() < 0.3:
                assert publishing[0].look(Event())

    def ask(rig: Rig) -> None:
        publish(rig)
        if not asking:
            log = Log(home, lambda: rig.stamper.last_us, lake=lake, poll_every_s=0.0)
            asking.append(Questions(log, rig.oracle, rng))
        asked = asking[0].asked.count
        if asked < live and rng.random() < 1.2 * live / (8 * expected_flushes):
            asking[0].ask(min(8, live - asked), rig.stamper.last_us)

    with patch.object(spans, "CHECKPOINT_EVERY", CHECKPOINT_EVERY):
        rig = Rig(home, markets, shown, rng, limits=LIMITS, flushed=ask)
        schedule(rig, kinds, 2 * NS, int((seconds - 2) * NS), rng)
        rig.agenda.run(int(seconds * NS))
    if rig.up:
        rig.close()
    if lake is not None:
        assert publishing[0].look(Event())
    end = Questions(Log(home, lambda: rig.stamper.last_us, lake=lake, poll_every_s=0.0), rig.oracle, rng)
    end.asked = asking[0].asked
    end.ask_again()
    end.ask(questions - end.asked.count, rig.stamper.last_us)
    rows = log_rows.read(home, 0)
    return Played(
        asked=end.asked,
        happened=rig.happened + rig.venue.happened,
        closes=rig.closes,
        flushes=rig.flushes,
        hours=len({row.hour for found in rows.values() for row in found}),
        rows=sum(len(found) for found in rows.values()),
        withdrawn=sum(len(log_rows.withdrawn(found)) for found in rows.values()),
        days=len({row.ts_us // DAY_US for found in rows.values() for row in found}),
        ties=_ties(rows),
        oracle=rig.oracle,
        silences=len({(span.conn.number, one) for span in rig.oracle.all() for one in span.conn.silences}),
        disorders=[text for found in rows.values() for text in log_rows.disorders(found)],
        unaccounted=account.complaints(home, 0),
        false_ends=account.false_ends(home, 0),
        unended=account.unended(home, 0),
    )


def _publisher(lake: Path, home: Path, rig: Rig) -> Publisher:
    return Publisher(lake, home, lambda: rig.stamper.last_us, _failed_never, monotonic_s=lambda: rig.agenda.now_ns / NS)


def _failed_never(event: str, **fields: object) -> None:
    assert event == "published", (event, fields)


def _ties(rows: dict[str, list[log_rows.Row]]) -> int:
    """Count changes of different messages with one stamp, and records on an hour's first instant."""
    found = 0
    for of_market in rows.values():
        changes = [row for row in of_market if row.kind in (Kind.SNAPSHOT, Kind.DELTA)]
        found += sum(a.ts_us == b.ts_us and a.seq != b.seq for a, b in pairwise(changes))
        found += sum(row.ts_us % HOUR_US == 0 for row in changes)
    return found
