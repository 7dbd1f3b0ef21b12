"""Books on the exchange's clock against the exchange itself: what it had done by that instant, nothing else."""

import random
from collections import Counter
from pathlib import Path

import pytest

from book.errors import ApiError
from book.ladder import Book
from query.log import Log
from query.point import book_at
from tests.model.faults import schedule
from tests.model.frames import lives
from tests.model.play import LIMITS
from tests.model.rig import Rig
from tests.model.times import NS, Shown
from tests.model.venue import Venue

HONEST = (
    "gap", "repeat", "resubscribe", "reconnect", "move", "drift", "stall_5", "overflow", "crash", "channel_error",
    "unreadable", "late_ack",
)  # fmt: skip
"""Faults that show: what is lost without a trace is found by audits alone, on either clock."""


def _truth(venue: Venue, ticker: str, exch_us: int) -> Book:
    book = Book(venue.lives[ticker].levels)
    for at_us, level in venue.history[ticker]:
        if at_us > exch_us:
            break
        book.apply(*level)
    return book


def _run(home: Path, recorded: Path | None, kinds: tuple[str, ...], seed: int, seconds: float, questions: int) -> str:
    rng = random.Random(seed)
    shown = Shown(60_000_000, even=True)
    markets = lives(recorded, 4, seconds, None, rng)
    asked: Counter[str] = Counter()
    wrong: list[str] = []
    logs: list[Log] = []

    def ask(rig: Rig) -> None:
        if not logs:
            logs.append(Log(home, lambda: rig.stamper.last_us, poll_every_s=0.0))
        count = 4 if rig.flushes % 3 == 0 and rig.venue.history else 0
        for _ in range(min(count, questions - asked.total())):
            ticker = rng.choice(sorted(rig.venue.history))
            exch_us = rng.choice(rng.choice((rig.venue.history[ticker], rig.venue.history[ticker][-200:])))[0]
            exch_us += rng.choice((0, 0, 0, -1, 1, 500_000, -20_000_000))
            try:
                answer = book_at(logs[0], ticker, exch_us, clock="exchange")
            except ApiError as error:
                asked[error.code] += 1
                continue
            asked["book"] += 1
            if answer.book != _truth(rig.venue, ticker, exch_us):
                wrong.append(f"{ticker} at {exch_us}, base {answer.basis_at_us}, now {rig.stamper.last_us}")

    rig = Rig(home, markets, shown, rng, limits=LIMITS, flushed=ask)
    schedule(rig, kinds, 2 * NS, int((seconds - 2) * NS), rng)
    rig.agenda.run(int(seconds * NS))
    if rig.up:
        rig.close()
    assert wrong == []
    assert asked.total() >= 0.8 * questions
    assert asked["book"] >= 0.4 * asked.total()
    assert sum(rig.happened[kind] > 0 for kind in kinds) >= min(len(kinds), 9)
    return f"exchange's clock, {'+'.join(kinds)}: {asked.total()} asked, 0 wrong ({dict(asked)})"


@pytest.mark.parametrize("kinds", [(), ("stall_5",), ("move",), ("gap",), HONEST], ids="+".join)
def test_no_other_book_than_the_exchanges(tmp_path: Path, recorded_data: Path | None, kinds: tuple[str, ...]) -> None:
    _run(tmp_path, recorded_data, kinds, seed=3, seconds=50.0 if kinds == HONEST else 20.0, questions=90)


@pytest.mark.fault
@pytest.mark.parametrize("kinds", [*((kind,) for kind in HONEST), HONEST], ids="+".join)
def test_fifteen_hundred_instants_of_the_exchange(
    tmp_path: Path, recorded_data: Path | None, kinds: tuple[str, ...], figures: list[str]
) -> None:
    figures.append(_run(tmp_path, recorded_data, kinds, seed=4, seconds=400.0, questions=1500))
