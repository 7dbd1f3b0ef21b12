"""Trades over real sockets: losses, a reset and a killed collector, filled over REST, against all that were made."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import pages
from tests.e2e.oracle import micros
from tests.e2e.stack import Stack, running, until

SETTLED_S = 75.0
"""A lapse is asked for 30 s after its end."""


def _truth(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = stack.control.get("trades", params={"after": found[-1]["n"] if found else 0, "limit": 5000})
        rows = [json.loads(line) for line in answer.raise_for_status().text.splitlines()]
        if not rows:
            return found
        found += rows


def _gaps(stack: Stack) -> list[dict[str, Any]]:
    found = stack.http.get("/v1/gaps", params={"channel": "trades", "limit": 10_000}).raise_for_status().json()
    return list(found["data"])


@pytest.mark.fault
def test_every_trade_made_is_there_once_after_filling(tmp_path: Path) -> None:
    rng = random.Random(8)
    with running(tmp_path) as stack:
        stack.start_exchange("--markets", "40", "--rate", "400", "--log-frames", "2000000")
        stack.start_server()
        stack.start_collector()
        until(lambda: stack.said("subscribed"), 30)
        time.sleep(3)
        first_us = stack.shown_now_us()
        lost: set[int] = set()
        for _ in range(20):
            done = stack.fault(kind="gap", channel="trade", count=rng.randint(1, 3), wait_s=20)
            lost |= {effect["seq"] for effect in done["effects"]}
            time.sleep(rng.random())
        stack.fault(kind="reset", role="tape")
        time.sleep(3)
        stack.fault(kind="overflow_error", channel="trade")
        time.sleep(3)
        stack.kill("collect")
        time.sleep(2)
        stack.start_collector()
        time.sleep(5)
        last_us = stack.shown_now_us() - 2_000_000
        before = _gaps(stack)
        assert {gap["reason"] for gap in before} >= {"seq_gap", "disconnect", "channel_error", "crash"}
        assert sum(gap["reason"] == "seq_gap" for gap in before) == sum(seq - 1 not in lost for seq in lost)
        until(lambda: all(gap["filled"] for gap in _gaps(stack)), SETTLED_S, 1.0)
        assert [gap["from"] for gap in _gaps(stack)] == [gap["from"] for gap in before]
        made = [row for row in _truth(stack) if first_us <= row["ts_us"] < last_us]
        assert len(made) > 200
        for ticker in sorted({row["ticker"] for row in made}):
            rows = pages(stack, "/v1/trades", market_ticker=ticker)
            names = [row["trade_id"] for row in rows]
            assert len(names) == len(set(names))
            wanted = {row["trade_id"]: row for row in made if row["ticker"] == ticker}
            assert wanted.keys() <= set(names)
            for row in rows:
                one = wanted.get(row["trade_id"])
                assert one is None or micros(row["ts_exchange"]) // 1000 == one["ts_us"] // 1000
