"""Asks, a clock, and a venue that answers only when it is told to.

Owns what the tests of asking share.
"""

import random
from typing import Any

from book.wire.commands import (
    LIFECYCLE,
    ORDERBOOK,
    TRADE,
    Command,
    Subscribe,
    Update,
)
from collector.asks import Asks
from collector.rota import NS

TICK_NS = NS // 10


def names(count: int) -> list[str]:
    return [f"M{number:05d}" for number in range(count)]


class Bench:
    """Asks, a clock, and a venue that answers only when it is told to."""

    def __init__(self, *, most_markets: int = 100_000, audit_every_s: float = 900.0, vain: int = 0) -> None:
        self.now_ns = 1_000 * NS
        self.asks = Asks(
            random.Random(3),
            most_markets=most_markets,
            audit_every_s=audit_every_s,
            channels=(TRADE, LIFECYCLE),
            vain=vain,
        )
        self.asks.open(self.now_ns)
        self.sid = 0

    def take(self) -> list[Command]:
        taken = list(self.asks.out)
        self.asks.out.clear()
        return taken

    def tick(self, seconds: float = 0.1) -> list[Command]:
        self.now_ns += int(seconds * NS)
        self.asks.tick(self.now_ns)
        return self.take()

    def ticks(self, seconds: float) -> list[Command]:
        return [command for _ in range(round(seconds * 10)) for command in self.tick()]

    def opened(self) -> None:
        for command in self.take():
            assert isinstance(command, Subscribe)
            self.sid += 1
            self.asks.subscribed(command.id, command.channels[0], self.sid, self.now_ns)

    def live(self, tickers: list[str], *, books: bool = True) -> None:
        """Stand subscribed to these markets."""
        self.opened()
        self.asks.want(tickers)
        (command,) = self.tick()
        self.sid += 1
        self.asks.subscribed(command.id, ORDERBOOK, self.sid, self.now_ns)
        while commands := self.tick():
            for command in commands:
                self.asks.acknowledged(command.id)
        if books:
            self.books(tickers)

    def books(self, tickers: list[str], *, asked: bool = False) -> None:
        for ticker in tickers:
            self.asks.got(ticker, self.now_ns, asked=asked)

    def refuse(self, command: Command, code: int) -> Command | None:
        return self.asks.refused(command.id, code, self.now_ns)


def updates(commands: list[Command], action: str) -> list[str]:
    return [t for one in commands if isinstance(one, Update) and one.action == action for t in one.tickers]


def kinds(commands: list[Command]) -> list[Any]:
    return [one.action if isinstance(one, Update) else type(one).__name__ for one in commands]
