"""A capture recorded as if it were received now: the real session and journal, offline, on the capture's own time.

Owns the clock, the answers that a venue would give to the subscriptions, and the flushes. Stamps are the capture's
times of receipt. Never judges a book: what is written is the session's, and where books ceased to be known the
capture's reader says so.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from book.records import HOUR_US, Reason
from book.wire import encode
from book.wire.commands import LIFECYCLE, ORDERBOOK, TRADE, Subscribe, Update, decode_command
from book.wire.rest import SeriesDoc
from cli.captured import BOOKS, LIVES, Captured, Cut, Frame
from cli.lessons import Lesson
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.journal import Journal
from collector.limits import Limits
from collector.links import WHOLE, Ended, Item
from collector.session import Session
from collector.versions import Versions

SHARD = 1000
"""The shard of imported logs: recorders take lower numbers."""
FLUSH_FRAMES = 16_384
BRIDGED_HOURS = 48
"""Hours without a frame that are recorded as silence; after a longer pause the books are given up."""
_SIDS = {ORDERBOOK: 1, TRADE: 2, LIFECYCLE: 3}


class Rerecording:
    """Write a capture as the log of shard SHARD under ``home``; its rows are the same whenever it is done."""

    def __init__(
        self,
        captured: Captured,
        lessons: Sequence[Lesson],
        home: Path,
        *,
        close_us: Mapping[str, int | None],
        pause_s: float,
    ) -> None:
        """``close_us`` are close times of markets, where known; ``lessons`` are told at their instants.

        A pause of the whole capture of more than ``pause_s`` is a silence, in which no book is complete.
        """
        self._captured = captured
        self._pause_us = int(pause_s * 1_000_000)
        self._now_us = min(captured.first_us.values())
        self._heard_us = self._now_us
        self._hour = self._now_us // HOUR_US
        self._journal = Journal(home, SHARD, seal_s=1e9, monotonic_s=lambda: 0.0)
        limits = Limits(silence_s=pause_s, most_markets=max(20_000, len(captured.first_us)))
        stamper = Stamper(self._now_us, self._now_us * 1000)
        self._session = Session(stamper, ConnNumbers(SHARD), random.Random(1), limits)
        self._link = 0
        self._seqs: dict[int, int] = {}
        self._batch: list[Item] = []
        self._session.metadata.loaded(Versions())
        self._ahead = sorted(lessons, key=lambda one: one.at_us, reverse=True)
        for ticker in captured.first_us:
            self._session.list_market(ticker, None, close_us.get(ticker))

    def run(self) -> Counter[str]:
        """Record everything and close the log; return what was counted: snapshots, closes by reason, quarantined."""
        try:
            for happening in self._captured.happenings():
                if isinstance(happening, Cut):
                    self._cut(happening)
                else:
                    self._go_to(max(self._now_us, happening.at_us))
                    self._take(happening)
            self._end(Reason.SHUTDOWN)
            while self._ahead:
                self._go_to(self._ahead[-1].at_us)
            self._flush()
        finally:
            self._journal.close()
        closes = {f"closed: {reason}": count for reason, count in self._session.spans.closes.items()}
        return self._session.intake.counts + Counter(closes)

    # time

    def _go_to(self, at_us: int) -> None:
        """Let time pass: what is learned on the way is written in its hour, each hour flushed before the next."""
        while self._ahead and self._ahead[-1].at_us <= at_us:
            lesson = self._ahead.pop()
            self._pass_to(max(self._now_us, lesson.at_us))
            self._learn(lesson)
        self._pass_to(at_us)

    def _pass_to(self, at_us: int) -> None:
        hour = at_us // HOUR_US
        if hour != self._hour:
            self._flush()
            self._bridge(hour)
        self._now_us, self._hour = at_us, hour

    def _bridge(self, hour: int) -> None:
        """Record the hours between while a book is known: nothing was heard in them, and they say so."""
        if not self._live():
            return
        if hour - self._hour > BRIDGED_HOURS:
            self._end(Reason.STALL)
            return
        for between in range(self._hour + 1, hour):
            self._now_us, self._hour = between * HOUR_US, between
            self._flush()

    def _live(self) -> bool:
        link = self._session.links.get(self._link)
        book = link.book if link else None
        return book is not None and bool(len(self._session.spans.live_on(book)))

    # the connection

    def _open(self) -> None:
        """Connect and subscribe every market, all at this instant."""
        self._link += 1
        self._seqs = dict.fromkeys(_SIDS.values(), 0)
        self._session.opened(self._link, 0, self._now_us * 1000, WHOLE)
        answers = [b""]
        while answers:
            self._session.tick(self._now_us * 1000, self._now_us)
            answers = [self._answer(command) for _, command in self._session.commands()]
            self._feed([(self._link, self._now_us * 1000, answer) for answer in answers])

    def _answer(self, data: bytes) -> bytes:
        command = decode_command(data)
        if isinstance(command, Subscribe):
            return encode.subscribed(command.id, command.channels[0], _SIDS[command.channels[0]])
        assert isinstance(command, Update)  # noqa: S101 - a subscription that is answered at once asks for nothing else
        return encode.ok(command.id, _SIDS[ORDERBOOK], self._next(_SIDS[ORDERBOOK]))

    def _next(self, sid: int) -> int:
        self._seqs[sid] += 1
        return self._seqs[sid]

    def _end(self, reason: Reason) -> None:
        """End the connection after the last that was heard on it, whose own instant is still known."""
        self._feed_batch()
        if self._link in self._session.links:
            self._feed([(self._link, (self._heard_us + 1) * 1000, Ended(reason))])

    # what happens

    def _take(self, frame: Frame) -> None:
        if self._now_us - self._heard_us > self._pause_us and not self._live():
            self._end(Reason.SHUTDOWN)
        if self._link not in self._session.links:
            self._open()
        sid = _SIDS[ORDERBOOK if frame.kind in BOOKS else LIFECYCLE if frame.kind in LIVES else TRADE]
        data = encode.sequenced(frame.kind, sid, self._next(sid), frame.body)
        if len(self._batch) >= FLUSH_FRAMES and self._now_us != self._heard_us:
            self._feed_batch()  # not among frames of one instant: a later one of them would be stamped after it
            self._journal.write(self._hour, self._session.take())
        self._batch.append((self._link, self._now_us * 1000, data))
        self._heard_us = self._now_us

    def _cut(self, cut: Cut) -> None:
        self._feed_batch()
        link = self._session.links.get(self._link)
        if link is None or link.book is None:
            return
        spans = self._session.spans
        for ticker in cut.tickers:
            spans.unsubscribed(link.book, spans.market(ticker), cut.at_us, link.book.tracker.last, cut.reason)
        spans.given_up.clear()

    def _feed_batch(self) -> None:
        batch, self._batch = self._batch, []
        self._feed(batch)

    def _feed(self, items: list[Item]) -> None:
        for _ in self._session.feed(items):
            pass  # all of one hour, which is flushed as a whole

    def _flush(self) -> None:
        self._feed_batch()
        self._session.stamp(self._now_us * 1000)
        self._journal.write(self._hour, self._session.take())

    # metadata

    def _learn(self, lesson: Lesson) -> None:
        event = lesson.event
        series = SeriesDoc(ticker=event.series_ticker, category=event.category)
        metadata = self._session.metadata
        after_us = self._now_us + 1  # known after every message so far
        metadata.learn([series] if event.series_ticker else [], after_us)
        metadata.learn([event, lesson.market], after_us)
        metadata.tick(self._now_us)
