"""Faults of the venue and of the process, live: refused while unknown, written down, and right again afterwards."""

import random
import time
from pathlib import Path

import pytest

from tests.e2e.capture import Tally, ask
from tests.e2e.client import book, gaps, instants, spans
from tests.e2e.journalwatch import JournalWatch
from tests.e2e.oracle import Oracle, micros
from tests.e2e.outages import Outage, Verdicts, check
from tests.e2e.stack import Stack, running, until


def _recorded(stack: Stack) -> list[str]:
    data = stack.http.get("/v1/markets", params={"limit": 1000}).raise_for_status().json()["data"]
    return [row["ticker"] for row in data if row["first_data_at"] is not None]


def _right_outside(stack: Stack, oracle: Oracle, markets: list[str], questions: int, rng: random.Random) -> Tally:
    tally = Tally()
    for ticker in rng.choices(markets, k=questions):
        found = spans(stack, ticker)
        if found:
            for at_us in instants(rng, found, [], 1):
                ask(stack, oracle, tally, ticker, at_us)
    return tally


def _start(stack: Stack, markets: int, rate: int) -> None:
    stack.start_exchange("--markets", str(markets), "--rate", str(rate), "--log-frames", "2000000")
    stack.start_server()
    stack.start_collector()
    until(lambda: len(_recorded(stack)) >= markets // 2, 30)
    time.sleep(2)


def _refused_now(stack: Stack, markets: list[str]) -> None:
    now_us = stack.shown_now_us()
    for ticker in markets[:5]:
        assert not book(stack, ticker, now_us - 50_000).is_success


def _finish(stack: Stack, outages: list[Outage], seed: int) -> tuple[Verdicts, Tally]:
    time.sleep(3)
    rng, oracle = random.Random(seed), Oracle(stack)
    assert stack.stop("collect") == 0
    oracle.refresh()
    markets = _recorded(stack)
    verdicts = check(stack, oracle, rng.sample(markets, min(25, len(markets))), outages, rng)
    return verdicts, _right_outside(stack, oracle, markets, 150, rng)


def test_gap_reset_stall_and_kill(tmp_path: Path) -> None:
    with running(tmp_path) as stack:
        _start(stack, 60, 300)
        markets = _recorded(stack)
        watch = JournalWatch(tmp_path)
        outages = []
        done = stack.fault(kind="gap", count=3)
        outages.append(Outage("seq_gap", done["effects"][0]["at_us"]))
        time.sleep(3)
        done = stack.fault(kind="stall", seconds=4)
        time.sleep(2)
        _refused_now(stack, markets)
        outages.append(Outage("stall", done["asked_us"], done["asked_us"] + 4_000_000))
        time.sleep(4)
        done = stack.fault(kind="reset")
        outages.append(Outage("disconnect", done["asked_us"]))
        time.sleep(3)
        stack.kill("collect")
        outages.append(Outage("crash", stack.shown_now_us()))
        time.sleep(0.5)
        _refused_now(stack, markets)
        stack.start_collector()
        time.sleep(4)
        verdicts, tally = _finish(stack, outages, 3)
        watch.stop()
        assert verdicts.wrong == []
        assert verdicts.markets >= 50  # the stall and the crash last long enough to ask inside, for 25 markets each
        assert tally.wrong == []
        assert tally.refused.total() == 0
        assert watch.lost() == []
        assert len(watch.seen) > 100


def test_a_silent_loss_is_found_by_the_audit_and_withdrawn(tmp_path: Path) -> None:
    with running(tmp_path, KALSHIBOOK_AUDIT_EVERY_S="3") as stack:
        _start(stack, 40, 400)
        time.sleep(3)
        lost = [stack.fault(kind="silent_loss")["effects"][0] for _ in range(3)]
        until(lambda: all(_withdrawn(stack, one["ticker"], one["at_us"]) for one in lost), 30)
        for one in lost:
            gap = _withdrawn(stack, one["ticker"], one["at_us"])
            assert gap is not None
            for at_us in (one["at_us"], (one["at_us"] + micros(gap["to"])) // 2, micros(gap["to"]) - 1):
                assert not book(stack, one["ticker"], at_us).is_success
        _, tally = _finish(stack, [], 4)
        assert tally.wrong == []
        assert tally.refused.total() == 0


def _withdrawn(stack: Stack, ticker: str, at_us: int) -> dict | None:
    """Return the gap that an audit or a negative level has made over an instant."""
    for gap in gaps(stack, ticker):
        withdrawn = gap["reason"] in ("audit_mismatch", "negative_level") and gap["to"] is not None
        if withdrawn and micros(gap["from"]) <= at_us + 50_000 and at_us < micros(gap["to"]):
            return gap
    return None


@pytest.mark.fault
def test_every_market_finds_its_loss_within_thirty_seconds(tmp_path: Path) -> None:
    with running(tmp_path, KALSHIBOOK_AUDIT_EVERY_S="20") as stack:
        _start(stack, 200, 1000)
        lost = [stack.fault(kind="silent_loss")["effects"][0] for _ in range(30)]
        until(lambda: all(_withdrawn(stack, one["ticker"], one["at_us"]) for one in lost), 32)
