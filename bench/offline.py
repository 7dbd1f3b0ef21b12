"""A tape written as a log by the real session and journal, without sockets and in its own time.

Owns the synthetic clock: stamps are the tape's times, a flush takes what came within 50 ms, as in the collector. The
log ends with its connection, and goes on into the next hour, so that every hour of the tape has its END.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from bench import tape
from bench.venue import Venue
from book.records import Reason
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.journal import Journal
from collector.limits import Limits
from collector.links import WHOLE, Ended, Item
from collector.recorder import BATCH_FRAMES, BATCH_S
from collector.session import Session
from lake import paths
from ops.settings import Settings

LINK = 1
LEAD_US = 2_000_000
"""How long before the first message the books are subscribed; below a silence, above what the asking takes."""
TICK_US = 100_000
LONGEST_PAUSE_US = 1_000_000
"""Pauses of the tape are cut to this: a collector pings each second, and the log has no silence."""
_MONO_NS = 1_000_000_000_000
_BATCH_US = int(BATCH_S * 1_000_000)


def stamps_us(played: tape.Tape) -> list[int]:
    """Return the stamp that each message gets: its time with long pauses cut short, on the clock of the first."""
    found: list[int] = []
    at_us = before_us = played.times_us[0]
    for time_us in played.times_us:
        at_us += min(time_us - before_us, LONGEST_PAUSE_US)
        before_us = time_us
        found.append(at_us)
    return found


class _Clock:
    """Synthetic time: stamps in microseconds, and monotonic readings that agree with them."""

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self.now_us = start_us

    def mono_ns(self, at_us: int | None = None) -> int:
        """Return the monotonic reading of a stamp, else of now."""
        return _MONO_NS + ((self.now_us if at_us is None else at_us) - self._start_us) * 1000


def record(played: tape.Tape, home: Path) -> None:
    """Write a tape as the log of shard 0 under ``home``. Cost: under 1 ms a flush in memory, 20 flushes a second."""
    stamps = stamps_us(played)
    clock = _Clock(stamps[0] - LEAD_US)
    journal = Journal(home, 0, seal_s=Settings().seal_s, monotonic_s=lambda: clock.mono_ns() / 1e9)
    limits = Limits(most_markets=len(played.books))
    session = Session(Stamper(clock.now_us, clock.mono_ns()), ConnNumbers(0), random.Random(1), limits)
    for ticker in played.books:
        session.list_market(ticker, None, clock.now_us)
    session.opened(LINK, 1, clock.mono_ns(), WHOLE)
    venue = Venue(played)
    while session.intake.counts["snapshots"] < len(played.books):
        clock.now_us += TICK_US
        session.tick(clock.mono_ns(), clock.now_us)
        answers = [frame for _, command in session.commands() for frame in venue.answer(command)]
        _flush(session, journal, [(LINK, clock.mono_ns(), frame) for frame in answers])
    assert clock.now_us < stamps[0], "subscribing took longer than the lead"
    for batch in _batches(stamps, tape.frames(played, venue.next_seq)):
        clock.now_us = batch[-1][0]
        _flush(session, journal, [(LINK, clock.mono_ns(at_us), body) for at_us, body in batch])
    _flush(session, journal, [(LINK, clock.mono_ns(stamps[-1] + 1), Ended(Reason.SHUTDOWN))])
    clock.now_us = paths.hour_start_us(paths.hour_of(stamps[-1]) + 1) + _BATCH_US
    journal.write(paths.hour_of(session.stamp(clock.mono_ns())), session.take())
    journal.close()


def _batches(stamps: list[int], frames: Iterator[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """Yield what one flush takes: frames with their stamps."""
    batch: list[tuple[int, bytes]] = []
    for at_us, frame in zip(stamps, frames, strict=True):
        if batch and (at_us >= batch[0][0] + _BATCH_US or len(batch) == BATCH_FRAMES):
            yield batch
            batch = []
        batch.append((at_us, frame))
    yield batch


def _flush(session: Session, journal: Journal, items: list[Item]) -> None:
    for hour in session.feed(items):
        journal.write(hour, session.take())
