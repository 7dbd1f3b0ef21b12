"""A recorded day replayed through the whole product, and every answer held against the exchange's own account.

Owns the run and its questions; the tests choose speed, counts and what goes wrong meanwhile.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.client import book, change_keys, changes, instants, spans, trade_keys
from tests.e2e.oracle import Oracle, micros
from tests.e2e.stack import Stack, until


@dataclass
class Tally:
    """What the questions of a run came to."""

    asked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    by_market: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    trades: int = 0


def tickers(folder: Path, day: str) -> list[str]:
    """Return the captured markets that have frames of a day."""
    return sorted(path.parent.name for path in (folder / "events").glob(f"*/{day}.ndjson.gz"))


def play(
    stack: Stack,
    folder: Path,
    markets: list[str],
    meanwhile: Callable[[float], None] | None = None,
    *,
    publish: bool = False,
) -> None:
    """Start everything, play to the end of the capture, and wait until it is durable.

    ``meanwhile`` is called several times a second with the machine seconds since the start.
    """
    stack.start_exchange(
        "--capture", str(folder), "--log-frames", "3000000", *(word for one in markets for word in ("--market", one))
    )
    stack.start_server()
    stack.start_collector()
    if publish:
        stack.start_publisher()
    began_s = time.monotonic()

    def done() -> bool:
        if meanwhile is not None:
            meanwhile(time.monotonic() - began_s)
        state = stack.state()
        return bool(state["source_done"]) and not any(one["backlog"] for one in state["connections"])

    until(done, 3600, 0.2)
    time.sleep(3.0)


def interrogate(
    stack: Stack, markets: list[str], questions: int, rng: random.Random, *, every_row: bool = True
) -> Tally:
    """Ask about instants inside spans, at least ``questions`` in all, and compare deltas and trades row by row.

    ``every_row``: all that was sent must have been kept; else what was kept must have been sent, each row once.
    """
    oracle, tally = Oracle(stack), Tally()
    oracle.refresh()
    for ticker in markets:
        rows = changes(stack, ticker)
        sent = oracle.sent_changes(ticker)
        found = change_keys(rows)
        if not _same(found, sent, every_row):
            tally.wrong.append(f"{ticker}: {len(found)} changes read back, {len(sent)} sent")
        traded = trade_keys(stack, ticker)
        if not _same(traded, oracle.sent_trades(ticker), every_row):
            tally.wrong.append(f"{ticker}: trades differ")
        tally.rows += len(rows)
        tally.trades += len(traded)
        stamps = [micros(row["ts"]) for row in rows if row["kind"] == "delta"]
        for at_us in instants(rng, spans(stack, ticker), stamps, -(-questions // len(markets))):
            ask(stack, oracle, tally, ticker, at_us)
    return tally


def ask(stack: Stack, oracle: Oracle, tally: Tally, ticker: str, at_us: int) -> None:
    """Ask for one book and judge the answer."""
    answer = book(stack, ticker, at_us)
    tally.asked += 1
    tally.by_market[ticker] += 1
    if answer.is_success:
        wrong = oracle.wrong(json.loads(answer.text), at_us)
        if wrong:
            tally.wrong.append(f"{ticker} at {at_us}: {wrong}")
    else:
        tally.refused[answer.json()["error"]["code"]] += 1


def _same(found: list[Any], sent: list[Any], every_row: bool) -> bool:
    if every_row:
        return found == sent
    return len(set(found)) == len(found) and set(found) <= set(sent)
