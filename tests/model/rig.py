"""One shard's collector in a simulated machine: the venue, the real session, the real journal, and the oracle's record.

Owns the order of things, as the recorder has it: what has arrived is fed, flushed, and only then is the next taken. The
books are spread over three connections; trades and lifecycle messages have one each.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from book.records import HOUR_US, Reason
from collector.conns import ConnNumbers
from collector.journal import Journal
from collector.limits import Limits
from collector.links import Ended, Item, Mark, Slot
from collector.raw_archive import begin
from collector.session import Session
from tests.model.frames import Life
from tests.model.oracle import Oracle
from tests.model.times import MACHINE_US, NS, Shown, WatchedStamper
from tests.model.venue import Agenda, Fact, Venue

BOOK_LINKS = 3
Arrived = tuple[int, int, bytes | Mark | Ended, Fact]
Told = tuple[str, tuple[Any, ...]]
Flushed = Callable[["Rig"], None]


class Rig:
    """Run a shard; ``flushed`` is called after every flush, when the oracle knows exactly what the log holds."""

    def __init__(
        self,
        home: Path,
        lives: list[Life],
        shown: Shown,
        rng: random.Random,
        *,
        limits: Limits,
        flushed: Flushed = lambda _: None,
        shard: int = 0,
        agenda: Agenda | None = None,
        batch_ms: tuple[int, int] = (20, 400),
        raw: bool = False,
    ) -> None:
        self.home, self.shard, self.shown, self.rng = home, shard, shown, rng
        self.limits = limits._replace(connections=BOOK_LINKS, most_markets=-(-len(lives) // BOOK_LINKS))
        self.agenda = agenda or Agenda()
        self.oracle = Oracle()
        self.happened: Counter[str] = Counter()
        self.closes: Counter[str] = Counter()
        self.flushes = 0
        self.wall_off_us = 0
        self.links = 0
        self.slots: dict[int, Slot] = {}
        self._dialing: set[Slot] = set()
        self.up = True
        self._flushed, self._batch_ms, self._raw = flushed, batch_ms, raw
        self._inbox: list[Arrived] = []
        self._dropping: dict[int, int] = {}
        self._finished: set[str] = set()
        self._told: list[Told] = []
        self._flushed_ns = 0
        self.venue = Venue(self.agenda, rng, lives, shown, self.machine_us, self._arrive, self._snap_ns)
        self._start()
        for life in lives:
            self.agenda.at(life.from_ns + rng.randint(0, 900) * 1_000_000, self._list, life)
        self.agenda.at(self.agenda.now_ns, self._turn)

    # the machine

    def machine_us(self, now_ns: int) -> int:
        return MACHINE_US + now_ns // 1000

    def wall_us(self) -> int:
        return self.machine_us(self.agenda.now_ns) + self.wall_off_us

    def shown_us(self) -> int:
        return self.shown.at(self.wall_us())

    def close(self) -> None:
        if self.session.tap is not None:
            self.archive.close()
        self.journal.close()

    # what the shell does

    def connect(self, slot: Slot) -> None:
        """Connect for a slot; the session subscribes."""
        self.links += 1
        self._dialing.discard(slot)
        if self.up:
            link = self.links
            self.slots[link] = slot
            self.venue.connect(link)
            self.session.opened(link, 40_000 + link, self.agenda.now_ns, slot)
            self._told.append(("opened", (link, self.agenda.now_ns)))

    def dial(self, slot: Slot, in_ms: int) -> None:
        """Connect for a slot after a while, unless that is under way."""
        if slot not in self._dialing:
            self._dialing.add(slot)
            self.agenda.at(self.agenda.now_ns + in_ms * 1_000_000, self.connect, slot)

    def end(self, link: int, reason: Reason, reconnect_ms: int | None) -> None:
        """End a connection, which is heard after all that has arrived on it."""
        wire = self.venue.wires[link]
        if (
            not self.up
            or link not in self.session.links
            or any(item[0] == link and isinstance(item[2], Ended) for item in self._inbox)
        ):
            return
        wire.up = False
        self._inbox.append((link, self.agenda.now_ns, Ended(reason), Fact("ended")))
        if reconnect_ms is not None:
            self.dial(self.slots[link], reconnect_ms)

    def drop_next(self, link: int, count: int) -> None:
        """Let the queue be full for the next frames of a link."""
        self._dropping[link] = count

    def crash(self, restart_ms: int) -> None:
        """Die: what no flush names is lost, though some of it may have reached the disk."""
        if not self.up:
            return
        self.up = False
        self._inbox.clear()
        self._told.clear()
        for wire in self.venue.wires.values():
            wire.up = False
        if self.rng.random() < 0.5:
            self._half_written()
        kill(self.journal)
        if self._raw:
            self.archive._behind.shutdown()
            for writer in self.archive._open.values():
                assert writer is not None
                writer.close(sync=False)
        self._told.append(("crashed", ()))
        self.agenda.at(self.agenda.now_ns + restart_ms * 1_000_000, self._restart)

    def _start(self) -> None:
        now_ns = self.agenda.now_ns
        self.journal = Journal(self.home, self.shard, seal_s=3.0, monotonic_s=lambda: self.agenda.now_ns / NS)
        self.stamper = WatchedStamper(self.wall_us(), now_ns, self.shown, self.journal.last_us + 1)
        numbers = ConnNumbers(self.shard, self.journal.last_conn)
        self.session = Session(self.stamper, numbers, self.rng, self.limits)
        if self._raw:
            start_us = self.session.stamp(now_ns)
            self.archive = begin(
                self.session,
                start_us,
                journal=self.journal,
                home=self.home,
                shard=self.shard,
                days=7,
                published=lambda _: False,
                log=self._archive_failed,
            )

    def _restart(self) -> None:
        self._dropping.clear()
        self._start()
        self.up = True
        self.closes["crash"] += self.journal.close_crashed(self.session.stamp(self.agenda.now_ns) // HOUR_US)
        self.session.intake.feeds.resume(self.journal.feeds)
        self._tell()
        for life in self.venue.lives.values():
            if life.ticker in self.venue.truth and life.ticker not in self.venue.determined:
                self._list(life)

    def _list(self, life: Life) -> None:
        if self.up:
            open_us = self.shown.at(self.machine_us(life.from_ns))
            close_us = None if life.to_ns is None else self.shown.at(self.machine_us(life.to_ns))
            self.session.list_market(life.ticker, open_us, close_us)
            self._told.append(("listed", (life.ticker, close_us)))

    def _arrive(self, link: int, payload: bytes | Mark, fact: Fact) -> None:
        """Take what arrives on a socket; while the queue is full frames are dropped, as the connection does."""
        if not self.up or link not in self.session.links or not self.venue.wires[link].up:
            return
        if link in self._dropping:
            self.happened["dropped by the queue"] += 1
            self._dropping[link] -= 1
            if self._dropping[link] <= 0:
                del self._dropping[link]
                self._inbox.append((link, self.agenda.now_ns, Mark.OVERFLOW, Fact("overflow")))
            return
        self._inbox.append((link, self.agenda.now_ns, payload, fact))
        if self.rng.random() < 0.01:  # a flush may fall between two that arrive in one microsecond
            self._take_turn()

    def _turn(self) -> None:
        slow_disk = self.rng.random() < 0.01
        wait_ms = self.rng.randint(*((1500, 4000) if slow_disk else self._batch_ms))
        self.agenda.at(self.agenda.now_ns + wait_ms * 1_000_000, self._turn)
        if self.up:
            self._take_turn()

    def _take_turn(self) -> None:
        now_ns = self.agenda.now_ns
        arrived, self._inbox = self._inbox, []
        for hour, group in self._feed(arrived):
            self._told += group
            self._flush(hour)
        last_us = self.stamper.last_us
        self.session.clock(self.wall_us(), now_ns)
        if self.stamper.stepped:
            self.happened["clock step"] += 1
            self._told.append(("stepped", (last_us,)))
        self._tick()
        for link, reason in list(self.session.dead.items()):
            self.end(link, reason, self.rng.randint(5, 300))
        standing = {self.slots[link] for link in self.session.links if self.venue.wires[link].up}
        for slot in self.session.slots():
            if slot not in standing:
                self.dial(slot, self.rng.randint(0, 300))
        for link, command in self.session.commands():
            self.venue.command(link, command)
        if now_ns - self._flushed_ns > 900_000_000 or self.rng.random() < 0.1:
            self._flush(self.session.stamp(now_ns) // HOUR_US)
        self.session.notes()

    def _tick(self) -> None:
        """Let time do its part, and the listing, which tells the ends of markets that nobody heard."""
        for ticker in sorted(self.venue.determined - self._finished):
            if self.rng.random() < 0.1:
                self._finished.add(ticker)
                self.session.finish_market(ticker)
        over, listed = list(self.session.markets.over), set(self.session.seating.homes)
        self.session.tick(self.agenda.now_ns, self.shown_us())
        self._told += [("finish", (ticker, self.stamper.last_us)) for ticker in over]
        self._told += [("dropped", (ticker,)) for ticker in sorted(listed.difference(self.session.seating.homes))]

    def _feed(self, arrived: list[Arrived]) -> Iterator[tuple[int, list[Told]]]:
        """Feed the session; yield each hour with what the oracle is told of it."""
        items: list[Item] = [(link, at_ns, payload) for link, at_ns, payload, _ in arrived]
        feeding = self.session.feed(items)
        at = 0
        for hour in feeding:
            if not at:
                stamps = self.stamper.given.tolist()
            group: list[Told] = []
            while at < len(items) and stamps[at] // HOUR_US == hour:
                group.append(_told(arrived[at], stamps[at]))
                at += 1
            yield hour, group
        assert at == len(items), "every item belongs to an hour that was yielded"

    def _flush(self, hour: int) -> None:
        taken = self.session.take()
        self._archived(hour)
        self.journal.write(hour, taken)
        self._flushed_ns = self.agenda.now_ns
        self.closes.update({reason.value: count for reason, count in self.session.spans.closes.items()})
        self.session.spans.closes.clear()
        self._tell()
        self.flushes += 1
        self._flushed(self)

    def _archived(self, hour: int) -> None:
        if self.session.tap is not None:
            self.archive.write(self.session.tap.take(hour, self.journal.next_flush))

    @staticmethod
    def _archive_failed(_event: str, **fields: Any) -> None:
        raise AssertionError(fields)

    def _tell(self) -> None:
        """Tell the oracle what has become durable."""
        for name, args in self._told:
            getattr(self.oracle, name)(*args)
        self._told.clear()

    def _snap_ns(self, at_ns: int) -> int:
        """Let some of what arrives just before an hour's first instant arrive on it, or a microsecond later."""
        ahead_us = self.stamper.ahead_us() - MACHINE_US
        rest_us = (at_ns // 1000 + ahead_us) % self.shown.hour_us
        left_us = self.shown.hour_us - rest_us
        if left_us < 12_000 and self.rng.random() < 0.4:
            return (at_ns // 1000 + left_us + self.rng.choice((0, 0, 1))) * 1000
        return at_ns

    def _half_written(self) -> None:
        """Leave on disk what a dying process may: rows without their acknowledgement, a torn acknowledgement."""
        self.happened["crash in a write"] += 1
        taken = self.session.take()
        if self.journal._hour >= 0:
            self._archived(self.journal._hour)
            for table, batch in taken.tables.items():
                self.journal._append(table, batch)
        if self.journal._flush is not None and self.rng.random() < 0.5:
            os.write(self.journal._flush._fd, b'{"n":1000000,"at_us"')


def _told(arrived: Arrived, ts_us: int) -> Told:
    link, at_ns, payload, fact = arrived
    if isinstance(payload, Ended):
        return ("ended", (link, ts_us))
    if payload is Mark.OVERFLOW:
        return ("overflowed", (link, ts_us, at_ns))
    return ("heard", (link, ts_us, at_ns, fact))


def kill(journal: Journal) -> None:
    """Drop a journal as a dead process does: descriptors close, nothing is written or sealed."""
    for one in journal._open.values():
        os.close(one.writer._fd)
    if journal._flush is not None:
        journal._flush.close()
    journal._fence.close()
