"""What is asked of the venue on one connection: subscriptions, missing books, audits.

Owns the commands in flight, the markets wanted and the recovery ladder. Sans-IO: time is passed in, commands come out
as messages to encode. Never judges what the venue answered about a book.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import islice

from book.wire.commands import (
    ADD_MARKETS,
    DELETE_MARKETS,
    GET_SNAPSHOT,
    LIFECYCLE,
    ORDERBOOK,
    TRADE,
    Command,
    Subscribe,
    Unsubscribe,
    Update,
)

NS = 1_000_000_000
CHUNK = 500
COMMANDS_A_TICK = 8
FIRST_WAIT_NS = NS
LONGEST_WAIT_NS = 30 * NS
ANSWER_WITHIN_NS = 10 * NS
BULK_WAIT_NS = 5 * NS


class Stage(Enum):
    """Where the book subscription stands."""

    NONE = "none"
    SUBSCRIBING = "subscribing"
    LIVE = "live"
    LEAVING = "leaving"


@dataclass(slots=True)
class Ask:
    """A market whose book has been asked for: when (monotonic ns), and how often without an answer."""

    at_ns: int
    wait_ns: int
    tries: int = 0


@dataclass(slots=True)
class Sent:
    """A command in flight."""

    command: Command
    at_ns: int


class Asks:
    """The asking side of one connection; tickers in, commands out."""

    def __init__(self, rng: random.Random, *, most_markets: int, audit_every_s: float) -> None:
        self._rng = rng
        self._most = most_markets
        self._audit_every_ns = int(audit_every_s * NS)
        self._next_id = 1
        self._quiet_until_ns = 0
        self._backoff = 0
        self._answered_ns = 0
        self._audit_credit = 0.0
        self._ticked_ns = 0
        self.stage = Stage.NONE
        self.sid = 0
        self.wanted: set[str] = set()
        self.added: set[str] = set()
        self._fresh: dict[str, None] = {}
        self._unwanted: dict[str, None] = {}
        self.missing: dict[str, Ask] = {}
        self.audits: dict[str, int] = {}
        self.refused: set[str] = set()
        self.sent: dict[int, Sent] = {}
        self.out: list[Command] = []
        self.hopeless = False

    def open(self, now_ns: int) -> None:
        """Ask for the channels that need no list; the books follow when markets are wanted."""
        for channel in (TRADE, LIFECYCLE):
            self._send(Subscribe(self._id(), (channel,), skip_ticker_ack=True), now_ns)

    def want(self, tickers: Iterable[str]) -> None:
        """Want the books of more markets."""
        for ticker in tickers:
            if ticker not in self.wanted and ticker not in self.refused:
                self.wanted.add(ticker)
                self._unwanted.pop(ticker, None)
                if ticker not in self.added:
                    self._fresh[ticker] = None

    def drop(self, ticker: str) -> None:
        """Want a market's book no longer."""
        self._forget(ticker)
        if ticker in self.added:
            self._unwanted[ticker] = None

    def subscribed(self, sid: int, now_ns: int) -> None:
        """Note that the book subscription stands."""
        self.stage, self.sid = Stage.LIVE, sid
        self._answered_ns = now_ns

    def lost(self, tickers: Iterable[str]) -> None:
        """Note that these markets' books are unknown from now on: ask for them at the next tick."""
        for ticker in tickers:
            if ticker in self.added and ticker in self.wanted:
                self.missing[ticker] = Ask(0, 0)
                self.audits.pop(ticker, None)

    def got(self, ticker: str, now_ns: int) -> None:
        """Note that a full book of a market has arrived."""
        self._answered_ns = now_ns
        self.missing.pop(ticker, None)
        if ticker in self.wanted:
            spread = self._audit_every_ns if ticker in self.audits else int(self._audit_every_ns * self._rng.random())
            self.audits[ticker] = now_ns + spread

    def gone(self) -> None:
        """Note that the book subscription has ended: subscribe anew at the next tick."""
        self.stage = Stage.NONE
        self.added.clear()
        self.missing.clear()
        self.audits.clear()
        self._unwanted.clear()
        self._fresh = dict.fromkeys(sorted(self.wanted))

    def leave(self, now_ns: int) -> None:
        """End the book subscription, to begin another."""
        if self.stage is Stage.LIVE:
            self.stage = Stage.LEAVING
            self._send(Unsubscribe(self._id(), (self.sid,)), now_ns)

    def answered(self, command_id: int | None) -> Command | None:
        """Take a command out of those in flight and return it."""
        sent = self.sent.pop(command_id, None) if command_id is not None else None
        return sent.command if sent else None

    def refused_command(self, command: Command | None, code: int, now_ns: int) -> None:
        """Adapt to an error: 26 the subscription is full, 27 too many commands, others are waited out."""
        if code == 26 and isinstance(command, Subscribe | Update):
            self._refuse(command.tickers or ())
        else:
            self._backoff = min(self._backoff + 1, 6)
            self._quiet_until_ns = now_ns + int(NS * 2**self._backoff * (0.5 + self._rng.random() / 2))
        if isinstance(command, Subscribe) and ORDERBOOK in command.channels:
            self.gone()

    def tick(self, now_ns: int) -> None:
        """Ask for what is due: new markets first, then missing books, then audits; see whether hope is lost."""
        elapsed_ns, self._ticked_ns = now_ns - (self._ticked_ns or now_ns), now_ns
        self._expire(now_ns)
        if now_ns < self._quiet_until_ns or self.hopeless:
            return
        budget = COMMANDS_A_TICK
        if self.stage is Stage.NONE and self._fresh:
            self._subscribe(self._take_fresh(min(CHUNK, self._most)), now_ns)
        elif self.stage is Stage.LIVE:
            budget -= self._change(DELETE_MARKETS, self._take_unwanted(), now_ns)
            budget -= self._add(budget, now_ns)
            budget -= self._ask_missing(now_ns, budget)
            self._ask_audits(now_ns, elapsed_ns, budget)
            self._climb(now_ns)

    def _subscribe(self, tickers: list[str], now_ns: int) -> None:
        self.stage = Stage.SUBSCRIBING
        self._note_asked(tickers, now_ns)
        self._send(Subscribe(self._id(), (ORDERBOOK,), tuple(tickers), skip_ticker_ack=True), now_ns)

    def _take_fresh(self, most: int) -> list[str]:
        taken = list(islice(self._fresh, most))
        for ticker in taken:
            del self._fresh[ticker]
        return taken

    def _take_unwanted(self) -> list[str]:
        taken = list(islice(self._unwanted, CHUNK))
        for ticker in taken:
            del self._unwanted[ticker]
            self.added.discard(ticker)
        return taken

    def _add(self, budget: int, now_ns: int) -> int:
        room = self._most - len(self.added)
        if room <= 0:
            self._refuse(self._take_fresh(len(self._fresh)))
            return 0
        tickers = self._take_fresh(min(room, budget * CHUNK))
        self._note_asked(tickers, now_ns)
        return self._change(ADD_MARKETS, tickers, now_ns)

    def _refuse(self, tickers: Iterable[str]) -> None:
        """Give up markets that the subscription has no room for; they are listed, not recorded."""
        for ticker in tickers:
            self.refused.add(ticker)
            self.added.discard(ticker)
            self._forget(ticker)

    def _forget(self, ticker: str) -> None:
        self.wanted.discard(ticker)
        self.missing.pop(ticker, None)
        self.audits.pop(ticker, None)
        self._fresh.pop(ticker, None)

    def _note_asked(self, tickers: list[str], now_ns: int) -> None:
        for ticker in tickers:
            self.added.add(ticker)
            self.missing[ticker] = Ask(now_ns, BULK_WAIT_NS)

    def _ask_missing(self, now_ns: int, budget: int) -> int:
        due = [t for t, ask in self.missing.items() if now_ns - ask.at_ns >= ask.wait_ns][: budget * CHUNK]
        for ticker in due:
            ask = self.missing[ticker]
            longest_ns = min(LONGEST_WAIT_NS, FIRST_WAIT_NS * 2**ask.tries)
            ask.at_ns, ask.wait_ns = now_ns, int(longest_ns * (0.75 + self._rng.random() / 4))
            ask.tries += 1
        return self._change(GET_SNAPSHOT, due, now_ns)

    def _ask_audits(self, now_ns: int, elapsed_ns: int, budget: int) -> None:
        """Spread audits evenly: at most one and a half times the rate that reaches every market in time."""
        rate = 1.5 * len(self.audits) / self._audit_every_ns
        self._audit_credit = min(self._audit_credit + rate * elapsed_ns, max(1.0, budget * CHUNK))
        most = int(self._audit_credit)
        if most < 1 or budget < 1:
            return
        due = [ticker for ticker, at_ns in self.audits.items() if at_ns <= now_ns][:most]
        for ticker in due:
            self.audits[ticker] = now_ns + ANSWER_WITHIN_NS
        self._audit_credit -= len(due)
        self._change(GET_SNAPSHOT, due, now_ns)

    def _change(self, action: str, tickers: list[str], now_ns: int) -> int:
        """Send a change of the book subscription in chunks; return how many commands it took."""
        chunks = [tickers[start : start + CHUNK] for start in range(0, len(tickers), CHUNK)]
        for chunk in chunks:
            self._send(Update(self._id(), (self.sid,), action, tuple(chunk)), now_ns)
        return len(chunks)

    def _climb(self, now_ns: int) -> None:
        """Next rung: books asked for several times and the venue sends none at all, so subscribe anew."""
        stuck = [ask for ask in self.missing.values() if ask.tries >= 3]
        if stuck and now_ns - self._answered_ns > ANSWER_WITHIN_NS:
            self.leave(now_ns)

    def _expire(self, now_ns: int) -> None:
        """Last rung: a subscribe or unsubscribe without an answer means the connection is of no use."""
        for command_id, sent in list(self.sent.items()):
            if now_ns - sent.at_ns < ANSWER_WITHIN_NS:
                continue
            if isinstance(sent.command, Subscribe | Unsubscribe):
                self.hopeless = True
            del self.sent[command_id]

    def _send(self, command: Command, now_ns: int) -> None:
        self.sent[command.id] = Sent(command, now_ns)
        self.out.append(command)

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id - 1
