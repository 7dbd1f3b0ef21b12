"""Questions to the real reader, and whether the oracle agrees.

Owns which instants are asked about (the edges most) and what counts as the same answer.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

from book.digest import digest
from book.errors import ApiError
from book.records import DAY_US, HOUR_US
from query.log import Log
from query.point import book_at
from tests.model.oracle import GAP, OVER, UNWANTED, Oracle
from tests.model.times import START_US

Verdict = dict[tuple[int, int], int] | str


@dataclass
class Asked:
    """What was asked so far, by verdict of the oracle, and what came out wrong."""

    verdicts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    books: list[tuple[str, int, Verdict]] = field(default_factory=list)
    """Books answered while the log grew: each stands for good, or is withdrawn."""

    @property
    def count(self) -> int:
        return self.verdicts.total()


def told(log: Log, ticker: str, ts_us: int) -> Verdict:
    """Return what the product answers, in the oracle's words."""
    try:
        answer = book_at(log, ticker, ts_us)
    except ApiError as error:
        if error.code == "no_data_available":
            return UNWANTED if error.fields["reason"] == "unsubscribed" else "no data"
        words = {"market_not_found": "no data", "data_gap": GAP, "market_closed": OVER, "not_yet_known": "not yet"}
        return words.get(error.code, error.code)
    levels = answer.book.levels()
    assert answer.digest == digest(levels)
    assert answer.complete
    return {(side, price_e4): qty_e2 for side, price_e4, qty_e2 in levels}


def word(verdict: Verdict) -> str:
    return verdict if isinstance(verdict, str) else "book"


class Questions:
    """Ask ``log`` what ``oracle`` knows."""

    def __init__(self, log: Log, oracle: Oracle, rng: random.Random) -> None:
        self.log, self.oracle, self.rng = log, oracle, rng
        self.asked = Asked()

    def ask(self, count: int, now_us: int) -> None:
        """Ask ``count`` questions about instants up to a little past ``now_us``."""
        tickers = sorted(self.oracle.spans)
        for _ in range(count if tickers else 0):
            ticker = self.rng.choice(tickers)
            ts_us = self._instant(ticker, now_us)
            expected, got = self.oracle.answer(ticker, ts_us), told(self.log, ticker, ts_us)
            self.asked.verdicts[word(expected)] += 1
            if isinstance(got, dict):
                self.asked.books.append((ticker, ts_us, got))
            if expected != got:
                self.asked.wrong.append(f"{ticker} at {ts_us} (now {now_us}): {word(expected)}, got {word(got)}")

    def ask_again(self) -> None:
        """Ask about every book answered so far: it must be the same, or refused."""
        for ticker, ts_us, before in self.asked.books:
            now = told(self.log, ticker, ts_us)
            if now not in (before, GAP):
                self.asked.wrong.append(f"{ticker} at {ts_us}: a book answered before is now {word(now)}")

    def _instant(self, ticker: str, now_us: int) -> int:
        return instant(self.oracle, self.rng, ticker, now_us)


def instants(oracle: Oracle, rng: random.Random, count: int) -> list[tuple[str, int]]:
    """Return markets and instants to ask about when a run is over."""
    tickers = sorted(oracle.spans)
    end_us = max(span.conn.heard_us for span in oracle.all())
    return [(ticker, instant(oracle, rng, ticker, end_us)) for ticker in rng.choices(tickers, k=count)]


def instant(oracle: Oracle, rng: random.Random, ticker: str, now_us: int) -> int:
    """Return an instant of a market's life up to ``now_us``, the edges most."""
    spans = oracle.spans[ticker]
    chance = rng.random()
    span = rng.choice(spans[-12:])
    recent = spans[-1].entries[-30:]
    ends = [at_us for at_us, _ in span.ends]
    if chance < 0.1:
        ts_us = rng.randint(START_US - HOUR_US, now_us)
    elif chance < 0.3 and ends:
        ts_us = rng.choice([*ends, span.from_us])
    elif chance < 0.4:
        ts_us = rng.randint(spans[0].from_us // HOUR_US, now_us // HOUR_US) * HOUR_US
    elif chance < 0.5:
        ts_us = rng.randint(spans[0].from_us // DAY_US, now_us // DAY_US) * DAY_US
    elif chance < 0.58 and span.conn.silences:
        ts_us = rng.choice(rng.choice(span.conn.silences))
    elif chance < 0.7:
        ts_us = rng.choice((span.proved_us, span.conn.heard_us, *2 * (spans[-1].conn.heard_us,)))
    elif chance < 0.85 and recent:
        ts_us = rng.choice(recent)[0]
    elif span.entries:
        ts_us = rng.choice(span.entries)[0]
    else:
        ts_us = span.from_us
    away_us = rng.choice((500, 5_003, 250_000, 90_000_000)) * rng.choice((-1, 1))
    return min(ts_us + rng.choice((0, 0, 0, -1, 1, away_us)), now_us)
