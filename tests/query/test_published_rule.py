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
from lake import paths
from lake.publisher import Publisher
from query.coverage import coverage, gaps
from query.log import Log
from query.point import BookAnswer, book_at
from query.ranges import deltas, trades
from tests.model.faults import FAULTS, schedule
from tests.model.frames import lives
from tests.model.play import CHECKPOINT_EVERY, LIMITS
from tests.model.rig import Rig
from tests.model.times import NS, Shown

HOUR = 3_600_000_000


def told(ask: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return an answer without what is informational, or the refusal."""
    try:
        found = ask(*args, **options)
    except ApiError as error:
        return error.code, error.message, error.fields
    if isinstance(found, BookAnswer):
        return asdict(replace(found, book=None, basis="", basis_at_us=0, deltas_applied=0)), found.book.levels()  # type: ignore[arg-type]
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
    counts = {"snapshot_count": 0, "delta_count": 0, "last_data_us": None}
    return found if isinstance(found, tuple) else replace(found, stats=replace(found.stats, **counts))


class Compared:
    """A log alone and one that reads the lake too."""

    def __init__(self, home: Path, lake: Path, now_us: Callable[[], int], rng: random.Random) -> None:
        self.alone = Log(home, now_us, poll_every_s=0)
        self.whole = Log(home, now_us, lake=lake, poll_every_s=0)
        self.rng = rng
        self.asked = 0

    def same(self, ask: Callable[..., Any], *args: Any, **options: Any) -> None:
        self.asked += 1
        alone, whole = (told(ask, log, *args, **options) for log in (self.alone, self.whole))
        assert whole == alone, (ask.__name__, args, options)

    def point(self, ticker: str, ts_us: int, clock: str = "received") -> None:
        self.same(book_at, ticker, ts_us, clock=clock, on_gap=self.rng.choice(["error", "last"]))

    def market(self, ticker: str, start_us: int, end_us: int) -> None:
        self.same(book_at, ticker)
        alone, whole = (recorded(log, ticker) for log in (self.alone, self.whole))
        assert whole == alone
        self.same(gaps, start_us, end_us, ticker=ticker, limit=50)
        for ask, options in ((deltas, {"orphans": True}), (deltas, {}), (trades, {})):
            limit = self.rng.choice([3, 40, 1000])
            pages = [
                list(paged(ask, log, ticker, start_us, end_us, limit, **options)) for log in (self.alone, self.whole)
            ]
            assert pages[0] == pages[1], (ask.__name__, ticker, start_us, end_us)


def instants(rig: Rig, ticker: str, rng: random.Random, count: int) -> Iterator[int]:
    spans_of = rig.oracle.spans[ticker]
    now_us = rig.stamper.last_us
    for _ in range(count):
        span = rng.choice(spans_of)
        edges = [span.from_us, *(at for at, _ in span.ends), *(edge for one in span.conn.silences for edge in one)]
        edges += [ts for ts, _ in rng.choices(span.entries, k=3)] if span.entries else []
        ts_us = rng.choice([*edges, rng.choice(edges) // HOUR * HOUR, rng.randint(spans_of[0].from_us - HOUR, now_us)])
        yield min(now_us, ts_us + rng.choice((0, 0, -1, 1, 777, -40_000_000, 30_000_000)))


@pytest.mark.parametrize(
    "kinds", [("silent", "unsolicited"), ("crash", "gap"), tuple(FAULTS)], ids=["audits", "crashes", "all"]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_published_hours_answer_as_the_log_does(
    tmp_path: Path, recorded_data: Path | None, kinds: tuple[str, ...], seed: int
) -> None:
    rng = random.Random(f"{seed}{kinds}")
    home, lake = tmp_path / "home", tmp_path / "lake"
    seconds = 40.0 if len(kinds) > 2 else 20.0
    rigs: list[Rig] = []
    compared = Compared(home, lake, lambda: rigs[0].stamper.last_us, rng)
    # Time stands still by the machine's clock, so that no hour is given up before its END.
    publisher = Publisher(lake, home, lambda: rigs[0].stamper.last_us, lambda *_, **__: None, monotonic_s=lambda: 0.0)

    def ask(rig: Rig) -> None:
        if rig.flushes % 40 == 7:
            assert publisher.look(Event())
        if rig.flushes % 13 == 0 and rig.oracle.spans:
            ticker = rng.choice(sorted(rig.oracle.spans))
            for ts_us in instants(rig, ticker, rng, 4):
                compared.point(ticker, ts_us)

    shown = Shown(1_000_000)
    with patch.object(spans, "CHECKPOINT_EVERY", CHECKPOINT_EVERY):
        rig = Rig(home, lives(recorded_data, 3, seconds, 12.0, rng), shown, rng, limits=LIMITS, flushed=ask)
        rigs.append(rig)
        schedule(rig, kinds, 2 * NS, int((seconds - 2) * NS), rng)
        rig.agenda.run(int(seconds * NS))
    assert publisher.look(Event())
    hours = compared.whole.shards[0]
    assert len(hours.hour_numbers()) > len(hours.folder_hours()) + 5
    assert compared.asked > 40
    fresh = Compared(home, lake, lambda: rig.stamper.last_us, rng)
    for each in (compared, fresh):
        for ticker in sorted(rig.oracle.spans):
            for ts_us in instants(rig, ticker, rng, 40):
                each.point(ticker, ts_us)
            ends = sorted(instants(rig, ticker, rng, 2))
            each.market(ticker, ends[0], ends[1] + 1)
            each.market(ticker, ends[0] - 50 * HOUR, rig.stamper.last_us)
        each.same(gaps, 0, rig.stamper.last_us, limit=1000)
    if rig.up:
        rig.close()
    assert paths.hours(home, 0)
