"""Questions about an hour while it is being published, and which hours stand published.

Owns the moments of asking. The answers are judged later, when the exchange's whole account is known.
"""

import json
import random
from dataclasses import dataclass, field
from typing import Any

from lake.shelf import Shelf

from tests.e2e.client import book
from tests.e2e.oracle import Oracle
from tests.e2e.stack import Stack

HOUR_US = 3_600_000_000
WATCH_US = 240_000_000


def published_hours(stack: Stack) -> list[int]:
    """Return the hours whose coverage is committed."""
    shelf = Shelf(stack.lake)
    shelf.refresh()
    return shelf.hours()


@dataclass
class Witness:
    """Ask about the hour before, from its end until it has been published for a while."""

    stack: Stack
    markets: list[str]
    rng: random.Random
    answers: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    seen: dict[int, str] = field(default_factory=dict)
    """For each hour asked about: whether it was found unpublished, published, or first the one and then the other."""

    def __call__(self, _elapsed_s: float) -> None:
        """Ask, where the hour before is fresh."""
        if not self.watching():
            return
        hour = self.stack.shown_now_us() // HOUR_US - 1
        state = "published" if hour in published_hours(self.stack) else "unpublished"
        if self.seen.get(hour, state) != state:
            state = "both"
        self.seen[hour] = state
        for _ in range(12):
            self._ask(self.rng.choice(self.markets), self.rng.randrange(hour * HOUR_US, (hour + 1) * HOUR_US))

    def watching(self) -> bool:
        """Say whether an hour has just ended."""
        return self.stack.shown_now_us() % HOUR_US < WATCH_US and bool(self.stack.said("subscribed"))

    def judge(self, oracle: Oracle) -> list[str]:
        """Return what was wrong."""
        return [
            f"{ticker} at {at_us}: {wrong}"
            for ticker, at_us, answer in self.answers
            if (wrong := oracle.wrong(answer, at_us))
        ]

    def _ask(self, ticker: str, at_us: int) -> None:
        answer = book(self.stack, ticker, at_us)
        if answer.is_success:
            self.answers.append((ticker, at_us, json.loads(answer.text)))
        else:
            self.refused.append(str(answer.json()["error"]["code"]))
