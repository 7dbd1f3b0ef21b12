"""A state machine over the real session, its journal and a simulated venue: any order of faults, no false book.

Owns the orders of faults that nobody thought of. What is known is compared with the oracle at every flush, what is
wanted with what is asked for after every step; at the end of each run all wanted books stand, and what was written is
asked about through the real reader.
"""

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from book.records import DAY_US, Kind, Reason
from book.wire import encode
from book.wire.commands import ADD_MARKETS, GET_SNAPSHOT, Subscribe, Update, decode_command
from collector.limits import Limits, VenueStatus
from collector.links import Slot
from collector.stage import Stage
from collector.taken import Taken
from query.log import Log
from tests.model import faults
from tests.model.frames import Life
from tests.model.questions import Questions
from tests.model.rig import Rig
from tests.model.times import NS, Shown
from tests.model.venue import Fact, Sub, Venue, Wire

HOUR_OF_MACHINE_US = 4_000_000
MOST_MARKETS, MOST_OPEN = 4, 9
SETTLE_S = 1300
LEVELS = [(0, 4500, 500), (0, 4400, 300), (1, 5000, 400)]
CUTS = (Reason.SEQ_GAP, Reason.DISCONNECT, Reason.STALL, Reason.OVERFLOW, Reason.CHANNEL_ERROR,
        Reason.SHUTDOWN, Reason.VENUE_PAUSE, Reason.AUDIT_MISMATCH, Reason.NEGATIVE_LEVEL,
        Reason.UNREPRESENTABLE)  # fmt: skip
"""Why a book becomes unknown though nobody wanted it to."""


class Fussy(Venue):
    """A venue that refuses commands, and that leaves some markets unanswered."""

    refuse: Counter[int]
    muted: set[str]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.refuse, self.muted = Counter(), set()

    def _do(self, wire: Wire, data: bytes) -> None:
        command = decode_command(data)
        adds = isinstance(command, Subscribe) or (isinstance(command, Update) and command.action == ADD_MARKETS)
        for code in (26, 27):
            if wire.up and self.refuse[code] and (adds or (code == 27 and isinstance(command, Update))):
                self.refuse[code] -= 1
                self.happened[f"error {code}"] += 1
                sub = wire.subs.get(command.sids[0]) if isinstance(command, Update) else None
                if sub is None:
                    self._deliver(wire, encode.error(code, "no", command_id=command.id), Fact("error"))
                else:
                    seq = sub.next()
                    frame = encode.error(code, "no", command_id=command.id, sid=sub.sid, seq=seq)
                    self._send(wire, sub, frame, Fact("error", sub.sid, seq))
                return
        if isinstance(command, Update) and command.action == GET_SNAPSHOT and self.muted.intersection(command.tickers):
            self.happened["unanswered"] += 1
            return
        super()._do(wire, data)


class Shell(Rig):
    """A rig whose connections may be refused, and whose writes are looked at."""

    turned_away = 0
    paused = False

    def __init__(self, *args: Any, wrote: Callable[[Taken], None], **more: Any) -> None:
        self.wrote, self.index = wrote, dict[str, int]()
        super().__init__(*args, **more)

    def connect(self, slot: Slot) -> None:
        if self.up and (self.paused or self.turned_away):
            status = 503 if self.paused else 429
            self.turned_away = max(0, self.turned_away - 1)
            self._dialing.discard(slot)
            self.session.turned_away(slot, status)
            self.happened[f"refused {status}"] += 1
        else:
            super().connect(slot)

    def _take_turn(self) -> None:
        listed = self.session.slots()
        for link in list(self.session.links):
            newer = any(self.slots[link] == self.slots[other] for other in self.session.links if other > link)
            if self.slots[link] not in listed or (newer and self.rng.random() < 0.2):
                self.end(link, Reason.DISCONNECT, None)
        super()._take_turn()

    def _start(self) -> None:
        self.limits = self.limits._replace(most_markets=MOST_MARKETS)
        super()._start()
        write = self.journal.write

        def watched(hour: int, taken: Taken) -> None:
            self.wrote(taken)
            write(hour, taken)

        self.journal.write = watched  # type: ignore[method-assign]

    def _list(self, life: Life) -> None:
        super()._list(life)
        if self.up and self.index.get(life.ticker):
            self.move_index(life, self.index[life.ticker])

    def move_index(self, life: Life, index: int) -> None:
        """Let the listing say that a market has moved to another exchange index."""
        self.index[life.ticker] = index
        times = self.session.markets.timers.times.get(life.ticker)
        if self.up and times is not None:
            self.session.list_market(life.ticker, times.open_us, times.close_us, index)


def _fault(name: str) -> Callable[[Any], None]:
    def do(self: Any) -> None:
        faults._do(self.rig, name, faults.FAULTS[name][0])
        self.go(self.rig.rng.choice((0, 40, 400)))

    return rule()(do)


class Machine(RuleBasedStateMachine):
    """Steps: something happens at the venue, on the way or to us, or time passes."""

    steps: ClassVar[Counter[str]] = Counter()

    @initialize(number=st.integers(0, 2**20))
    def begin(self, number: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.owners: dict[str, int] = {}
        self.newest: dict[str, int] = {}
        self.started = 0
        rng = random.Random(number)
        lives = [Life(f"KXM-{n}", 0, None, list(LEVELS)) for n in range(5)]
        with patch("tests.model.rig.Venue", Fussy):
            self.rig = Shell(
                Path(self.folder.name), lives, Shown(HOUR_OF_MACHINE_US), rng, limits=Limits(audit_every_s=4.0),
                flushed=self.compare, wrote=self.check_rows,
            )  # fmt: skip
        self.made = len(lives)
        self.session = self.rig.session
        self.go(600)

    # what happens

    @rule(ms=st.integers(1, 900))
    def time_passes(self, ms: int) -> None:
        self.go(ms)

    @rule()
    def silence(self) -> None:
        self.go(2700)

    @rule(more_ms=st.integers(-30, 30))
    def hour_rolls_over(self, more_ms: int) -> None:
        hour_ms = HOUR_OF_MACHINE_US // 1000
        self.go(hour_ms - self.rig.agenda.now_ns // 1_000_000 % hour_ms + more_ms)

    @rule()
    def midnight(self) -> None:
        if self.rig.rng.random() < 0.1:
            left_us = DAY_US - self.rig.shown_us() % DAY_US
            self.go(left_us * HOUR_OF_MACHINE_US // 3_600_000_000 // 1000 + 200)

    @rule(picks=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5), st.integers(-400, 500)), max_size=8))
    def deltas(self, picks: list[tuple[int, int, int]]) -> None:
        open_ = self.open_tickers()
        for which, price, change in picks:
            if open_ and change:
                ticker = open_[which % len(open_)]
                level = (price % 2, 4400 + 100 * price, change)
                held = {one[:2]: one[2] for one in self.rig.venue.truth[ticker].levels()}
                if held.get(level[:2], 0) + change >= 0:
                    self.rig.venue._happen(ticker, "change", level)
        self.go(self.rig.rng.choice((0, 1, 30)))

    @rule(which=st.integers(0, 8))
    def trade(self, which: int) -> None:
        open_ = self.open_tickers()
        if open_:
            self.rig.venue._happen(open_[which % len(open_)], "trade", (0, 4500, 100))

    @rule(code=st.sampled_from((26, 27)), count=st.integers(1, 2))
    def refuse_commands(self, code: int, count: int) -> None:
        self.rig.venue.refuse[code] += count

    @rule(count=st.integers(1, 3))
    def turn_connections_away(self, count: int) -> None:
        self.rig.turned_away += count
        faults.reconnect(self.rig)
        self.go(500)

    @rule(length_ms=st.integers(800, 9000))
    def list_a_market(self, length_ms: int) -> None:
        if len(self.rig.session.seating.homes) + 1 > MOST_OPEN or len(self.open_tickers()) >= MOST_OPEN:
            return
        now_ns = self.rig.agenda.now_ns
        to_ns = now_ns + length_ms * 1_000_000 if self.rig.rng.random() < 0.7 else None
        life = Life(f"KXM-{self.made}", now_ns, to_ns, list(LEVELS) if length_ms % 3 else [])
        self.made += 1
        self.rig.venue.lives[life.ticker] = life
        self.rig.venue._open(life)
        self.rig.agenda.at(now_ns + self.rig.rng.randint(0, 300) * 1_000_000, self.rig._list, life)

    @rule(which=st.integers(0, 8))
    def determine(self, which: int) -> None:
        open_ = self.open_tickers()
        if len(open_) > 3:
            ticker = open_[which % len(open_)]
            self.rig.venue._close(ticker)
            if ticker not in self.rig.venue.determined:
                self.rig.venue.determine(ticker)

    @rule(which=st.integers(0, 8), index=st.integers(0, 2))
    def move_exchange_index(self, which: int, index: int) -> None:
        open_ = self.open_tickers()
        if open_:
            self.rig.move_index(self.rig.venue.lives[open_[which % len(open_)]], index)

    @rule(on=st.booleans())
    def venue_pauses(self, on: bool) -> None:
        self.rig.paused = on
        self.status()
        if on:
            for link in list(self.rig.session.links):
                self.rig.end(link, Reason.DISCONNECT, None)
        self.go(300)

    @rule(indexes=st.frozensets(st.integers(1, 2), max_size=1))
    def venue_halts(self, indexes: frozenset[int]) -> None:
        self.halted = indexes
        self.rig.venue.muted = {ticker for ticker, index in self.rig.index.items() if index in indexes}
        self.status()
        self.go(200)

    @rule(reason=st.sampled_from((Reason.DISCONNECT, Reason.STALL, Reason.SHUTDOWN)), ms=st.integers(0, 800))
    def link_ends(self, reason: Reason, ms: int) -> None:
        links = sorted(self.rig.session.links)
        if links:
            self.rig.end(self.rig.rng.choice(links), reason, ms)
        self.go(ms)

    @rule(kind=st.sampled_from(("equal", "empty", "unequal")))
    def unasked_book(self, kind: str) -> None:
        found: tuple[Wire, Sub] | None = faults._one(self.rig)
        if found is not None:
            ticker = self.rig.rng.choice(sorted(found[1].tickers))
            levels = self.rig.venue.truth[ticker].levels() if ticker in self.rig.venue.truth else []
            sent = {"equal": levels, "empty": [], "unequal": [*levels[:-1], (1, 9000, 700)]}[kind]
            self.rig.venue.send_book(*found, ticker, sent)

    gap, repeat, resubscribe, move = map(_fault, ("gap", "repeat", "resubscribe", "move"))
    step, drift, silent, negative = map(_fault, ("step", "drift", "silent", "negative"))
    overflow, crash, channel_error = map(_fault, ("overflow", "crash", "channel_error"))
    unreadable, late_ack, stall = map(_fault, ("unreadable", "late_ack", "stall_5"))

    # how

    halted: frozenset[int] = frozenset()
    is_right = True

    def status(self) -> None:
        if self.rig.up:
            self.rig.session.venue(VenueStatus(self.rig.paused, self.halted))

    def go(self, ms: int) -> None:
        self.is_right = False
        self.rig.agenda.run(self.rig.agenda.now_ns + ms * 1_000_000)
        self.is_right = True
        if self.session is not self.rig.session:  # the process has died and lives again, and is told how the venue is
            self.session = self.rig.session
            self.owners.clear()
            self.status()

    def open_tickers(self) -> list[str]:
        return [one for one in self.rig.venue.truth if one not in self.rig.venue.closed]

    def check_rows(self, taken: Taken) -> None:
        """Hold what is written: each market has one conn at a time, whose numbers and stamps only grow in it."""
        if self.session is not self.rig.session:
            self.owners.clear()
            self.session = self.rig.session
        batch = taken.tables.get("orderbook")
        last: dict[tuple[int, str], tuple[int, int]] = {}
        names = ("kind", "ticker", "conn", "seq", "reason")
        columns = [batch[name].to_pylist() for name in names] if batch is not None else [[]] * 5
        stamps = batch["ts_recv"].cast("int64").to_pylist() if batch is not None else []
        for kind, ticker, conn, seq, reason, ts_us in zip(*columns, stamps, strict=True):
            assert ts_us <= taken.at_us + (kind == Kind.CLOSE)  # a crash's stands just after the last thing known
            if kind == Kind.CLOSE:
                assert reason not in CUTS or conn not in taken.conns or ts_us <= taken.conns[conn][0] + 1
                if self.owners.get(ticker) == conn:
                    del self.owners[ticker]
                continue
            assert (seq, ts_us) >= last.get((conn, ticker), (0, 0)) or kind == Kind.CHECKPOINT
            last[conn, ticker] = max(last.get((conn, ticker), (0, 0)), (seq, ts_us))
            if kind == Kind.SNAPSHOT:
                assert self.owners.get(ticker, conn) == conn, f"{ticker} passes on without a close"
                assert conn >= self.newest.get(ticker, 0)
                self.owners[ticker] = self.newest[ticker] = conn
            elif kind in (Kind.DELTA, Kind.CHECKPOINT):
                assert self.owners.get(ticker) == conn, f"a {Kind(kind).name} of {ticker} outside a span of its conn"

    def compare(self, rig: Rig) -> None:
        """Hold the session's books against the oracle's, now that both know the same."""
        spans, oracle = rig.session.spans, rig.oracle
        for ticker in {*spans.numbers, *oracle.spans}:
            number = spans.numbers.get(ticker)
            live = number is not None and bool(spans.state[number]["live"])
            known = next(iter(oracle.spans.get(ticker, ())[-1:]), None)
            expected = known.book if known is not None and known.live else None
            got = {(side, price): qty for side, price, qty in spans.ladders.rows(number)} if live else None
            assert got == expected, f"{ticker}: {got}, but {expected}"

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if not hasattr(self, "rig") or not self.rig.up:
            return
        session = self.rig.session
        for ticker, slot in session.seating.homes.items():
            holders = [one for one, seat in session.seating.seats.items() if ticker in seat.members]
            assert holders == ([] if slot is None else [slot])
            assert (ticker in session.seating.homeless) == (slot is None)
            link = session.links.get(session.seating.seats[slot].link or 0) if slot is not None else None
            sharing = [one for one in session.links.values() if one.slot == slot]  # two: one takes over from the other
            if link is None or len(sharing) > 1 or ticker in session.intake.over:
                continue
            roster, number = link.asks.roster, session.spans.numbers[ticker]
            assert ticker in roster.wanted
            state = session.spans.state[number]
            waits = any(ticker in some for some in (roster.missing, roster.fresh, roster.later, roster.leaving))
            assert state["live"] or waits or state["finished"] or link.asks.stage is not Stage.LIVE, ticker

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        try:
            if self.is_right:
                self.settle()
                self.read()
        finally:
            Machine.steps.update(self.rig.happened + self.rig.venue.happened)
            self.rig.close()
            self.folder.cleanup()

    def settle(self) -> None:
        """Without faults everything that is wanted, and has room, is known again."""
        self.rig.paused, self.rig.turned_away, self.halted = False, 0, frozenset()
        self.rig.venue.muted.clear()
        self.rig.venue.refuse.clear()
        self.rig._batch_ms = (200, 700)
        self.go(9000)
        self.status()
        until_ns = self.rig.agenda.now_ns + SETTLE_S * NS
        while (missing := self.not_known()) and self.rig.agenda.now_ns < until_ns:
            self.go(5000)
        assert missing == []
        self.go(70_000)
        assert self.not_known() == []
        session = self.rig.session
        assert set(session.links) == {
            seat.link for seat in (*session.seating.seats.values(), *session.seating.fixed.values())
        }
        assert {conn.link for conn in session.spans.conns.values()} <= set(session.links)
        state, numbers = session.spans.state, session.spans.numbers
        dead = [one for one in numbers if one not in session.seating.homes and state[numbers[one]]["finished"]]
        ended = set().union(*(conn.ended for conn in session.spans.conns.values()))
        assert [one for one in dead if numbers[one] not in ended] == []

    def not_known(self) -> list[str]:
        session = self.rig.session
        state, numbers = session.spans.state, session.spans.numbers
        room = any(seat.room for seat in session.seating.seats.values())
        down = [str(slot) for slot, is_up in session.figures().up.items() if not is_up]
        return down + [
            ticker
            for ticker, slot in session.seating.homes.items()
            if not state[numbers[ticker]]["live"] and (slot is not None or room)
        ]

    def read(self) -> None:
        """Ask the real reader about what was written."""
        now_us = self.rig.stamper.last_us
        log = Log(self.rig.home, lambda: now_us, poll_every_s=0.0)
        questions = Questions(log, self.rig.oracle, self.rig.rng)
        questions.ask(150, now_us)
        assert questions.asked.wrong == []


def run(machine: type[Machine], examples: int, steps: int, *, fixed: bool) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=fixed,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_order_of_faults_makes_a_false_book() -> None:
    run(Machine, 12, 120, fixed=True)


@pytest.mark.fault
@pytest.mark.parametrize("number", range(8))
def test_no_order_of_faults_makes_a_false_book_in_ten_thousand_steps(number: int, figures: list[str]) -> None:
    Machine.steps.clear()
    run(seed(number)(type("Seeded", (Machine,), {})), 13, 100, fixed=False)
    figures.append(f"state machine, seed {number}: 1,300 steps; {dict(sorted(Machine.steps.items()))}")
