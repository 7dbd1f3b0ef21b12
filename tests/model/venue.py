"""A venue without sockets: true books, subscriptions, and frames on their way to the client.

Owns what is sent and when it arrives, and the faults on the venue's side and on the way. Every frame travels with a
Fact, which says in plain words what the frame says, for the oracle.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from book.ladder import Book
from book.records import Level
from book.wire import encode
from book.wire.commands import (
    ADD_MARKETS,
    DELETE_MARKETS,
    GET_SNAPSHOT,
    LIFECYCLE,
    ORDERBOOK,
    TRADE,
    Subscribe,
    Unsubscribe,
    Update,
    decode_command,
)
from collector.links import Mark
from tests.model.frames import Life
from tests.model.times import Shown


@dataclass(frozen=True)
class Fact:
    """What a frame says; ``tickers`` are those that an ``ok`` takes away."""

    kind: str
    sid: int | None = None
    seq: int | None = None
    ticker: str | None = None
    levels: tuple[Level, ...] = ()
    tickers: tuple[str, ...] = ()


class Agenda:
    """Things to do, in the order of their time and, at one time, of their being noted."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, at_ns: int, do: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(at_ns, self.now_ns), self._count, do, args))

    def run(self, until_ns: int) -> None:
        while self._heap and self._heap[0][0] <= until_ns:
            self.now_ns, _, do, args = heapq.heappop(self._heap)
            do(*args)


@dataclass
class Sub:
    """A subscription at the venue; the counters are of messages still to be harmed."""

    sid: int
    channel: str
    seq: int = 0
    tickers: set[str] = field(default_factory=set)
    swallow: int = 0  # numbered, never sent: a gap in seq
    lose: int = 0  # neither numbered nor sent
    lose_increase: int = 0  # the same, of increases only
    garble: str = ""  # the next change is sent in a form that cannot be read
    sent: list[tuple[bytes, Fact]] = field(default_factory=list)

    def next(self) -> int:
        self.seq += 1
        return self.seq


@dataclass
class Wire:
    """A connection as the venue sees it; what is sent arrives in order."""

    id: int
    latency_ns: int
    last_ns: int
    hold_ns: int = 0
    up: bool = True
    acks_late: bool = False
    sids: int = 0
    subs: dict[int, Sub] = field(default_factory=dict)

    def books(self) -> list[Sub]:
        return [sub for sub in self.subs.values() if sub.channel == ORDERBOOK]


class Venue:
    """Everything on the other side of the sockets."""

    def __init__(
        self,
        agenda: Agenda,
        rng: random.Random,
        lives: list[Life],
        shown: Shown,
        machine_us: Callable[[int], int],
        arrive: Callable[[int, bytes | Mark, Fact], None],
        snap_ns: Callable[[int], int],
    ) -> None:
        self.agenda, self.rng, self.shown = agenda, rng, shown
        self._machine_us, self._arrive, self._snap_ns = machine_us, arrive, snap_ns
        self.lives = {life.ticker: life for life in lives}
        self.truth: dict[str, Book] = {}
        self.history: dict[str, list[tuple[int, Level]]] = {}
        self.closed: set[str] = set()
        self.determined: set[str] = set()
        self.wires: dict[int, Wire] = {}
        self.happened: Counter[str] = Counter()
        self.lag_us = (-3_000_000, 2_000_000)
        self._exch_us = 0
        for life in lives:
            agenda.at(life.from_ns, self._open, life)

    def connect(self, link: int) -> None:
        now_ns = self.agenda.now_ns
        wire = self.wires[link] = Wire(link, self.rng.randint(1, 30) * 1_000_000, now_ns)
        self.agenda.at(now_ns + 700_000_000, self._ping, wire)

    def command(self, link: int, data: bytes) -> None:
        """Take a command once it has travelled."""
        wire = self.wires[link]
        self.agenda.at(self.agenda.now_ns + wire.latency_ns, self._do, wire, data)

    def subs_of(self, ticker: str) -> list[tuple[Wire, Sub]]:
        return [(wire, sub) for wire in self.wires.values() if wire.up for sub in wire.books() if ticker in sub.tickers]

    def send_book(self, wire: Wire, sub: Sub, ticker: str, levels: list[Level], command: int | None = None) -> None:
        seq = sub.next()
        frame = encode.snapshot(sub.sid, seq, ticker, levels, command_id=command)
        self._send(wire, sub, frame, Fact("snapshot", sub.sid, seq, ticker, tuple(levels)))

    def channel_error(self, wire: Wire, sub: Sub, code: int) -> None:
        seq = sub.next()
        frame = encode.error(code, "terminal", sid=sub.sid, seq=seq)
        self._send(wire, sub, frame, Fact("channel_error", sub.sid, seq))
        del wire.subs[sub.sid]

    def repeat(self, wire: Wire, sub: Sub, back: int) -> bool:
        """Send a message again that was sent ``back`` messages ago."""
        if len(sub.sent) <= back:
            return False
        self._deliver(wire, *sub.sent[-1 - back])
        return True

    def noise(self, wire: Wire, data: bytes) -> None:
        self._deliver(wire, data, Fact("unreadable"))

    def lifecycle(self, fields: dict[str, Any], kind: str) -> None:
        for wire in self.wires.values():
            for sub in wire.subs.values():
                if wire.up and sub.channel == LIFECYCLE:
                    seq = sub.next()
                    frame = encode.lifecycle(sub.sid, seq, fields)
                    self._send(wire, sub, frame, Fact(kind, sub.sid, seq, fields["market_ticker"]))

    def determine(self, ticker: str) -> None:
        self.determined.add(ticker)
        fields = {"event_type": "determined", "market_ticker": ticker, "result": "no", "settlement_value": "0.0000"}
        self.lifecycle(fields, "determined")

    def _open(self, life: Life) -> None:
        self.truth[life.ticker] = Book(life.levels)
        for at_ns, kind, level in life.happenings:
            self.agenda.at(at_ns, self._happen, life.ticker, kind, level)
        if life.to_ns is not None:
            self.agenda.at(life.to_ns, self._close, life.ticker)

    def _close(self, ticker: str) -> None:
        """End trading: every order is cancelled, which the venue tells by an empty book, or not at all."""
        self.closed.add(ticker)
        self.truth[ticker] = Book()
        if self.rng.random() < 0.7:
            for wire, sub in self.subs_of(ticker):
                self.send_book(wire, sub, ticker, [])
        if self.rng.random() < 0.8:
            self.agenda.at(self.agenda.now_ns + self.rng.randint(1, 4000) * 1_000_000, self.determine, ticker)

    def _happen(self, ticker: str, kind: str, level: Level) -> None:
        if ticker in self.closed:
            return
        lag_us = self.rng.randint(*self.lag_us)
        self._exch_us = max(self._exch_us, self.shown.at(self._machine_us(self.agenda.now_ns)) + lag_us)
        if kind == "change":
            self.truth[ticker].apply(*level)
            self.history.setdefault(ticker, []).append((self._exch_us, level))
        for wire in self.wires.values():
            if not wire.up:
                continue
            for sub in wire.subs.values():
                if kind == "trade" and sub.channel == TRADE:
                    self._send_trade(wire, sub, ticker, level)
                elif kind == "change" and ticker in sub.tickers:
                    self._send_change(wire, sub, ticker, level)

    def _send_change(self, wire: Wire, sub: Sub, ticker: str, level: Level) -> None:
        if sub.lose or (sub.lose_increase and level[2] > 0):
            which = "lose" if sub.lose else "lose_increase"
            setattr(sub, which, getattr(sub, which) - 1)
            self.happened["silently lost"] += 1
            return
        seq = sub.next()
        frame = encode.delta(sub.sid, seq, ticker, *level, self._exch_us)
        fact = Fact("delta", sub.sid, seq, ticker, (level,))
        if sub.garble:
            named = sub.garble == "named"
            frame = frame.replace(b'"price_dollars":"', b'"price_dollars":"0.00001')
            frame = frame if named else frame.replace(b'"market_ticker":', b'"market_x":')
            fact = Fact("unreadable", sub.sid, seq, ticker if named else None)
            sub.garble = ""
        self._send(wire, sub, frame, fact)

    def _send_trade(self, wire: Wire, sub: Sub, ticker: str, level: Level) -> None:
        side, price_e4, qty_e2 = level
        seq = sub.next()
        frame = encode.trade(
            sub.sid, seq, ticker=ticker, trade_id=f"{ticker}-{sub.seq}-{wire.id}", yes_price_e4=price_e4,
            qty_e2=qty_e2, taker_side=side, block=False, ts_us=self._exch_us,
        )  # fmt: skip
        self._send(wire, sub, frame, Fact("trade", sub.sid, seq, ticker))

    def _send(self, wire: Wire, sub: Sub, frame: bytes, fact: Fact) -> None:
        sub.sent = [*sub.sent[-8:], (frame, fact)]
        if sub.swallow:
            sub.swallow -= 1
            self.happened["swallowed"] += 1
            return
        self._deliver(wire, frame, fact)

    def _deliver(self, wire: Wire, payload: bytes | Mark, fact: Fact) -> None:
        jitter_ns = self.rng.choice((0, 0, 0, 0, 400, 1_000, 1_000, 2_000, 300_000))
        at_ns = max(wire.last_ns, self.agenda.now_ns + wire.latency_ns + jitter_ns, wire.hold_ns)
        wire.last_ns = self._snap_ns(at_ns)
        self.agenda.at(wire.last_ns, self._arrive, wire.id, payload, fact)

    def _ping(self, wire: Wire) -> None:
        if wire.up:
            self._deliver(wire, Mark.PONG, Fact("pong"))
            self.agenda.at(self.agenda.now_ns + 1_000_000_000, self._ping, wire)

    def _do(self, wire: Wire, data: bytes) -> None:
        if not wire.up:
            return
        command = decode_command(data)
        if isinstance(command, Subscribe):
            for channel in command.channels:
                self._subscribe(wire, command, channel)
        elif isinstance(command, Update) and command.sids[0] in wire.subs:
            self._update(wire, wire.subs[command.sids[0]], command)
        elif isinstance(command, Unsubscribe):
            for sid in command.sids:
                sub = wire.subs.pop(sid, None)
                if sub is not None:
                    seq = sub.next()
                    self._send(wire, sub, encode.unsubscribed(command.id, sid, seq), Fact("unsubscribed", sid, seq))

    def _subscribe(self, wire: Wire, command: Subscribe, channel: str) -> None:
        wire.sids += 1
        sub = wire.subs[wire.sids] = Sub(wire.sids, channel, tickers=set(command.tickers or ()))
        ack = (encode.subscribed(command.id, channel, sub.sid), Fact("subscribed", sub.sid, ticker=channel))
        late = wire.acks_late and channel == ORDERBOOK
        if late:
            delay_ns = self.rng.choice((0, 40_000_000, 900_000_000))
            self.agenda.at(self.agenda.now_ns + delay_ns, self._deliver, wire, *ack)
            self.happened["late acknowledgement"] += 1
        else:
            self._deliver(wire, *ack)
        for ticker in sorted(sub.tickers):
            self._answer_book(wire, sub, ticker, None)

    def _update(self, wire: Wire, sub: Sub, command: Update) -> None:
        if command.action == GET_SNAPSHOT:
            for ticker in command.tickers:
                if ticker in sub.tickers:
                    self._answer_book(wire, sub, ticker, command.id)
            return
        added = [ticker for ticker in command.tickers if ticker not in sub.tickers]
        if command.action == ADD_MARKETS:
            sub.tickers |= set(command.tickers)
        else:
            sub.tickers -= set(command.tickers)
        deleted = command.tickers if command.action == DELETE_MARKETS else ()
        books_first = self.rng.random() < 0.3
        for step in (0, 1):
            if books_first == (step == 1):
                seq = sub.next()
                fact = Fact("ok", sub.sid, seq, tickers=tuple(deleted))
                self._send(wire, sub, encode.ok(command.id, sub.sid, seq), fact)
            elif command.action == ADD_MARKETS:
                for ticker in added:
                    self._answer_book(wire, sub, ticker, None)

    def _answer_book(self, wire: Wire, sub: Sub, ticker: str, command: int | None) -> None:
        if ticker in self.truth:
            self.send_book(wire, sub, ticker, self.truth[ticker].levels(), command)
