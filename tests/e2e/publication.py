"""Questions about an hour while it is being published, and which hours stand published.

Owns the moments of asking. The answers are judged later, when the exchange's whole account is known.
"""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lake.publishing.shelf import Shelf
from tests.e2e.client import book, instants, spans
from tests.e2e.oracle import Oracle
from tests.e2e.stack import Stack

HOUR_US = 3_600_000_000
WATCH_S = 7
"""Machine seconds from an hour's end in which it is asked about: it is published in the first half of them."""
QUESTIONS = 12
Parts = dict[str, list[tuple[int, int]]]


def published_hours(stack: Stack) -> list[int]:
    """Return the hours whose coverage is committed."""
    shelf = Shelf(stack.lake)
    shelf.refresh()
    return shelf.hours()


def within(found: list[tuple[int, int]], hours: list[int], inside: bool) -> list[tuple[int, int]]:
    """Return the parts of stretches that lie in these hours, or outside them."""
    return [
        (max(start, hour * HOUR_US), min(end, (hour + 1) * HOUR_US))
        for start, end in found
        for hour in range(start // HOUR_US, (end - 1) // HOUR_US + 1)
        if (hour in hours) == inside
    ]


@dataclass
class Witness:
    """Ask about the hour before, from its end until it has been published for a while."""

    stack: Stack
    markets: list[str]
    rng: random.Random
    answers: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    asked: dict[int, Counter[str]] = field(default_factory=dict)
    """For each hour asked about: questions when it was unpublished, and when it was published."""
    _parts: Parts = field(default_factory=dict)

    def __call__(self, _elapsed_s: float) -> None:
        """Ask, where the hour before is fresh."""
        if not self.watching():
            return
        hour = self.stack.shown_now_us() // HOUR_US - 1
        if hour not in self.asked:
            self.asked[hour] = Counter()
            parts = {ticker: within(spans(self.stack, ticker), [hour], inside=True) for ticker in self._listed()}
            self._parts = {ticker: found for ticker, found in parts.items() if found}
        for ticker in self.rng.choices(sorted(self._parts), k=QUESTIONS) if self._parts else ():
            self._ask(ticker, instants(self.rng, self._parts[ticker], [], 1)[0])
        # Asked after the answers, so that those counted as unpublished were so all the while.
        self.asked[hour]["published" if hour in published_hours(self.stack) else "unpublished"] += QUESTIONS

    def watching(self) -> bool:
        """Say whether an hour has just ended."""
        since_us = self.stack.shown_now_us() % HOUR_US
        return since_us < WATCH_S * 1_000_000 * self.stack.rate and bool(self.stack.said("subscribed"))

    def judge(self, oracle: Oracle) -> list[str]:
        """Return what was wrong."""
        return [
            f"{ticker} at {at_us}: {wrong}"
            for ticker, at_us, answer in self.answers
            if (wrong := oracle.wrong(answer, at_us))
        ]

    def _listed(self) -> list[str]:
        found = self.stack.http.get("/v1/markets").raise_for_status().json()["data"]
        return [ticker for ticker in self.markets if ticker in {market["ticker"] for market in found}]

    def _ask(self, ticker: str, at_us: int) -> None:
        answer = book(self.stack, ticker, at_us)
        if answer.is_success:
            self.answers.append((ticker, at_us, json.loads(answer.text)))
        else:
            self.refused.append(f"{ticker} at {at_us}: {answer.json()['error']['code']}")
