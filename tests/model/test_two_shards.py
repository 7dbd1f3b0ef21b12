"""Two recorders of one venue, each with its own faults: what is published of each hour is the better one's, and right.

Every market and hour is held against the brute force of the shard that it is published from, and the choice against
the brute force of both.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import duckdb
import pyarrow.compute as pc
import pytest

from book.records import HOUR_US
from lake import paths
from lake.publishing.publisher import Publisher
from lake.publishing.shelf import Shelf
from lake.verify import verify
from query.log import Log
from query.sql.views import views_sql
from tests.model.faults import FAULTS, schedule
from tests.model.frames import lives
from tests.model.one_file import Files
from tests.model.oracle import GAP, Oracle
from tests.model.play import LIMITS
from tests.model.questions import Verdict, instant, told, word
from tests.model.rig import Rig
from tests.model.times import NS, Shown
from tests.model.venue import Agenda

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MACHINE_PACE = 100
"""Machine seconds that the publisher is shown for one of the run: an hour without END is soon given up."""


@dataclass
class Pair:
    """A run of two shards, and what was asked of it."""

    home: Path
    lake: Path
    rng: random.Random
    agenda: Agenda = field(default_factory=Agenda)
    rigs: list[Rig] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    books: list[tuple[str, int, Verdict]] = field(default_factory=list)
    """What the brute force says of each instant asked about."""

    def record(self, kinds: tuple[tuple[str, ...], tuple[str, ...]], seconds: float, joins_s: float) -> None:
        """Run both for some seconds, an hour each; the second one joins late."""
        self.seconds, self.kinds = seconds, kinds
        self.shown = Shown(1_000_000)
        self._start(0)
        self.agenda.at(int(joins_s * NS), self._start, 1)
        self.publisher = Publisher(self.lake, self.home, self._now_us, self._published, monotonic_s=self._machine_s)
        self.agenda.at(NS, self._publish)
        self.agenda.run(int(seconds * NS))
        for rig in self.rigs:
            if rig.up:
                rig.close()
        assert self.publisher.look(Event())

    def kill(self, shard: int, at_s: float, back_s: float | None) -> None:
        """Kill a shard, and start it again, or never."""
        never_s = 1000.0
        restart_ms = int(((back_s or never_s) - at_s) * 1000)
        self.agenda.at(int(at_s * NS), lambda: self.rigs[shard].crash(restart_ms))

    def ask(self, count: int) -> None:
        """Ask about instants of published hours: the reader, and one file alone."""
        log = Log(self.home, self._now_us, lake=self.lake, poll_every_s=0.0)
        files = Files(self.lake)
        asked = 0
        while asked < count:
            oracle = self.rng.choice([rig.oracle for rig in self.rigs])
            ticker = self.rng.choice(sorted(oracle.spans))
            ts_us = instant(oracle, self.rng, ticker, self._now_us())
            shard = self.chosen(ts_us // HOUR_US).get(ticker)
            if shard is None:
                continue
            asked += 1
            expected = self.rigs[shard].oracle.answer(ticker, ts_us)
            got, alone = told(log, ticker, ts_us), files.answer(ticker, ts_us)
            self.verdicts[word(expected)] += 1
            self.books.append((ticker, ts_us, expected))
            # Before its first book the chosen shard has no data; what is published says why it is missing.
            same = got == expected or (expected in ("no data", "not yet") and got == GAP)
            if not same or (isinstance(alone, dict) and alone != expected):
                found = f"{word(expected)}, got {word(got)} and {word(alone)}"
                self.wrong.append(f"{ticker} at {ts_us} from shard {shard}: {found}")

    def ask_sql(self, count: int) -> None:
        """Ask the views about books of published hours."""
        self.chosen(0)
        connection = duckdb.connect()
        connection.execute(views_sql(self._shelf))
        books = [one for one in self.books if isinstance(one[2], dict)][:count]
        assert len(books) > count // 2
        for ticker, ts_us, expected in books:
            at = EPOCH + timedelta(microseconds=ts_us)
            found = connection.execute("SELECT side, price_e4, qty_e2 FROM book_at($1, $2)", [ticker, at]).fetchall()
            if {(side, price_e4): qty_e2 for side, price_e4, qty_e2 in found} != expected:
                self.wrong.append(f"{ticker} at {ts_us} by SQL")

    def chosen(self, hour: int) -> dict[str, int]:
        """Return the shard that each market of an hour is published from."""
        if not hasattr(self, "_shelf"):
            self._shelf = Shelf(self.lake)
            self._shelf.refresh()
            self._chosen: dict[int, dict[str, int]] = {}
        if hour not in self._chosen:
            rows = self._shelf.standing_rows(hour)
            rows = rows.filter(pc.is_in(rows["state"], pc.cast(["known", "gap"], "string")))
            self._chosen[hour] = dict(zip(rows["ticker"].to_pylist(), rows["shard"].to_pylist(), strict=True))
        return self._chosen[hour]

    def hours(self) -> list[int]:
        self.chosen(0)
        return self._shelf.hours()

    def worse(self) -> list[str]:
        """Return the market-hours that are published from a shard which knew the book for less time than another."""
        found = []
        for hour in self.hours():
            for ticker, shard in self.chosen(hour).items():
                known_us = [_known_us(rig.oracle, ticker, hour) for rig in self.rigs]
                if known_us[shard] != max(known_us):
                    found.append(f"{ticker} in hour {hour} from shard {shard}: known {known_us}")
        return found

    def switches(self) -> int:
        """Return how often a market goes on from another shard."""
        rows = (self._shelf.standing_rows(hour) for hour in self.hours())
        return sum(int(pc.sum(pc.equal(one["state"], "switch")).as_py() or 0) for one in rows)

    def _start(self, shard: int) -> None:
        rng = random.Random(self.rng.random())
        markets = lives(None, 4, self.seconds, None, rng)
        rig = Rig(self.home, markets, self.shown, rng, limits=LIMITS, shard=shard, agenda=self.agenda)
        self.rigs.append(rig)
        schedule(rig, self.kinds[shard], self.agenda.now_ns + 2 * NS, int((self.seconds - 3) * NS), rig.rng)

    def _now_us(self) -> int:
        return min(rig.stamper.last_us for rig in self.rigs if rig.up or len(self.rigs) == 1)

    def _machine_s(self) -> float:
        return MACHINE_PACE * self.agenda.now_ns / NS

    def _publish(self) -> None:
        if any(rig.up for rig in self.rigs):
            assert self.publisher.look(Event()), self.wrong
        self.agenda.at(self.agenda.now_ns + 300_000_000, self._publish)

    def _published(self, event: str, **fields: object) -> None:
        if event != "published":
            self.wrong.append(f"{event}: {fields}")


def _known_us(oracle: Oracle, ticker: str, hour: int) -> int:
    """Return for how many microseconds of an hour the brute force has a market's book."""
    start_us, end_us = hour * HOUR_US, (hour + 1) * HOUR_US
    spans = oracle.spans.get(ticker, [])
    total = 0
    for place, span in enumerate(spans):
        stops = [end_us, span.conn.heard_us + 1, *(at_us for at_us, _ in span.ends)]
        stops += [later.from_us for later in spans[place + 1 :]]
        from_us, to_us = max(start_us, span.from_us), min(stops)
        total += max(0, to_us - from_us)
        for silent_from_us, silent_to_us in span.conn.silences:
            total -= max(0, min(to_us, silent_to_us) - max(from_us, silent_from_us + 1))
    return total


def _pair(tmp_path: Path, seed: int) -> Pair:
    return Pair(tmp_path / "home", tmp_path / "lake", random.Random(seed))


def _prove(pair: Pair, questions: int) -> None:
    pair.ask(questions)
    pair.ask_sql(40)
    assert pair.wrong == []
    assert pair.worse() == []
    report = verify(pair.lake, pair.home, None, lambda _: None)
    assert [str(doubt) for doubt in report.doubts] == []


def test_each_hour_is_the_better_shards(tmp_path: Path) -> None:
    """Both fall out again and again, so that the choice alternates; the second one joins in the fourth hour."""
    pair = _pair(tmp_path, 1)
    kinds = ("crash", "stall_5", "reconnect", "gap", "silent")
    pair.record((kinds, kinds), 16.0, 3.5)
    _prove(pair, 200)
    assert pair.verdicts["book"] > 80
    assert pair.switches() >= 4


def test_a_shard_that_ends_early_gives_way_to_the_other(tmp_path: Path) -> None:
    pair = _pair(tmp_path, 5)
    pair.kill(0, 6.4, None)
    pair.kill(1, 9.3, 10.6)
    pair.record((("gap",), ("reconnect",)), 14.0, 2.2)
    _prove(pair, 120)
    assert {shard for hour in pair.hours()[-4:] for shard in pair.chosen(hour).values()} == {1}
    assert pair.switches() >= 4


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(10, 22))
def test_two_shards_with_every_fault(tmp_path: Path, seed: int, figures: list[str]) -> None:
    pair = _pair(tmp_path, seed)
    pair.record((tuple(FAULTS), tuple(FAULTS)), 60.0, 4.3)
    _prove(pair, 1500)
    figures.append(f"two shards: {dict(pair.verdicts)}, {pair.switches()} switches, {len(pair.hours())} hours")
    assert paths.shards(pair.home) == [0, 1]
