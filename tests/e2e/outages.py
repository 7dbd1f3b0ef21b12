"""Stretches in which the collector cannot have known a book, as the exchange's own account tells them.

Owns their beginning and end for each market, and the check that none of it is ever answered as complete. Times are
those shown.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.client import book, gaps
from tests.e2e.oracle import Oracle, micros
from tests.e2e.stack import Stack

SLACK_US = 150_000
"""How long, in machine time, a frame may still be under way when a fault begins."""
HEARD_US = 1_500_000
"""How long, in machine time, a living connection may have carried nothing: our pings come each second."""


@dataclass
class Outage:
    """A fault at ``start_us``; ``end_us`` where it ends for every market at once, else at each one's next full book."""

    reason: str
    start_us: int
    end_us: int | None = None


@dataclass
class Verdicts:
    """What asking inside outages came to."""

    asked: int = 0
    markets: int = 0
    wrong: list[str] = field(default_factory=list)


def window(oracle: Oracle, ticker: str, outage: Outage) -> tuple[int, int] | None:
    """Return [from, to) in which a market's book cannot be known, None where it was not on air then."""
    slack_us = SLACK_US * oracle.stack.rate
    books = [row["sent_us"] for row in oracle.log.kinds["orderbook_snapshot"] if row["ticker"] == ticker]
    market = oracle.stack.http.get(f"/v1/markets/{ticker}").raise_for_status().json()["data"]
    if min(books, default=outage.start_us) >= outage.start_us or micros(market["close_time"]) <= outage.start_us:
        return None
    later = [one for one in books if one > outage.start_us]
    end_us = outage.end_us if outage.end_us is not None else min(later, default=None)
    if end_us is None or end_us <= outage.start_us + slack_us:
        return None
    return outage.start_us + slack_us, end_us


def check(stack: Stack, oracle: Oracle, markets: list[str], outages: list[Outage], rng: random.Random) -> Verdicts:
    """Ask inside each outage of each market: nothing may be complete, and the gap must say why and since when."""
    verdicts = Verdicts()
    for outage in outages:
        for ticker in markets:
            found = window(oracle, ticker, outage)
            if found is None:
                continue
            verdicts.markets += 1
            for at_us in (found[0], found[1] - 1, *(rng.randrange(*found) for _ in range(6))):
                verdicts.asked += 1
                answer = book(stack, ticker, at_us)
                if answer.is_success:
                    verdicts.wrong.append(f"{ticker} at {at_us} in {outage}: answered complete")
            listed = gaps(stack, ticker)
            if not any(_fits(stack, one, outage) for one in listed):
                verdicts.wrong.append(f"{ticker}: no gap for {outage} in {listed}")
    return verdicts


def _fits(stack: Stack, gap: dict[str, Any], outage: Outage) -> bool:
    start_us = micros(gap["from"])
    earliest_us = outage.start_us - HEARD_US * stack.rate
    return gap["reason"] == outage.reason and earliest_us <= start_us <= outage.start_us + SLACK_US * stack.rate
