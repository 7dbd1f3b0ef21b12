"""The recorded day with collector and publisher killed at ten random moments, and stalls of 5, 12 and 25 seconds."""

import random
from pathlib import Path

import pytest

from tests.e2e.capture import interrogate, play, tickers
from tests.e2e.client import book
from tests.e2e.journalwatch import JournalWatch
from tests.e2e.oracle import Oracle
from tests.e2e.outages import Outage, check
from tests.e2e.publication import published_hours
from tests.e2e.stack import Stack, running, until

KILLS = 10
STALLS_S = (5, 12, 25)
WATCHDOG_S = 15
RUN_S = 350


class Storm:
    """Kills and stalls at machine seconds drawn beforehand, at least as far apart as each needs to be told alone."""

    def __init__(self, stack: Stack, rng: random.Random, markets: list[str]) -> None:
        self._stack = stack
        self._markets = markets
        slots = rng.sample(range(1, 17), KILLS + len(STALLS_S))
        jitter = [rng.uniform(0, 4) for _ in slots]
        at_s = [slot * RUN_S / 17 + extra for slot, extra in zip(slots, jitter, strict=True)]
        self._due: list[tuple[float, int]] = sorted(zip(at_s, [0] * KILLS + list(STALLS_S), strict=True))
        self._blind_until_s = 0.0
        self.outages: list[Outage] = []
        self.answered_blind: list[str] = []

    def __call__(self, elapsed_s: float) -> None:
        """Do what is due, and while the collector is deaf ask for now: nothing may be complete."""
        if elapsed_s < self._blind_until_s:
            self._ask_blind()
        elif self._due and self._due[0][0] <= elapsed_s:
            _, stall_s = self._due.pop(0)
            if stall_s:
                self._stall(elapsed_s, stall_s)
            else:
                self._stack.kill("collect")
                self._stack.kill("publish")
                self.outages.append(Outage("crash", self._stack.shown_now_us()))
                self._ask_blind()
                self._stack.start_publisher()
                self._stack.start_collector()

    def _stall(self, elapsed_s: float, stall_s: int) -> None:
        asked_us = self._stack.fault(kind="stall", seconds=stall_s)["asked_us"]
        end_us = asked_us + stall_s * 1_000_000 * self._stack.rate if stall_s < WATCHDOG_S else None
        self.outages.append(Outage("stall", asked_us, end_us))
        self._blind_until_s = elapsed_s + min(stall_s, WATCHDOG_S) - 1

    def _ask_blind(self) -> None:
        now_us = self._stack.shown_now_us()
        for ticker in self._markets:
            answer = book(self._stack, ticker, now_us)
            if answer.is_success:
                self.answered_blind.append(f"{ticker} at {now_us}")


@pytest.mark.fault
def test_kills_and_stalls_at_twenty_fold_speed(tmp_path: Path, recorded_data: Path | None, figures: list[str]) -> None:
    if recorded_data is None:
        pytest.skip("no recorded frames here; test_faults plays the same part")
    folder = recorded_data / "kalshi-gold15m"
    markets = tickers(folder, "2026-08-10")
    rng = random.Random(11)
    with running(tmp_path, shown="2026-08-10T21:45:30Z", rate=20, KALSHIBOOK_AUDIT_EVERY_S="10") as stack:
        storm, watch = Storm(stack, rng, markets), JournalWatch(tmp_path)
        play(stack, folder, markets, storm, publish=True)
        watch.stop()
        until(lambda: len(published_hours(stack)) >= 2, 60)
        assert len(storm.outages) == KILLS + len(STALLS_S)
        assert storm.answered_blind == []
        assert watch.lost() == []
        oracle = Oracle(stack)
        oracle.refresh()
        verdicts = check(stack, oracle, markets, storm.outages, rng)
        figures.append(f"{stack.home.name}: {storm.outages} {verdicts}")
        assert verdicts.wrong == []
        assert verdicts.markets >= 8
        tally = interrogate(stack, markets, 1000, rng, every_row=False)
        figures.append(f"{stack.home.name}: {tally}")
        assert tally.wrong == []
        assert tally.refused.total() <= tally.asked // 100
        assert stack.command("verify", "--all") == 0
