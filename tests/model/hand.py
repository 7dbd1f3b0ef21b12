"""A collector led by hand: every message at a chosen microsecond, flushed as it comes, read back by the product.

Owns nothing but convenience; expectations stand in the tests.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from book.errors import ApiError
from book.records import HOUR_US, Level, Reason
from book.wire import encode
from book.wire.commands import LIFECYCLE, ORDERBOOK, TRADE, Subscribe, Update, decode_command
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.journal import Journal
from collector.limits import Limits
from collector.links import WHOLE, Ended, Mark
from collector.session import Session
from query.log import Log
from query.point import book_at
from tests.model.rig import kill

MIDNIGHT_US = 1_786_406_400_000_000  # 2026-08-11T00:00:00Z
S = 1_000_000
QUIET = Limits(audit_every_s=3600.0)
SIDS = {ORDERBOOK: 1, TRADE: 2, LIFECYCLE: 3}


class Hand:
    """A shard whose monotonic clock is the wall clock; links are numbered by the caller."""

    def __init__(self, home: Path, start_us: int, *, shard: int = 0) -> None:
        self.home, self.shard = home, shard
        self.log = Log(home, lambda: self.now_us, poll_every_s=0.0)
        self.now_us = start_us
        self.seqs: dict[tuple[int, int], int] = {}
        self.markets: list[tuple[str, int | None]] = []
        self.start(start_us)

    def start(self, at_us: int) -> None:
        """Start the process, also after a crash."""
        self.now_us = at_us
        self.journal = Journal(self.home, self.shard, seal_s=1e9, monotonic_s=lambda: 0.0)
        stamper = Stamper(at_us, at_us * 1000, floor_us=self.journal.last_us + 1)
        numbers = ConnNumbers(self.shard, self.journal.last_conn)
        self.session = Session(stamper, numbers, random.Random(1), QUIET)
        self.journal.close_crashed(self.session.stamp(at_us * 1000) // HOUR_US)
        self.session.intake.feeds.resume(self.journal.feeds)
        for ticker, close_us in self.markets:
            self.session.list_market(ticker, None, close_us)

    def market(self, ticker: str, close_us: int | None = None) -> None:
        self.markets.append((ticker, close_us))
        self.session.list_market(ticker, None, close_us)

    def connect(self, link: int, at_us: int) -> None:
        """Connect, and acknowledge all that is subscribed."""
        self.session.opened(link, 40_000, at_us * 1000, WHOLE)
        self.session.tick(at_us * 1000, at_us)
        for command in self.commands():
            if isinstance(command, Subscribe):
                channel = command.channels[0]
                self.seqs[link, SIDS[channel]] = 0
                self.arrive(link, at_us, encode.subscribed(command.id, channel, SIDS[channel]))

    def commands(self) -> list[Any]:
        return [decode_command(data) for _, data in self.session.commands()]

    def seq(self, link: int, skip: int = 0, sid: int = 1) -> int:
        self.seqs[link, sid] += 1 + skip
        return self.seqs[link, sid]

    def snapshot(self, link: int, at_us: int, ticker: str, *levels: Level, skip: int = 0) -> None:
        self.arrive(link, at_us, encode.snapshot(1, self.seq(link, skip), ticker, levels))

    def delta(self, link: int, at_us: int, ticker: str, *level: int, skip: int = 0, flush: bool = True) -> None:
        side, price_e4, change_e2 = level
        frame = encode.delta(1, self.seq(link, skip), ticker, side, price_e4, change_e2, at_us)
        self.arrive(link, at_us, frame, flush=flush)

    def pong(self, link: int, at_us: int, *, flush: bool = True) -> None:
        self.arrive(link, at_us, Mark.PONG, flush=flush)

    def end(self, link: int, at_us: int, reason: Reason) -> None:
        self.arrive(link, at_us, Ended(reason))

    def determined(self, link: int, at_us: int, ticker: str) -> None:
        fields = {"event_type": "determined", "market_ticker": ticker, "result": "yes", "settlement_value": "1.0000"}
        self.arrive(link, at_us, encode.lifecycle(SIDS[LIFECYCLE], self.seq(link, sid=SIDS[LIFECYCLE]), fields))

    def acknowledge_deletion(self, link: int, at_us: int) -> Sequence[str]:
        """Answer the deletion that the session asks for now; return its markets."""
        self.session.tick(at_us * 1000, at_us)
        (command,) = [one for one in self.commands() if isinstance(one, Update) and one.action == "delete_markets"]
        self.arrive(link, at_us, encode.ok(command.id, 1, self.seq(link)))
        return command.tickers

    def arrive(self, link: int, at_us: int, payload: bytes | Mark | Ended, *, flush: bool = True) -> None:
        self.now_us = at_us
        for hour in self.session.feed([(link, at_us * 1000, payload)]):
            if flush:
                self.journal.write(hour, self.session.take())

    def crash(self) -> None:
        kill(self.journal)

    def ask(self, ticker: str, at_us: int) -> Any:
        """Return the levels, or (code, reason) with the beginning where it is a gap."""
        try:
            return book_at(self.log, ticker, at_us).book.levels()
        except ApiError as error:
            if error.code == "data_gap":
                return error.fields["reason"], error.fields["from"]
            return error.code, error.fields.get("reason")
