"""Trades that were missed, asked for afterwards: each lapse of the trades is filled over REST by trade_id.

Owns which lapses are due, what is asked for, and which of the answers are new. Never writes a row itself: the session
stamps them, and one flush acknowledges them together with the fill.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from book.errors import CollectorError, CorruptError, FrameError
from book.records import HOUR_US
from book.wire.rest import TradeDoc
from collector.session import Session
from collector.venue_rest import VenueRest
from lake import paths
from lake.journal.flush import Fill, Lapse
from lake.journal.reader import Hour

CHANNEL = "trades"
SETTLE_S = 30.0
"""Machine time after a lapse: its trades may be listed late, and what was received in the meantime is in the log."""
LOOK_EVERY_S = 1.0
AGAIN_S = 60.0
TRIES = 30
"""So often a lapse is asked for, a minute apart; what is not answered by then stays a gap until the next start."""
WITHIN_HOURS = 24
"""Lapses older than that are not looked for at a start."""
MARGIN_US = 5_000_000
"""Trades of so long before and after a lapse are asked for too: the exchange's clock is not ours."""
LATE_US = 60_000_000
"""How far apart the exchange's stamp of a trade and our receipt may lie."""
WINDOW_US = 600_000_000
"""What is asked for at once; a longer lapse is filled piece by piece."""
_BATCHES = 1024

Log = Callable[..., None]


@dataclass(slots=True)
class _Due:
    """A lapse to be filled, from when on, and how often it was tried."""

    at_s: float
    tries: int = 0


class Filler:
    """Fill the lapses of one shard's trades; ``now_us`` is the time shown, ``log`` takes (event, fields)."""

    def __init__(
        self,
        rest: VenueRest,
        session: Session,
        home: Path,
        shard: int,
        now_us: Callable[[], int],
        log: Log,
        *,
        settle_s: float = SETTLE_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self._rest = rest
        self._session = session
        self._home, self._shard = home, shard
        self._now_us = now_us
        self._log = log
        self._settle_s, self._again_s = settle_s, again_s
        self._due: dict[Lapse, _Due] = {}
        self._learned: set[str] = set()

    async def run(self) -> None:
        """Fill until cancelled: what an earlier process left, and each lapse some time after its end."""
        clock = asyncio.get_running_loop().time
        since = paths.hour_of(self._now_us()) - WITHIN_HOURS
        left = await asyncio.to_thread(self._left, since)
        self._schedule(left, clock() + self._settle_s)
        while True:
            ended, self._session.intake.feeds.ended = self._session.intake.feeds.ended, []
            self._schedule(ended, clock() + self._settle_s)
            for group in neighbours(lapse for lapse, due in self._due.items() if due.at_s <= clock()):
                await self._tried(group, clock)
            if not self._due:
                self._learned.clear()
            await asyncio.sleep(min(LOOK_EVERY_S, self._settle_s))

    async def fill(self, group: Sequence[Lapse]) -> None:
        """Ask for the trades of neighbouring lapses and hand those that are new to the session, with the fills."""
        from_us, to_us = group[0].from_us - MARGIN_US, max(lapse.to_us for lapse in group) + MARGIN_US
        found: dict[str, TradeDoc] = {}
        async for page in self._rest.trades(from_us // 1_000_000, -(-to_us // 1_000_000)):
            found |= {trade.trade_id: trade for trade in page}
        stretch = (from_us - LATE_US, to_us + LATE_US)
        known = await asyncio.to_thread(recorded, self._home, self._shard, *stretch, list(found))
        new = [trade for name, trade in found.items() if name not in known and name not in self._learned]
        self._learned.update(trade.trade_id for trade in new)
        for lapse in group:
            last = lapse is group[-1]
            own = [trade for trade in new if last or (trade.created_us or 0) < lapse.to_us + MARGIN_US]
            new = [] if last else [trade for trade in new if (trade.created_us or 0) >= lapse.to_us + MARGIN_US]
            self._session.intake.learn(own, Fill(*lapse[:4], rows=len(own)))
        self._log("trades_filled", lapses=len(group), listed=len(found), from_us=group[0].from_us)

    def _left(self, since: int) -> list[Lapse]:
        try:
            return unfilled(self._home, self._shard, since)
        except CorruptError as error:  # it is met, and said, by whoever publishes the hour
            self._log("lapses_unreadable", error=str(error))
            return []

    def _schedule(self, lapses: Iterable[Lapse], at_s: float) -> None:
        for lapse in lapses:
            if lapse.channel == CHANNEL:
                for piece in pieces(lapse):
                    self._due.setdefault(piece, _Due(at_s))

    async def _tried(self, group: Sequence[Lapse], clock: Callable[[], float]) -> None:
        try:
            await self.fill(group)
        except (CollectorError, CorruptError, FrameError) as error:
            for lapse in group:
                due = self._due[lapse]
                due.tries += 1
                due.at_s = clock() + self._again_s
                if due.tries >= TRIES:
                    del self._due[lapse]
            self._log("fill_failed", lapses=len(group), from_us=group[0].from_us, error=str(error))
        else:
            for lapse in group:
                del self._due[lapse]


def pieces(lapse: Lapse) -> Iterator[Lapse]:
    """Yield a lapse in pieces that are asked for at once, the same ones whenever it is cut."""
    for from_us in range(lapse.from_us, lapse.to_us, WINDOW_US):
        yield lapse._replace(from_us=from_us, to_us=min(lapse.to_us, from_us + WINDOW_US))


def unfilled(home: Path, shard: int, since: int) -> list[Lapse]:
    """Return the pieces of lapses of trades that a shard's log tells of, from an hour on, and of no fill of them.

    Raises CorruptError. Cost: one read of the flush files of those hours.
    """
    lapses: dict[Lapse, None] = {}
    filled: set[tuple[int, int, int]] = set()
    for number in paths.hours(home, shard):
        if number >= since:
            hour = Hour(paths.hour_dir(home, shard, number), shard, number)
            hour.poll()
            lapses |= {piece: None for lapse in hour.lapses if lapse.channel == CHANNEL for piece in pieces(lapse)}
            filled |= {(fill.conn, fill.from_us, fill.to_us) for fill in hour.fills if fill.channel == CHANNEL}
    return [one for one in lapses if (one.conn, one.from_us, one.to_us) not in filled]


def recorded(home: Path, shard: int, from_us: int, to_us: int, trade_ids: Collection[str]) -> set[str]:
    """Return those of some trades that stand in a shard's log, as received in a stretch or learned since.

    Raises CorruptError. Cost: decodes one column of the trades of the hours of the stretch, and of later hours in which
    lapses were filled.
    """
    wanted = pa.array(list(trade_ids), pa.utf8())
    found: set[str] = set()
    for number in paths.hours(home, shard):
        if not len(wanted) or number < from_us // HOUR_US:
            continue
        hour = Hour(paths.hour_dir(home, shard, number), shard, number)
        hour.poll()
        if number > to_us // HOUR_US and not hour.fills:
            continue
        count = hour.batches("trades").count
        for start in range(0, count, _BATCHES):
            column = hour.decode("trades", np.arange(start, min(count, start + _BATCHES)), ["trade_id"])["trade_id"]
            found.update(column.filter(pc.is_in(column, wanted)).to_pylist())
    return found


def neighbours(lapses: Iterable[Lapse]) -> Iterator[list[Lapse]]:
    """Yield lapses in groups of neighbours that are asked for at once."""
    group: list[Lapse] = []
    for lapse in sorted(lapses, key=lambda one: (one.from_us, one.to_us)):
        if group:
            near = lapse.from_us <= max(one.to_us for one in group) + 2 * MARGIN_US
            if not near or lapse.to_us - group[0].from_us > WINDOW_US:
                yield group
                group = []
        group.append(lapse)
    if group:
        yield group
