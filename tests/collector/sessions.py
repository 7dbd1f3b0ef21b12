"""A session without sockets, a machine that starts at monotonic 0, and what its flushes hold.

Owns what the tests of the session share.
"""

import random
from typing import Any

import msgspec

from book.records import DAY_US, HOUR_US, Kind
from book.wire import encode
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.limits import Limits
from collector.links import WHOLE, Item
from collector.session import Session
from collector.taken import Taken

T0 = 20_000 * DAY_US + 5 * HOUR_US
BOOK = ((0, 4500, 100),)
MS = 1_000_000


class Bench:
    """A session whose machine starts at monotonic 0 when T0 is shown; ``venue`` answers subscriptions."""

    def __init__(self, *, start_us: int = T0, **limits: Any) -> None:
        self.start_us = start_us
        self.now_ns = 0
        self.session = Session(Stamper(start_us, 0), ConnNumbers(0), random.Random(2), Limits(**limits))
        self.items: list[Item] = []
        self.sids: dict[int, int] = {}
        self.said: list[tuple[int, dict[str, Any]]] = []

    def after(self, ms: float) -> "Bench":
        self.now_ns += int(ms * MS)
        return self

    def us(self) -> int:
        return self.start_us + self.now_ns // 1000

    def frame(self, *frames: bytes, link: int = 1) -> None:
        self.items += [(link, self.now_ns, frame) for frame in frames]

    def mark(self, payload: Any, link: int = 1) -> None:
        self.items.append((link, self.now_ns, payload))

    def feed(self) -> list[tuple[int, Taken]]:
        """Feed what has arrived; return each hour with what is flushed in it."""
        items, self.items = self.items, []
        return [(hour, self.session.take()) for hour in self.session.feed(items)]

    def take(self) -> Taken:
        """Feed and take as one."""
        items, self.items = self.items, []
        for _ in self.session.feed(items):
            pass
        return self.session.take()

    def tick(self, ms: float = 100, *, heard: bool = True) -> list[dict[str, Any]]:
        """Let time pass, and return what is sent; unless ``heard`` is false, every link is still heard."""
        self.after(ms)
        for one in self.session.links.values() if heard else ():
            one.heard_ns = self.now_ns
        self.session.tick(self.now_ns, self.us())
        sent = [(link, msgspec.json.decode(command)) for link, command in self.session.commands()]
        self.said += sent
        return [command for _, command in sent]

    def open(self, link: int = 1) -> None:
        """Connect; the venue acknowledges trades and lifecycle as sids 1 and 2."""
        self.session.opened(link, 40_000 + link, self.now_ns, WHOLE)
        self.sids[link] = 0
        self.answer(self.tick(0), link)

    def answer(self, commands: list[dict[str, Any]], link: int = 1) -> None:
        for command in commands:
            if command["cmd"] == "subscribe":
                self.sids[link] += 1
                self.frame(
                    encode.subscribed(command["id"], command["params"]["channels"][0], self.sids[link]), link=link
                )

    def record(self, *tickers: str, link: int = 1) -> None:
        """Stand subscribed to markets, their books known: seq 1 and on."""
        for ticker in tickers:
            self.session.list_market(ticker, None, None)
        self.answer(self.tick(), link)
        for seq, ticker in enumerate(tickers, 1):
            self.frame(encode.snapshot(self.sids[link], seq, ticker, BOOK), link=link)

    def conn(self, link: int = 1) -> int:
        book = self.session.links[link].book
        assert book is not None
        return book.id


def delta(seq: int, ticker: str = "A", sid: int = 3) -> bytes:
    return encode.delta(sid, seq, ticker, 0, 4500, 5, T0)


def rows(taken: Taken) -> list[tuple[Any, ...]]:
    """Return (kind, ticker, seq, ts_us, reason), a group once."""
    batch = taken.tables.get("orderbook")
    if batch is None:
        return []
    columns = (batch["ticker"], batch["seq"], batch["ts_recv"].cast("int64"), batch["reason"])
    kinds = map(Kind, batch["kind"].to_pylist())
    return list(dict.fromkeys(zip(kinds, *(column.to_pylist() for column in columns), strict=True)))


def closes(taken: Taken) -> list[tuple[Any, ...]]:
    return [row[1:] for row in rows(taken) if row[0] is Kind.CLOSE]
