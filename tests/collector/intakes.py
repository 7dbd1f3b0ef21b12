"""One link with its three subscriptions, and frames for it.

Owns what the tests of the intake share.
"""

import random
from typing import Any

import numpy as np

from book.records import HOUR_US, Kind
from book.wire import encode
from book.wire.commands import LIFECYCLE, ORDERBOOK, TRADE, Command
from collector.asks import Asks
from collector.conns import Conn, ConnNumbers
from collector.intake import Intake
from collector.links import Link
from collector.metadata import Metadata
from collector.rota import NS
from collector.spans import Spans

T0 = 500_000 * HOUR_US
BOOK = ((0, 4500, 100), (1, 5000, 200))
TRADES, LIVES, BOOKS = 1, 2, 3


class Bench:
    """One link with its three subscriptions; frames go in one microsecond apart unless a stamp is given."""

    def __init__(self, tickers: tuple[str, ...] = ("A", "B"), *, subscribe: bool = True) -> None:
        self.spans = Spans()
        self.intake = Intake(self.spans, ConnNumbers(0), Metadata())
        self.asks = Asks(random.Random(1), most_markets=100, audit_every_s=900.0, channels=(TRADE, LIFECYCLE))
        self.link = Link(1, 40_001, self.asks, 0, T0)
        self.now_us = T0
        self.asks.open(self.now_ns)
        if subscribe:
            for command, sid in zip(self.commands(), (TRADES, LIVES), strict=True):
                self.put(encode.subscribed(command.id, command.channels[0], sid))
            self.subscribe(BOOKS, tickers)

    @property
    def now_ns(self) -> int:
        return (self.now_us - T0) * 1000 + NS

    def commands(self, later_s: float = 0.0) -> list[Any]:
        """Let time pass and return what is sent."""
        self.now_us += int(later_s * 1_000_000)
        if later_s:
            self.asks.tick(self.now_ns)
        sent: list[Command] = list(self.asks.out)
        self.asks.out.clear()
        return sent

    def subscribe(self, sid: int, tickers: tuple[str, ...]) -> None:
        self.asks.want(tickers)
        (command,) = self.commands(0.1)
        self.put(encode.subscribed(command.id, ORDERBOOK, sid))

    def put(self, *frames: bytes, at_us: int | None = None) -> None:
        stamps = [self.now_us + 1 + i if at_us is None else at_us for i in range(len(frames))]
        self.now_us = stamps[-1]
        of = np.zeros(len(frames), np.int64)
        self.intake.frames([self.link], of, list(frames), np.array(stamps, np.int64), self.now_ns)

    def conn(self, sid: int = BOOKS) -> Conn:
        return self.link.conns[sid]

    def rows(self) -> list[tuple[Any, ...]]:
        """Rows of the order book since the last call: (kind, ticker, seq, ts - T0, reason)."""
        batch = self.spans.take()[0].get("orderbook")
        if batch is None:
            return []
        stamps = [ts - T0 for ts in batch["ts_recv"].cast("int64").to_pylist()]
        names = ("ticker", "seq", "reason")
        ticker, seq, reason = (batch[name].to_pylist() for name in names)
        kinds = map(Kind, batch["kind"].to_pylist())
        return list(dict.fromkeys(zip(kinds, ticker, seq, stamps, reason, strict=True)))

    def kinds(self) -> list[tuple[Any, ...]]:
        return [(row[0].name, *row[1:3], *([row[4]] if row[4] else [])) for row in self.rows()]

    def table(self, name: str) -> list[dict[str, Any]]:
        batch = getattr(self.intake, name).take()
        return [] if batch is None else batch.to_pylist()

    def notes(self) -> list[str]:
        return [event for event, _ in self.intake.notes]


def snapshot(seq: int, ticker: str, levels: tuple[Any, ...] = BOOK, *, sid: int = BOOKS, **more: Any) -> bytes:
    return encode.snapshot(sid, seq, ticker, levels, **more)


def delta(seq: int, ticker: str, change_e2: int = 5, *, sid: int = BOOKS, **more: Any) -> bytes:
    return encode.delta(sid, seq, ticker, 0, 4500, change_e2, T0 - 500, **more)


def trade(seq: int | None, trade_id: str = "t", *, sid: int = TRADES) -> bytes:
    frame = encode.trade(
        sid,
        seq or 0,
        ticker="A",
        trade_id=trade_id,
        yes_price_e4=4500,
        qty_e2=100,
        taker_side=0,
        block=False,
        ts_us=T0 - 500_000,
    )
    return frame if seq else frame.replace(b',"seq":0', b"")


def life(seq: int, ticker: str, event_type: str, **fields: Any) -> bytes:
    return encode.lifecycle(LIVES, seq, {"event_type": event_type, "market_ticker": ticker, **fields})
