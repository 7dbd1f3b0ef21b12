"""The session of one shard: what arrives on its links, in order, becomes rows and commands.

Owns links, silences, the end of links, the opening and the end of markets and what each flush says of conns. Sans-IO:
bytes and monotonic readings in, record batches and commands out; the shell owns sockets, clocks and files.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from book.records import DAY_US, HOUR_US, Reason
from book.wire.commands import encode_command
from collector.answers import Note
from collector.asks import Asks
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.cutting import stretches, unbroken
from collector.figures import Figures
from collector.intake import Intake
from collector.limits import Limits, VenueStatus
from collector.links import Ended, Item, Link, Mark, Slot, channels_of
from collector.markets import FORGOTTEN_AFTER_US, Markets
from collector.metadata import Metadata
from collector.raw import Tap
from collector.rota import NS
from collector.rows import TableRows
from collector.seating import Seat, Seating
from collector.spans import Spans
from collector.taken import Taken

MIDNIGHT_A_PART = 200
MIDNIGHT_WITHIN_US = 60_000_000
"""A conn heard so long past midnight has the checkpoint of every live book."""
TIDY_EVERY_NS = 60 * NS
UNHEARD_NS = 3 * NS // 2
"""A link on which nothing has been heard for so long, pongs included, is sent nothing: its commands would only wait."""
PONGS_MISSED = 4
"""A link is dead when no pong has come for so many watchdog times, whatever else comes: it may not hear us."""

Ints = npt.NDArray[np.int64]


class Session:
    """Everything a shard knows, between the sockets and the journal."""

    def __init__(self, stamper: Stamper, numbers: ConnNumbers, rng: random.Random, limits: Limits) -> None:
        self._stamper = stamper
        self._rng = rng
        self.limits = limits
        self._venue = VenueStatus()
        self._silences: list[tuple[int, int, int]] = []
        self._tidied_ns = 0
        self._forget = False
        self._without_room = 0
        self._reconnects = self._audits_asked = self._refused = 0
        self.seating = Seating(limits.connections, limits.most_markets)
        self.links: dict[int, Link] = {}
        self.spans = Spans()
        self.metadata = Metadata()
        self.intake = Intake(self.spans, numbers, self.metadata, combos=limits.combos)
        self.dead: dict[int, Reason] = {}
        self.markets = Markets(self.seating, self.spans, self.intake, self.links)

    @property
    def tap(self) -> Tap | None:
        """What notes all that is taken in, for the archive of raw frames; set before anything is."""
        return self.markets.tap

    @tap.setter
    def tap(self, tap: Tap | None) -> None:
        self.markets.tap = tap

    # connections

    def slots(self) -> list[Slot]:
        """Return which connections should stand now, most important first. Cost: their number."""
        return self.seating.slots()

    def opened(self, link_id: int, port: int, now_ns: int, slot: Slot) -> None:
        """Subscribe on a connection that stands; ``port`` is its local port."""
        seat = self.seating.opened(slot, link_id, now_ns)
        self._reconnects += seat.links > 1
        asks = self._asks(seat, slot)
        asks.open(now_ns)
        asks.want(seat.members)
        link = self.links[link_id] = Link(link_id, port, asks, now_ns, self._stamper.peek(now_ns), slot=slot)
        if self.tap is not None:
            self.tap.opened(link_id, port=port, ns=now_ns, us=link.heard_us, number=slot.number, role=slot.role.value)
            self.tap.wanted(link_id, seat.members)

    def turned_away(self, slot: Slot, status: int) -> None:
        """Note that the venue refused a connection, with the HTTP status; 429: what stands is all there may be."""
        self.seating.turned_away(slot, status)

    def venue(self, status: VenueStatus) -> None:
        """Note how the venue stands: while it pauses, a connection that ends is no fault, and nothing is escalated."""
        self._venue, self.markets.halted = status, status.halted
        for link in self.links.values():
            link.asks.excuse()

    # markets

    def list_market(self, ticker: str, open_us: int | None, close_us: int | None, exchange_index: int = 0) -> None:
        """Record a market's book from its opening to its end; times in microseconds, None where unknown.

        Telling a market again with other times is how a changed close_time is learned.
        """
        self.markets.list_market(ticker, open_us, close_us, exchange_index)

    def finish_market(self, ticker: str) -> None:
        """Note that a market has its result: its book is over, whether or not the message that said so arrived.

        It takes effect with the next tick, when all that was received before is in the spans.
        """
        self.markets.finish(ticker)

    # what arrives

    def feed(self, items: Sequence[Item]) -> Iterator[int]:
        """Take what arrived, in order; yield each hour touched when its items are in, to be flushed before the next."""
        if not items:
            return
        mono_ns = np.array([item[1] for item in items], np.int64)
        stamps = self._stamper.stamp(mono_ns)
        self.intake.take_learned(int(stamps[0]))
        silence_ns = int(self.limits.silence_s * NS)
        for start, end in stretches(stamps // HOUR_US):
            heard_ns = {link.id: link.heard_ns for link in self.links.values()}
            for first, last in unbroken(items, mono_ns, start, end, heard_ns, silence_ns):
                self._part(items[first:last], mono_ns[first:last], stamps[first:last])
            yield int(stamps[start]) // HOUR_US

    def part(self, items: Sequence[Item], mono_ns: Ints, stamps: Ints) -> None:
        """Take frames and pongs of any links, in order of arrival and without a silence among them, or one overflow."""
        links = [self.links[one] for one in dict.fromkeys(item[0] for item in items) if one in self.links]
        numbers = {link.id: number for number, link in enumerate(links)}
        of = np.array([numbers.get(item[0], -1) for item in items], np.int64)
        places = [np.flatnonzero(of == number) for number in range(len(links))]
        for link, its in zip(links, places, strict=True):
            self._hears(link, int(mono_ns[its[0]]), int(stamps[its[0]]))
        if items[0][2] is Mark.OVERFLOW:
            for link in links:
                self._overflow(link, int(stamps[0]))
        framed = np.array([type(item[2]) is bytes for item in items], np.bool_) & (of >= 0)
        if framed.any():
            frames: list[Any] = [items[place][2] for place in np.flatnonzero(framed).tolist()]
            self.intake.frames(links, of[framed], frames, stamps[framed], int(mono_ns[-1]))
        for link, its in zip(links, places, strict=True):
            last = its[framed[its]]
            if len(last):
                link.queued_us = int(stamps[last[-1]])
            pongs = [place for place in its[~framed[its]].tolist() if items[place][2] is Mark.PONG]
            if pongs:
                link.pong_ns = int(mono_ns[pongs[-1]])
            self._heard(link, int(mono_ns[its[-1]]), int(stamps[its[-1]]))

    def end_link(self, link: Link, reason: Reason, ts_us: int) -> None:
        """End a link: its conns' spans close at the last frame heard on it."""
        for conn in link.conns.values():
            self.intake.end_conn(conn, conn.frame_us, ts_us, reason)
        given_up = [self.spans.names[market] for market in self.spans.given_up]
        self.spans.given_up.clear()
        for other in self.links.values():  # another that is older than the one that took its markets over
            book = other.book
            if other is not link and book is not None:
                other.asks.outlived(ticker for ticker in given_up if book.id < self.spans.last_conn(ticker))
        self.seating.ended(link.slot, link.id, vain=link.asks.vain)
        self._audits_asked += link.asks.audits_asked
        self._refused += link.asks.refused_as_too_many
        del self.links[link.id]
        self.dead.pop(link.id, None)

    def clock(self, wall_us: int, now_ns: int) -> None:
        """Compare the stamps with the wall clock; a step ends every span once. Call between feeds."""
        last_us = self._stamper.last_us
        if self._stamper.observe(wall_us, now_ns):
            if self.tap is not None:
                self.tap.stepped(last_us)
            self.spans.clock_step(last_us)
            self.intake.feeds.stepped(last_us)
            self.intake.notes.append(("clock_step", {"offset_us": self._stamper.offset_us}))
            self.intake.missing(*self.links.values())

    # time

    def tick(self, now_ns: int, now_us: int) -> None:
        """Do what time asks for: openings, ends, missing books, audits, dead links.

        ``now_us`` is the time shown; call between feeds, several times a second. What has arrived up to ``now_ns`` has
        been fed. Cost: the number of links, and what is due; every minute one pass over the markets.
        """
        self.markets.take_endings(self._stamper.stamp_one(now_ns) if self.markets.over else 0, now_us)
        self.markets.open_and_close(now_us)
        self.markets.place(now_ns)
        for link in self.links.values():
            self._tick_link(link, now_ns)
        without_room = len(self.seating.homeless) + sum(len(link.asks.roster.later) for link in self.links.values())
        if without_room != self._without_room:
            self._without_room = without_room
            self.intake.notes.append(("without_room", {"markets": without_room}))
        if self.metadata.unjudged:
            self.metadata.tick(self._stamper.stamp_one(now_ns))
        if now_ns - self._tidied_ns >= TIDY_EVERY_NS:
            self._tidied_ns = now_ns
            self._tidy(now_us)

    def commands(self) -> list[tuple[int, bytes]]:
        """Take the commands to send, each with its link."""
        out = []
        for link in self.links.values():
            out += [(link.id, encode_command(command)) for command in link.asks.out]
            if self.tap is not None:
                for command in link.asks.out:
                    self.tap.sent(link.id, command, link.heard_ns)
            link.asks.out.clear()
        return out

    # what is told

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
        feeds, lapses = self.intake.feeds.take()
        fills, self.intake.fills = self.intake.fills, []
        taken = Taken(tables, conns, silences, hours, self._stamper.claim(), feeds, lapses, fills)
        if self._forget:
            self._forget = False
            self.markets.forget(taken.at_us)
        return taken

    def notes(self) -> list[Note]:
        """Take what happened that an operator should read."""
        notes = list(self.intake.notes)
        self.intake.notes.clear()
        return notes

    def figures(self) -> Figures:
        """Return the totals and how things stand. Cost: one pass over the markets."""
        used = self.spans.state[: len(self.spans.names)]
        asks = [link.asks for link in self.links.values()]
        standing = {link.slot: link for link in self.links.values()}
        return Figures(
            messages=dict(self.intake.messages),
            verdicts={word: self.intake.counts[word] for word in ("gap", "duplicate", "reset")},
            closes={reason.value: count for reason, count in self.spans.closes.items()},
            audits_equal=self.spans.compared[True],
            audits_unequal=self.spans.compared[False],
            audits_asked=self._audits_asked + sum(one.audits_asked for one in asks),
            reconnects=self._reconnects,
            commands_refused=self._refused + sum(one.refused_as_too_many for one in asks),
            listed=len(self.seating.homes),
            live=int(np.count_nonzero(used["live"])),
            waiting=sum(len(one.roster.missing) + len(one.roster.fresh) for one in asks),
            without_room=self._without_room,
            up={slot: slot in standing and standing[slot].stands for slot in self.slots()},
        )

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

    # how

    def _tables(self) -> Iterable[tuple[str, TableRows]]:
        yield "trades", self.intake.trades
        yield "tickers", self.intake.tickers
        yield "lifecycle", self.intake.lifecycle
        yield "quarantine", self.intake.quarantine
        yield from self.metadata.tables.items()

    def _asks(self, seat: Seat, slot: Slot) -> Asks:
        return Asks(
            self._rng,
            most_markets=seat.most,
            audit_every_s=self.limits.audit_every_s,
            channels=channels_of(slot.role, combos=self.limits.combos),
            muted=self.markets.muted,
            vain=seat.vain,
        )

    def _tick_link(self, link: Link, now_ns: int) -> None:
        watchdog_ns = int(self.limits.watchdog_s * NS)
        if now_ns - link.heard_ns > watchdog_ns:
            self.dead.setdefault(link.id, Reason.STALL)
        if link.pong_ns is not None and now_ns - link.pong_ns > PONGS_MISSED * watchdog_ns:
            self.dead.setdefault(link.id, Reason.DISCONNECT)
        if now_ns - link.heard_ns > UNHEARD_NS:
            return
        link.asks.tick(now_ns, patient=self._venue.paused)
        if self.tap is not None:
            for command_id in link.asks.gave_up:
                self.tap.expired(link.id, command_id)
        link.asks.gave_up.clear()
        if link.asks.hopeless:
            self.dead.setdefault(link.id, Reason.DISCONNECT)

    def _tidy(self, now_us: int) -> None:
        """Forget what nothing can reach any more; markets when their rows have been taken."""
        for conn in self.spans.conns.values():
            conn.forget_ended()
        for ticker, over_us in list(self.intake.over.items()):
            if over_us > now_us - FORGOTTEN_AFTER_US:
                break
            del self.intake.over[ticker]
        self._forget = True

    def _part(self, items: Sequence[Item], mono_ns: Ints, stamps: Ints) -> None:
        payload = items[0][2]
        if not isinstance(payload, Ended):
            if self.tap is not None:
                self.tap.part(items, mono_ns, stamps)
            self.part(items, mono_ns, stamps)
            return
        link = self.links.get(items[0][0])
        if link is not None:
            paused = self._venue.paused and payload.reason in (Reason.DISCONNECT, Reason.STALL)
            reason = Reason.VENUE_PAUSE if paused else payload.reason
            if self.tap is not None:
                self.tap.ended(link.id, reason, int(stamps[0]))
            self.end_link(link, reason, int(stamps[0]))

    def _hears(self, link: Link, mono_ns: int, ts_us: int) -> None:
        """Note the end of a silence of a link, and give what is awaited the time that it took."""
        for conn in link.conns.values():
            self.intake.feeds.heard(conn, ts_us)
        quiet_ns = mono_ns - link.heard_ns
        if quiet_ns > UNHEARD_NS:
            link.asks.stalled(quiet_ns)
        if quiet_ns <= int(self.limits.silence_s * NS):
            return
        for conn in link.conns.values():
            if conn.up:
                self._silences.append((conn.id, conn.frame_us + 1, ts_us))
                self.intake.feeds.missed(conn, conn.frame_us, ts_us, Reason.STALL)
        self.intake.notes.append(("silence", {"link": link.id, "machine_ms": quiet_ns // 1_000_000}))

    def _heard(self, link: Link, mono_ns: int, ts_us: int) -> None:
        link.heard_ns, link.heard_us = mono_ns, ts_us
        for conn in link.conns.values():
            if conn.up:
                conn.frame_us = ts_us
        if link.book is not None:
            late = link.book.frame_us % DAY_US > MIDNIGHT_WITHIN_US
            self.spans.midnight(link.book, len(self.spans.names) if late else MIDNIGHT_A_PART)

    def _overflow(self, link: Link, ts_us: int) -> None:
        """Frames of this link were dropped: end its spans at the last message queued and take any number next."""
        self.intake.notes.append(("overflow", {"link": link.id}))
        for conn in link.conns.values():
            if conn.up:
                last_us = conn.frame_us if link.queued_us is None else link.queued_us
                self.spans.end_conn(conn, last_us, ts_us, conn.tracker.last, Reason.OVERFLOW)
                self.intake.feeds.overflowed(conn, last_us, ts_us)
                conn.tracker.expect_any()
        self.intake.missing(link)
