"""Trades through losses, resets, stalls, overflows and restarts, against the list of all that were sent.

Before anything is filled each trade stands in the answer or in a gap, and no known stretch lacks one; afterwards each
stands there once and the range is complete. From folders and from published hours alike.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from book.records import HOUR_US, Reason
from book.wire import encode
from book.wire.rest import TradeDoc
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.fill import Filler, neighbours, unfilled
from collector.journal import Journal
from collector.limits import Limits
from collector.links import Ended, Item, Mark, Role, Slot
from collector.session import Session
from lake import paths
from lake.publishing.publish import publish_hours
from lake.verify import verify
from query.feeds import feed_line
from query.log import Log
from query.ranges import Page, trades
from query.scan import TradeRow
from tests.model.rig import kill

T0 = 500_000 * HOUR_US + HOUR_US // 2
TAPE = Slot(0, Role.TAPE)
TRADES, TICKERS = 1, 2
MS = 1_000_000
SKEW_US = 2_000_000
EVENTS = (
    "trade", "trade", "trade", "pong", "lost", "repeat", "back", "bad", "reset", "overflow", "stall", "crash", "stop",
)  # fmt: skip


class Venue:
    """The shard's one tape connection, and every trade that was made, with the instant it would have been received."""

    def __init__(self, home: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.home = home
        self.now_ns = 0
        self.link = self.seq = self.made = 0
        self.open_ns: int | None = None
        self.items: list[Item] = []
        self.told: list[tuple[str, int, TradeDoc]] = []
        self.owed = False
        """The same, of what is on disk."""
        self.hidden = False
        """Whether what was lost last is not shown by a number yet."""
        self.start()
        row = {"ticker": "A", "valid_from": T0, "event_ticker": "E", "title": "", "status": "active", "record": "{}"}
        self.session.metadata.tables["markets"].add(**row, source="rest")
        self.connect()
        self.flush()

    @property
    def now_us(self) -> int:
        return T0 + self.now_ns // 1000

    def start(self) -> None:
        self.journal = Journal(self.home, 0, seal_s=1e9, monotonic_s=lambda: self.now_ns / 1e9)
        stamper = Stamper(T0 + self.now_ns // 1000, self.now_ns, floor_us=self.journal.last_us + 1)
        limits = Limits(silence_s=120.0, watchdog_s=1e9)
        self.session = Session(stamper, ConnNumbers(0, self.journal.last_conn), self.rng, limits)
        self.journal.close_crashed(self.session.stamp(self.now_ns) // HOUR_US)
        self.session.intake.feeds.resume(self.journal.feeds)

    def connect(self) -> None:
        self.link += 1
        self.seq = 0
        self.open_ns = None
        self.session.opened(self.link, 40_000, self.now_ns, TAPE)
        self.answer()

    def answer(self) -> None:
        self.session.tick(self.now_ns, self.now_us)
        for _, data in self.session.commands():
            text = data.decode()
            if '"subscribe"' in text:
                channel = "ticker" if '"ticker"' in text else "trade"
                sid = TICKERS if channel == "ticker" else TRADES
                command = int(text.split('"id":')[1].split(",")[0])
                self.items.append((self.link, self.now_ns, encode.subscribed(command, channel, sid)))
            elif '"unsubscribe"' in text:
                self.seq += 1
                command = int(text.split('"id":')[1].split(",")[0])
                self.items.append((self.link, self.now_ns, encode.unsubscribed(command, TRADES, self.seq)))
                self.seq = 0

    def trade(self) -> bytes:
        """Make a trade and return its frame; the exchange stamps it up to two seconds before."""
        self.made += 1
        at_us = self.now_us - self.rng.randrange(SKEW_US)
        doc = TradeDoc(
            ticker="A", trade_id=f"t{self.made:05}", yes_price_e4=self.rng.randrange(1, 10_000), qty_e2=100,
            taker_side=0, block=False, created_us=at_us,
        )  # fmt: skip
        self.told.append((doc.trade_id, self.session.peek(self.now_ns), doc))
        self.seq += 1
        return encode.trade(
            TRADES, self.seq, ticker="A", trade_id=doc.trade_id, yes_price_e4=doc.yes_price_e4, qty_e2=100,
            taker_side=0, block=False, ts_us=at_us,
        )  # fmt: skip

    def step(self) -> None:  # noqa: C901, PLR0912 - one branch a fault
        self.now_ns += self.rng.choice([0, 1, 40, 900, 9_000, 60_000]) * MS
        what = self.rng.choice(EVENTS)
        if self.open_ns is not None:
            if self.now_ns >= self.open_ns:
                self.connect()
            elif what == "trade":
                self.trade()
            return
        if (self.hidden and what in ("reset", "stop")) or (self.owed and what == "crash"):
            what = "trade"  # a loss that no later number shows is no loss that anybody could tell
        frame: Any = Mark.PONG
        match what:
            case "trade":
                frame = self.trade()
            case "lost":
                for _ in range(self.rng.randint(1, 3)):
                    self.trade()
                self.hidden = True
                return
            case "repeat" if self.seq:
                doc = self.told[-1][2]
                frame = encode.trade(
                    TRADES, self.seq, ticker="A", trade_id=doc.trade_id, yes_price_e4=doc.yes_price_e4, qty_e2=100,
                    taker_side=0, block=False, ts_us=doc.created_us or 0,
                )  # fmt: skip
            case "back" if self.seq > 2 and not self.hidden:
                self.seq -= 2
                frame = self.trade()
            case "bad":
                frame = self.trade().replace(b'"count_fp"', b'"sum_fp"')
            case "reset" | "stop" | "crash":
                self.end(what)
                return
            case "overflow":
                self.trade()
                self.hidden = True
                frame = Mark.OVERFLOW
            case "stall":
                self.now_ns += 130_000 * MS
        self.hidden &= isinstance(frame, Mark)
        self.items.append((self.link, self.now_ns, frame))
        if self.rng.random() < 0.4:
            self.flush()

    def end(self, what: str) -> None:
        self.open_ns = self.now_ns + self.rng.choice([5, 700, 8_000, 4_000_000]) * MS
        if what == "crash":
            self.items.clear()
            self.hidden = False
            kill(self.journal)
            self.start()
            return
        reason = Reason.DISCONNECT if what == "reset" else Reason.SHUTDOWN
        self.items.append((self.link, self.now_ns, Ended(reason)))
        self.flush()
        if what == "stop":
            self.journal.close()
            self.start()

    def flush(self) -> None:
        items, self.items = self.items, []
        self.owed = self.hidden
        for hour in self.session.feed(items):
            self.journal.write(hour, self.session.take())
        self.answer()

    async def trades(self, from_s: int, to_s: int) -> AsyncIterator[list[TradeDoc]]:
        found = [doc for _, _, doc in self.told if from_s * 1_000_000 <= (doc.created_us or 0) <= to_s * 1_000_000]
        for start in range(0, len(found), 3):
            yield found[start : start + 3]

    async def fill(self) -> None:
        filler = Filler(self, self.session, self.home, 0, lambda: self.now_us, lambda *_, **__: None)  # type: ignore[arg-type]  # all of the client that it uses
        for group in neighbours(unfilled(self.home, 0, 0)):
            await filler.fill(group)

    def calm(self, seconds: int = 1) -> None:
        """Go on without a fault until everything stands and is flushed."""
        while self.open_ns is not None:
            self.now_ns = max(self.now_ns, self.open_ns)
            self.connect()
        for _ in range(12):
            self.flush()
            self.now_ns += seconds * 1000 * MS
            self.items.append((self.link, self.now_ns, self.trade()))
        self.flush()


def whole(log: Log, start_us: int, end_us: int, limit: int) -> tuple[list[TradeRow], Page[TradeRow]]:
    rows: list[TradeRow] = []
    cursor = None
    while True:
        page = trades(log, "A", start_us, end_us, limit, cursor)
        rows += page.rows
        cursor = page.next_cursor
        if cursor is None:
            return rows, page


def prove(log: Log, venue: Venue, start_us: int, end_us: int, *, filled: bool) -> Page[TradeRow]:
    _, page = whole(log, start_us, end_us, 1000)
    early_us = start_us - SKEW_US  # what was filled counts by the exchange's stamp
    rows, _ = whole(log, early_us, end_us, venue.rng.choice([1, 7, 1000]))
    ids = [row.trade_id for row in rows]
    assert len(set(ids)) == len(ids)
    expected = {name for name, at_us, _ in venue.told if start_us <= at_us < end_us}
    missing = {name for name, at_us, _ in venue.told if name in expected.difference(ids)}
    line = feed_line(log.shards[0], "trades", start_us, end_us)
    for name, at_us, _ in venue.told:
        if name in missing:
            assert line.known.holding(at_us) is None, (name, at_us)
            assert any(gap.from_us <= at_us < (gap.to_us or end_us) for gap in page.gaps), (name, at_us)
    assert page.complete == (not line.complete().missing(start_us, end_us))
    if filled:
        assert not missing
        assert page.complete
        assert all(gap.filled for gap in page.gaps)
    return page


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.fault) for seed in range(4, 100))])
def test_every_trade_is_there_or_its_gap_is(tmp_path: Path, seed: int) -> None:
    venue = Venue(tmp_path, seed)
    for _ in range(250):
        venue.step()
    venue.calm()
    log = Log(tmp_path, lambda: venue.now_us, lake=tmp_path / "lake", poll_every_s=0)
    mark = venue.journal.feeds["trades"]
    start_us, end_us = mark.since_us, mark.known_us + 1
    page = prove(log, venue, start_us, end_us, filled=False)
    assert page.gaps
    asyncio.run(venue.fill())
    venue.calm()
    again = prove(log, venue, start_us, end_us, filled=True)
    assert [(gap.from_us, gap.to_us, gap.reason) for gap in again.gaps] == [
        (gap.from_us, gap.to_us, gap.reason) for gap in page.gaps
    ]
    hours = [hour for hour in paths.hours(tmp_path, 0) if hour < venue.now_us // HOUR_US]
    now_us = venue.now_us + 10 * HOUR_US
    published = publish_hours(tmp_path / "lake", tmp_path, hours, now_us=lambda: now_us)
    assert published is not None
    after = prove(log, venue, start_us, end_us, filled=True)
    assert after.gaps == again.gaps
    assert verify(tmp_path / "lake", tmp_path, None, lambda _: None).doubts == []
    venue.journal.close()
