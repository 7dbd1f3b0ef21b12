"""Verify over lakes published while a simulated collector met its faults: no false doubt, and nothing left unproved."""

import random
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import pytest

from book.records import HOUR_US
from collector import spans
from lake import paths
from lake.journal import ends
from lake.publishing import manifest
from lake.publishing.publish import publish_hours
from lake.verify import verify
from tests.model.faults import FAULTS, schedule
from tests.model.frames import lives
from tests.model.play import CHECKPOINT_EVERY, LIMITS
from tests.model.rig import Rig
from tests.model.times import NS, Shown

MINUTE_US = 60_000_000


class Publishing:
    """Publishes each hour that has its END, and again what a close has reached since."""

    def __init__(self, home: Path, lake: Path) -> None:
        self.home, self.lake = home, lake
        self.done: list[int] = []

    def flushed(self, rig: Rig) -> None:
        """Look for hours that have ended since the last flush."""
        for hour in paths.hours(self.home, 0):
            if hour not in self.done and (end := ends.read_end(self.home, 0, hour)):
                self._publish(hour, "hour", rig.stamper.last_us)
                self.done.append(hour)
                for early in sorted(set(end.reach) & set(self.done)):
                    self._publish(early, "late", rig.stamper.last_us)

    def again(self, now_us: int) -> None:
        """Publish what is left, and again all that has changed since it was published."""
        for hour in paths.hours(self.home, 0):
            self._publish(hour, "late" if hour in self.done else "hour", now_us)

    def _publish(self, hour: int, reason: str, now_us: int) -> None:
        now_us = max(now_us, (hour + 1) * HOUR_US + MINUTE_US)
        publish_hours(self.lake, self.home, [hour], now_us=lambda: now_us, reason=reason)


def _run(root: Path, recorded: Path | None, kinds: tuple[str, ...], seed: int, seconds: float) -> Counter[str]:
    home, lake = root / "home", root / "lake"
    rng = random.Random(seed)
    publishing = Publishing(home, lake)
    with patch.object(spans, "CHECKPOINT_EVERY", CHECKPOINT_EVERY):
        markets = lives(recorded, 3, seconds, 12.0, rng)
        rig = Rig(home, markets, Shown(1_000_000), rng, limits=LIMITS, flushed=publishing.flushed)
        schedule(rig, kinds, NS, int((seconds - 1) * NS), rng)
        rig.agenda.run(int(seconds * NS))
        half = verify(lake, home, None, lambda _: None)  # while the collector runs
        assert half.doubts == []
        if rig.up:
            rig.close()
    publishing.again(rig.stamper.last_us)
    report = verify(lake, home, None, lambda _: None)
    assert report.doubts == []
    assert any(line.endswith("rows equal to their segments'") for line in report.proved)
    assert not any("without segments" in line for line in report.proved)
    numbers = paths.manifest_numbers(lake)
    found = [manifest.read(lake, number) for number in numbers]
    return Counter(entry.reason for one in found for entry in one.hours)


def test_a_run_with_faults_raises_no_doubt(tmp_path: Path, recorded_data: Path | None) -> None:
    reasons = _run(tmp_path, recorded_data, ("silent", "crash", "gap", "move"), seed=4, seconds=14)
    assert reasons["hour"] >= 10
    assert reasons["correction"] >= 1


@pytest.mark.fault
@pytest.mark.parametrize("kind", [*FAULTS, "all"])
def test_no_fault_raises_a_doubt(tmp_path: Path, recorded_data: Path | None, kind: str) -> None:
    kinds = tuple(FAULTS) if kind == "all" else (kind,)
    assert _run(tmp_path, recorded_data, kinds, seed=11, seconds=24)["hour"] >= 15
