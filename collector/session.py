"""The session of one shard: what arrives on its links, in order, becomes rows and commands.

Owns links, silences, the end of links, the timers of markets and what each flush says of conns. Sans-IO: bytes and
monotonic readings in, record batches and commands out; the shell owns sockets, clocks and files.
"""

import heapq
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from book.records import HOUR_US, Reason
from book.wire.commands import encode_command
from collector.asks import NS, Asks, Stage
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.intake import Intake, Note
from collector.links import Ended, Item, Link, Mark
from collector.rows import TableRows
from collector.spans import NEVER_US, Spans

MIDNIGHT_A_PART = 200
CLOSED_GRACE_US = HOUR_US
TIDY_EVERY_NS = 60 * NS

Ints = npt.NDArray[np.int64]


class Limits(NamedTuple):
    """Time-outs in machine seconds, and the bound on markets of one subscription."""

    silence_s: float = 2.5
    watchdog_s: float = 15.0
    audit_every_s: float = 900.0
    most_markets: int = 20_000


class Taken(NamedTuple):
    """What goes into one flush.

    ``conns`` maps a conn to (last frame heard us, last seq, up, numbers that stand in no table); ``silences`` are
    (conn, from us, to us), half-open; ``close_hours`` the hours in which closes among the rows are stamped; ``at_us``
    the last stamp given.
    """

    tables: dict[str, Any]
    conns: dict[int, tuple[int, int, bool, int]]
    silences: list[tuple[int, int, int]]
    close_hours: set[int]
    at_us: int


class Session:
    """Everything a shard knows, between the sockets and the journal."""

    def __init__(self, stamper: Stamper, numbers: ConnNumbers, rng: random.Random, limits: Limits) -> None:
        self._stamper = stamper
        self._rng = rng
        self._limits = limits
        self._silences: list[tuple[int, int, int]] = []
        self._openings: list[tuple[int, str]] = []
        self._endings: list[tuple[int, str]] = []
        self._times: dict[str, tuple[int, int]] = {}
        self._listed: dict[str, None] = {}
        self._over: dict[str, None] = {}
        self._tidied_ns = 0
        self._without_room = 0
        self.links: dict[int, Link] = {}
        self.spans = Spans()
        self.intake = Intake(self.spans, numbers)
        self.metadata = {table: TableRows(table) for table in ("markets", "events", "series")}
        self.dead: dict[int, Reason] = {}

    def opened(self, link_id: int, port: int, now_ns: int) -> None:
        """Subscribe on a connection that stands; ``port`` is its local port."""
        asks = Asks(self._rng, most_markets=self._limits.most_markets, audit_every_s=self._limits.audit_every_s)
        asks.open(now_ns)
        asks.want(self._listed)
        self.links[link_id] = Link(link_id, port, asks, now_ns, self._stamper.peek(now_ns))

    def list_market(self, ticker: str, open_us: int | None, close_us: int | None) -> None:
        """Record a market's book from its opening to its end; times in microseconds, None where unknown.

        Telling a market again with other times is how a changed close_time is learned.
        """
        market = self.spans.market(ticker)
        one = self.spans.state[market]
        if one["finished"]:
            return
        times = (open_us or 0, NEVER_US if close_us is None else close_us)
        if self._times.get(ticker) == times:
            return
        self._times[ticker] = times
        one["close_us"] = times[1]
        heapq.heappush(self._openings, (times[0], ticker))
        heapq.heappush(self._endings, (times[1], ticker))

    def finish_market(self, ticker: str) -> None:
        """Note that a market has its result: its book is over, whether or not the message that said so arrived.

        It takes effect with the next tick, when all that was received before is in the spans.
        """
        if ticker in self._times:
            self._over[ticker] = None

    def feed(self, items: Sequence[Item]) -> Iterator[int]:
        """Take what arrived, in order; yield each hour touched when its items are in, to be flushed before the next."""
        if not items:
            return
        mono_ns = np.array([item[1] for item in items], np.int64)
        stamps = self._stamper.stamp(mono_ns)
        for start, end in _stretches(stamps // HOUR_US):
            for first, last in self._unbroken(items, mono_ns, start, end):
                self._part(items[first:last], mono_ns[first:last], stamps[first:last])
            yield int(stamps[start]) // HOUR_US

    def clock(self, wall_us: int, now_ns: int) -> None:
        """Compare the stamps with the wall clock; a step ends every span once. Call between feeds."""
        last_us = self._stamper.last_us
        if self._stamper.observe(wall_us, now_ns):
            self.spans.clock_step(last_us)
            self.intake.notes.append(("clock_step", {"offset_us": self._stamper.offset_us}))
            self.intake.missing(*self.links.values())

    def tick(self, now_ns: int, now_us: int) -> None:
        """Do what time asks for: openings, ends, missing books, audits, midnight, dead links.

        ``now_us`` is the time shown; call between feeds, several times a second. What has arrived up to ``now_ns`` has
        been fed.
        """
        self._take_endings(now_ns)
        self._open_and_close(now_us)
        for link in self.links.values():
            if now_ns - link.heard_ns > int(self._limits.watchdog_s * NS):
                self.dead.setdefault(link.id, Reason.STALL)
            link.asks.tick(now_ns)
            if link.asks.hopeless:
                self.dead.setdefault(link.id, Reason.DISCONNECT)
        without_room = sum(link.asks.without_room for link in self.links.values())
        if without_room != self._without_room:
            self._without_room = without_room
            self.intake.notes.append(("without_room", {"markets": without_room}))
        if now_ns - self._tidied_ns >= TIDY_EVERY_NS:
            self._tidied_ns = now_ns
            for conn in self.spans.conns.values():
                conn.forget_ended()

    def commands(self) -> list[tuple[int, bytes]]:
        """Take the commands to send, each with its link."""
        out = []
        for link in self.links.values():
            out += [(link.id, encode_command(command)) for command in link.asks.out]
            link.asks.out.clear()
        return out

    def take(self) -> Taken:
        """Take everything since the last flush."""
        tables, hours = self.spans.take()
        for name, rows in self._tables():
            batch = rows.take()
            if batch is not None:
                tables[name] = batch
        up = [conn for link in self.links.values() for conn in link.conns.values() if conn.up]
        conns = {conn.id: (conn.frame_us, conn.tracker.last, conn.up, conn.apart) for conn in (*self.intake.ended, *up)}
        for conn in self.intake.ended:
            self.spans.conns.pop(conn.id, None)
        self.intake.ended = []
        silences, self._silences = self._silences, []
        return Taken(tables, conns, silences, hours, self._stamper.claim())

    def notes(self) -> list[Note]:
        """Take what happened that an operator should read."""
        notes, self.intake.notes = self.intake.notes, []
        return notes

    @property
    def lifecycles(self) -> int:
        """How many lifecycle subscriptions have begun: before each of them messages may have been missed."""
        return self.intake.lifecycles

    def changed(self) -> list[str]:
        """Take the tickers whose metadata may have changed."""
        changed, self.intake.changed = list(self.intake.changed), {}
        return changed

    def look_again(self, tickers: Iterable[str]) -> None:
        """Put tickers back that were taken from ``changed`` and not looked at."""
        self.intake.changed |= dict.fromkeys(tickers)

    def peek(self, now_ns: int) -> int:
        """Return the time shown now, in microseconds; what has arrived before may still be stamped earlier."""
        return self._stamper.peek(now_ns)

    def stamp(self, now_ns: int) -> int:
        """Return the stamp of a moment up to which everything has been fed: nothing later is stamped below it."""
        return self._stamper.stamp_one(now_ns)

    def _tables(self) -> Iterable[tuple[str, TableRows]]:
        yield "trades", self.intake.trades
        yield "lifecycle", self.intake.lifecycle
        yield "quarantine", self.intake.quarantine
        yield from self.metadata.items()

    def _open_and_close(self, now_us: int) -> None:
        while self._openings and self._openings[0][0] <= now_us:
            open_us, ticker = heapq.heappop(self._openings)
            if self._times.get(ticker, (None,))[0] != open_us:
                continue  # over, or told anew with another time
            self._listed[ticker] = None
            for link in self.links.values():
                link.asks.want((ticker,))
        while self._endings and self._endings[0][0] + CLOSED_GRACE_US < now_us:
            ticker = heapq.heappop(self._endings)[1]
            close_us = int(self.spans.state[self.spans.numbers[ticker]]["close_us"])
            if close_us + CLOSED_GRACE_US >= now_us:
                heapq.heappush(self._endings, (close_us, ticker))
                continue
            self._unlist(ticker)

    def _take_endings(self, now_ns: int) -> None:
        """Drop markets that are over, and expect the end of others when it is now said to be."""
        for ticker in self._over:
            self.spans.determined(self.spans.numbers[ticker], self._stamper.stamp_one(now_ns))
        for ticker in (*self.intake.finished, *self._over):
            self._times.pop(ticker, None)
            self._unlist(ticker)
        self._over.clear()
        for close_us, ticker in self.intake.rescheduled:
            if ticker in self._times:
                heapq.heappush(self._endings, (close_us, ticker))
        self.intake.finished, self.intake.rescheduled = [], []

    def _unlist(self, ticker: str) -> None:
        self._listed.pop(ticker, None)
        for link in self.links.values():
            link.asks.drop(ticker)

    def _unbroken(self, items: Sequence[Item], mono_ns: Ints, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Cut where a silence of a link ends and where something other than a frame or pong stands."""
        heard = {link.id: link.heard_ns for link in self.links.values()}
        limit_ns = int(self._limits.silence_s * NS)
        gaps = np.diff(mono_ns[start:end], prepend=min(heard.values(), default=int(mono_ns[start]))) > limit_ns
        marked: list[int] = []
        if not _all_frames(items[start:end]):
            marked = [i for i in range(start, end) if type(items[i][2]) is not bytes and items[i][2] is not Mark.PONG]
        cuts = {start, *marked, *(i + 1 for i in marked), *(start + np.flatnonzero(gaps)).tolist()}
        if len(heard) > 1:
            for i in range(start, end):
                link_id, at_ns, _ = items[i]
                if at_ns - heard.get(link_id, at_ns) > limit_ns:
                    cuts.add(i)
                heard[link_id] = at_ns
        ordered = sorted(cut for cut in cuts if cut < end)
        yield from zip(ordered, [*ordered[1:], end], strict=True)

    def _part(self, items: Sequence[Item], mono_ns: Ints, stamps: Ints) -> None:
        """Take a stretch without a silence: only frames and pongs, or one mark. Links take turns as things arrived."""
        for first, end in _turns(items):
            link = self.links.get(items[first][0])
            if link is None:
                continue
            payload = items[first][2]
            if isinstance(payload, Ended):
                self._end_link(link, payload.reason, int(stamps[first]))
                continue
            self._note_silence(link, int(mono_ns[first]), int(stamps[first]))
            if payload is Mark.OVERFLOW:
                self._overflow(link, int(stamps[first]))
            frames = [item[2] for item in items[first:end] if isinstance(item[2], bytes)]
            heard = stamps[first:end]
            if len(frames) < end - first:
                heard = heard[[isinstance(item[2], bytes) for item in items[first:end]]]
            if frames:
                self.intake.frames(link, frames, heard, int(mono_ns[end - 1]))
                link.queued_us = int(heard[-1])
            self._heard(link, int(mono_ns[end - 1]), int(stamps[end - 1]))

    def _heard(self, link: Link, mono_ns: int, ts_us: int) -> None:
        link.heard_ns, link.heard_us = mono_ns, ts_us
        for conn in link.conns.values():
            if conn.up:
                conn.frame_us = ts_us
        if link.book is not None:
            self.spans.midnight(link.book, MIDNIGHT_A_PART)

    def _note_silence(self, link: Link, mono_ns: int, ts_us: int) -> None:
        if mono_ns - link.heard_ns <= int(self._limits.silence_s * NS):
            return
        for conn in link.conns.values():
            if conn.up:
                self._silences.append((conn.id, conn.frame_us + 1, ts_us))
        self.intake.notes.append(("silence", {"link": link.id, "machine_ms": (mono_ns - link.heard_ns) // 1_000_000}))

    def _overflow(self, link: Link, ts_us: int) -> None:
        """Frames of this link were dropped: end its spans at the last message queued and take any number next."""
        self.intake.notes.append(("overflow", {"link": link.id}))
        for conn in link.conns.values():
            if conn.up:
                last_us = conn.frame_us if link.queued_us is None else link.queued_us
                self.spans.end_conn(conn, last_us, ts_us, conn.tracker.last, Reason.OVERFLOW)
                conn.tracker.expect_any()
        self.intake.missing(link)

    def _end_link(self, link: Link, reason: Reason, ts_us: int) -> None:
        for conn in link.conns.values():
            self.intake.end_conn(conn, conn.frame_us, ts_us, reason)
        self.spans.given_up.clear()
        del self.links[link.id]
        self.dead.pop(link.id, None)

    def waiting(self) -> int:
        """Return how many wanted books are unknown right now."""
        return sum(
            len(link.asks.roster.missing) if link.asks.stage is Stage.LIVE else len(link.asks.roster.wanted)
            for link in self.links.values()
        )


def _all_frames(items: Sequence[Item]) -> bool:
    """Say whether nothing but frames stands among the items. Cost: 30 ns an item."""
    return {type(item[2]) for item in items} == {bytes}


def _turns(items: Sequence[Item]) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each run of items of one link."""
    links = [item[0] for item in items]
    if links.count(links[0]) == len(links):
        yield 0, len(links)
    else:
        yield from _stretches(np.array(links, np.int64))


def _stretches(keys: Ints) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each run of equal keys."""
    cuts = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
    yield from pairwise(cuts)
