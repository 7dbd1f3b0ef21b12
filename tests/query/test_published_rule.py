"""The same questions to a log alone and to the same log with published hours: every answer must be the same.

What says how an answer was found is left aside: the basis, how many changes were summed, and counts of what was
received, which published hours tell without what was withdrawn.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

import pytest

from book.errors import ApiError
from collector import spans
from lake.publishing.publisher import Publisher
from query.coverage import coverage, gaps
from query.log import Log
from query.point import BookAnswer, book_at
from query.ranges import deltas, trades
from query.timeline import timeline, window
from tests.model.faults import FAULTS, schedule
from tests.model.frames import lives
from tests.model.play import CHECKPOINT_EVERY, LIMITS
from tests.model.rig import Rig
from tests.model.times import NS, Shown

HOUR = 3_600_000_000
ALL = tuple(FAULTS)
HONEST = (
    "gap",
    "repeat",
    "resubscribe",
    "reconnect",
    "move",
    "drift",
    "overflow",
    "crash",
    "channel_error",
    "late_ack",
)
"""Faults that leave the clocks of the exchange and of the recorder near each other."""


def told(ask: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return an answer without what is informational, or the refusal."""
    try:
        found = ask(*args, **options)
    except ApiError as error:
        return error.code, error.message, error.fields
    if isinstance(found, BookAnswer):
        fields = asdict(found)
        for name in ("book", "basis", "basis_at_us", "deltas_applied"):
            del fields[name]
        return fields, found.book.levels()
    return found


def paged(ask: Callable[..., Any], *args: Any, **options: Any) -> Iterator[Any]:
    """Yield pages; cursors are not compared, since they are pinned."""
    cursor = None
    while True:
        page = ask(*args, cursor=cursor, **options)
        yield replace(page, next_cursor=None)
        cursor = page.next_cursor
        if not page.has_more:
            return


def recorded(log: Log, ticker: str) -> Any:
    found = told(coverage, log, ticker)
    counts: dict[str, Any] = {"snapshot_count": 0, "delta_count": 0, "last_data_us": None}
    return found if isinstance(found, tuple) else replace(found, stats=replace(found.stats, **counts))


class Compared:
    """A log alone and one that reads the lake too, with the same rig, publisher and questions."""

    def __init__(self, folder: Path, kinds: tuple[str, ...], seed: int, shown: Shown, clock: str) -> None:
        self.home, self.lake = folder / "home", folder / "lake"
        self.kinds, self.shown, self.clock = kinds, shown, clock
        self.rng = random.Random(f"{seed}{kinds}")
        self.asked = 0
        self.rigs: list[Rig] = []
        self.open()
        # Time stands still by the machine's clock, so that no hour is given up before its END.
        self.publisher = Publisher(self.lake, self.home, self.now_us, lambda *_, **__: None, monotonic_s=lambda: 0.0)

    def now_us(self) -> int:
        return self.rigs[0].stamper.last_us

    def open(self) -> None:
        self.alone = Log(self.home, self.now_us, poll_every_s=0)
        self.whole = Log(self.home, self.now_us, lake=self.lake, poll_every_s=0)

    def run(self, recorded_data: Path | None, seconds: float) -> None:
        """Record for a while, publish what is due now and then, and ask all along."""
        markets = lives(recorded_data, 3, seconds, 12.0, self.rng)
        with patch.object(spans, "CHECKPOINT_EVERY", CHECKPOINT_EVERY):
            rig = Rig(self.home, markets, self.shown, self.rng, limits=LIMITS, flushed=self.flushed)
            self.rigs.append(rig)
            schedule(rig, self.kinds, 2 * NS, int((seconds - 2) * NS), self.rng)
            rig.agenda.run(int(seconds * NS))
        assert self.publisher.look(Event())
        if rig.up:
            rig.close()

    def flushed(self, rig: Rig) -> None:
        self.rigs = [rig]
        if rig.flushes % 40 == 7:
            assert self.publisher.look(Event())
        if rig.flushes % 13 == 0 and rig.oracle.spans:
            self.points(self.rng.choice(self.tickers), 4)

    @property
    def tickers(self) -> list[str]:
        return sorted(self.rigs[0].oracle.spans)

    def same(self, ask: Callable[..., Any], *args: Any, **options: Any) -> None:
        self.asked += 1
        alone, whole = (told(ask, log, *args, **options) for log in (self.alone, self.whole))
        assert whole == alone, (ask.__name__, args, options)

    def points(self, ticker: str, count: int) -> None:
        for ts_us in self.instants(ticker, count):
            on_gap = self.rng.choice(["error", "last"])
            self.same(book_at, ticker, ts_us, clock=self.clock, on_gap=on_gap)

    def market(self, ticker: str, start_us: int, end_us: int, limit: int) -> None:
        alone, whole = (recorded(log, ticker) for log in (self.alone, self.whole))
        assert whole == alone
        self.same(book_at, ticker)
        self.same(gaps, start_us, end_us, ticker=ticker, limit=50)
        for ask, options in ((deltas, {"orphans": True}), (deltas, {}), (trades, {})):
            pages = [
                list(paged(ask, log, ticker, start_us, end_us, limit, **options)) for log in (self.alone, self.whole)
            ]
            assert pages[1] == pages[0], (ask.__name__, ticker, start_us, end_us, limit)
        with self.whole.asked() as shards:
            line, part = timeline(shards[0], ticker), window(shards[0], ticker, start_us, end_us)
            assert part.known.within(start_us, end_us) == line.known.within(start_us, end_us)
            touching = [g for g in line.gaps if g.from_us < end_us and (g.to_us is None or g.to_us > start_us)]
            assert [g for g in part.gaps if g.from_us < end_us and (g.to_us is None or g.to_us > start_us)] == touching

    def instants(self, ticker: str, count: int) -> Iterator[int]:
        rng, found = self.rng, self.rigs[0].oracle.spans[ticker]
        for _ in range(count):
            span = rng.choice(found)
            edges = [span.from_us, *(at for at, _ in span.ends), *(edge for one in span.conn.silences for edge in one)]
            edges += [ts for ts, _ in rng.choices(span.entries, k=3)] if span.entries else []
            anywhere = rng.randint(found[0].from_us - HOUR, self.now_us())
            ts_us = rng.choice([*edges, rng.choice(edges) // HOUR * HOUR, anywhere])
            yield min(self.now_us(), ts_us + rng.choice((0, 0, -1, 1, 777, -40_000_000, 30_000_000)))

    def ask_everything(self, points: int) -> None:
        for ticker in self.tickers:
            self.points(ticker, points)
            start_us, end_us = sorted(self.instants(ticker, 2))
            self.market(ticker, start_us, min(end_us, start_us + HOUR) + 1, self.rng.choice([2, 40]))
            self.market(ticker, start_us - 50 * HOUR, self.now_us(), 1000)
        self.same(gaps, 0, self.now_us(), limit=1000)


def check(folder: Path, recorded_data: Path | None, kinds: tuple[str, ...], seed: int, seconds: float) -> str:
    compared = Compared(folder, kinds, seed, Shown(1_000_000), "received")
    compared.run(recorded_data, seconds)
    compared.ask_everything(12)
    hours = compared.whole.shards[0]
    published = len(hours.hour_numbers()) - len(hours.folder_hours())
    assert published >= 0.4 * seconds
    compared.open()
    compared.ask_everything(12)
    return f"published hours, {'+'.join(kinds)}: {compared.asked} asked, 0 differ, {published} hours published"


@pytest.mark.parametrize("kinds", [("silent", "unsolicited"), ("crash", "gap"), ALL], ids=["audits", "crashes", "all"])
def test_published_hours_answer_as_the_log_does(
    tmp_path: Path, recorded_data: Path | None, kinds: tuple[str, ...]
) -> None:
    check(tmp_path, recorded_data, kinds, 1, 24.0 if kinds is ALL else 14.0)


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(2, 8))
def test_published_hours_answer_as_the_log_does_again(
    tmp_path: Path, recorded_data: Path | None, seed: int, figures: list[str]
) -> None:
    figures.append(check(tmp_path, recorded_data, ALL, seed, 60.0))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_exchanges_clock_over_published_hours(tmp_path: Path, recorded_data: Path | None, seed: int) -> None:
    compared = Compared(tmp_path, HONEST, seed, Shown(6_000_000, even=True), "exchange")
    compared.run(recorded_data, 30.0)
    for _ in range(2):
        for ticker in compared.tickers:
            compared.points(ticker, 40)
        compared.open()
    assert len(compared.whole.shards or compared.alone.shards) == 0
    with compared.whole.asked() as shards:
        assert len(shards[0].hour_numbers()) - len(shards[0].folder_hours()) >= 3
