"""A venue in memory for a session with many links: it answers commands, within limits of its own.

Owns what the tests of the whole pool share. Books are never changed but by the tests.
"""

import random
from collections import Counter
from typing import Any

from book.records import DAY_US, HOUR_US, Level, Reason
from book.wire import encode
from book.wire.commands import ADD_MARKETS, GET_SNAPSHOT, ORDERBOOK, Subscribe, Unsubscribe, Update, decode_command
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.limits import Limits
from collector.links import Ended, Item, Mark, Role, Slot
from collector.rota import NS
from collector.session import Session

T0 = 20_000 * DAY_US + 5 * HOUR_US
BOOK: tuple[Level, ...] = ((0, 4500, 100),)
TICK_NS = NS // 10


class Sub:
    """A subscription: its channel, the markets on it, its number of messages."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.tickers: dict[str, None] = {}
        self.seq = 0

    def next(self) -> int:
        self.seq += 1
        return self.seq


class World:
    """A session, the connections that its slots ask for, and a venue behind them.

    ``room`` markets a subscription and ``doors`` connections in all are the venue's own bounds; ``silent`` tickers are
    never answered, ``deaf`` links answer nothing at all.
    """

    def __init__(self, *, room: int = 10**9, doors: int = 10**9, **limits: Any) -> None:
        self.session = Session(Stamper(T0, 0), ConnNumbers(0), random.Random(2), Limits(**limits))
        self.now_ns = 0
        self.room, self.doors = room, doors
        self.links: dict[Slot, int] = {}
        self.subs: dict[tuple[int, int], Sub] = {}
        self.sids: Counter[int] = Counter()
        self.items: list[Item] = []
        self.silent: set[str] = set()
        self.deaf: set[int] = set()
        self.commands: list[tuple[int, Any]] = []
        self.opened = self.refused = 0

    def us(self) -> int:
        return T0 + self.now_ns // 1000

    def live(self) -> int:
        return self.session.figures().live

    def books(self) -> list[tuple[int, Sub]]:
        """Return the book subscriptions with their links."""
        return [(link, sub) for (link, _), sub in self.subs.items() if sub.channel == ORDERBOOK]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.step()

    def step(self) -> None:
        """Let a tenth of a second pass: connect, hear, tick, answer."""
        self.now_ns += TICK_NS
        self.connect()
        if self.now_ns % NS == 0:
            self.items += [(link, self.now_ns, Mark.PONG) for link in self.links.values() if link not in self.deaf]
        self.feed()
        self.session.tick(self.now_ns, self.us())
        for link in list(self.session.dead):
            self.end(link)
        for link, data in self.session.commands():
            command = decode_command(data)
            self.commands.append((link, command))
            if link in self.links.values() and link not in self.deaf:
                self.answer(link, command)
        self.session.take()

    def connect(self) -> None:
        """Fill the slots, and end the connections that are not asked for any more."""
        slots = self.session.slots()
        for slot, link in list(self.links.items()):
            if slot not in slots:
                self.end(link)
        for slot in slots:
            if slot in self.links:
                continue
            if len(self.links) >= self.doors:
                self.refused += 1
                self.session.turned_away(slot, 429)
            else:
                self.opened += 1
                self.links[slot] = self.opened
                self.session.opened(self.opened, 40_000, self.now_ns, slot)

    def feed(self) -> None:
        items, self.items = self.items, []
        for _ in self.session.feed(items):
            pass

    def end(self, link: int, reason: Reason = Reason.DISCONNECT) -> None:
        self.items.append((link, self.now_ns, Ended(reason)))
        self.feed()
        self.links = {slot: one for slot, one in self.links.items() if one != link}
        self.subs = {key: sub for key, sub in self.subs.items() if key[0] != link}

    def say(self, link: int, frame: bytes) -> None:
        self.items.append((link, self.now_ns, frame))

    def book(self, link: int, sid: int, ticker: str, command_id: int | None = None) -> None:
        if ticker not in self.silent:
            seq = self.subs[link, sid].next()
            self.say(link, encode.snapshot(sid, seq, ticker, BOOK, command_id=command_id))

    def answer(self, link: int, command: Any) -> None:
        if isinstance(command, Subscribe):
            for channel in command.channels:
                tickers = command.tickers or ()
                if len(tickers) > self.room:
                    self.say(link, encode.error(26, "full", command_id=command.id))
                    continue
                self.sids[link] += 1
                sub = self.subs[link, self.sids[link]] = Sub(channel)
                self.say(link, encode.subscribed(command.id, channel, self.sids[link]))
                self.add(link, self.sids[link], sub, tickers)
            return
        (sid,) = command.sids
        sub = self.subs[link, sid]
        if isinstance(command, Unsubscribe):
            self.say(link, encode.unsubscribed(command.id, sid, sub.next()))
            del self.subs[link, sid]
        elif isinstance(command, Update) and command.action == GET_SNAPSHOT:
            for ticker in command.tickers:
                self.book(link, sid, ticker, command.id)
        elif isinstance(command, Update) and command.action == ADD_MARKETS:
            if len(sub.tickers) + len(command.tickers) > self.room:
                self.say(link, encode.error(26, "full", sid=sid, seq=sub.next(), command_id=command.id))
                return
            self.say(link, encode.ok(command.id, sid, sub.next()))
            self.add(link, sid, sub, command.tickers)
        else:
            for ticker in command.tickers:
                sub.tickers.pop(ticker, None)
            self.say(link, encode.ok(command.id, sid, sub.next()))

    def add(self, link: int, sid: int, sub: Sub, tickers: tuple[str, ...]) -> None:
        for ticker in tickers:
            sub.tickers[ticker] = None
            self.book(link, sid, ticker)


def names(count: int, start: int = 0) -> list[str]:
    return [f"M{number:05d}" for number in range(start, start + count)]


def books(count: int) -> list[Slot]:
    return [Slot(number, Role.BOOKS) for number in range(count)]
