"""What is known of a market at an instant of the exchange's clock.

Owns the reading of ``clock="exchange"``: of a span's records in seq order, the longest run whose running maximum of
ts_exch is at most the instant. It is final once the conn has shown a later ts_exch within the span. A checkpoint
carries its span's maximum; a snapshot its conn's, else its ts_recv. Bases are looked for up to 60 s of receipt past
the instant: the clocks are taken to differ by less; changes up to the later ts_exch that makes the run final, however
late it came. So silences do not matter here: what was held back arrives in order with its own stamps.

When a snapshot was taken is not known: after all that its conn showed before it, and before the next it shows. What
changed in between and never arrived (the market was not subscribed to yet, or the frames were lost) stands in it all
the same. So a span speaks for instants from the first ts_exch that its conn shows after the snapshot, or from 60 s
after its receipt; between the spans is a gap.
"""

from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from book.records import HOUR_US, Kind, Reason
from lake.journal.reader import NO_INSTANT
from query.changes import changes_after
from query.clocks import Past
from query.gap import Gap
from query.group import Group
from query.rows import BookRows
from query.shard import ShardLog, shard_of
from query.state import Before, Ended, Unheard, Unwanted

LOOK_US = 60_000_000
_FOR_EVER_US = 1 << 60
_EVERY_SEQ = 1 << 62


@dataclass(frozen=True, slots=True)
class Run:
    """The book is the fold of a base's own ``rows`` and the run of ``changes`` after it."""

    base: Group
    rows: BookRows
    changes: BookRows


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The instant lies in a gap between spans; ``run`` is all that its span knew."""

    gap: Gap
    run: Run


def state_at(shard: ShardLog, ticker: str, ts_us: int) -> Run | Lapsed | Before | Ended | Unwanted | Unheard:
    """Return what one shard's log knows of a market at an instant of the exchange's clock, inclusive.

    Cost: decodes the market's rows from the base to 60 s past the instant, or to the end of a silence there, and a
    batch or two of its conn; of a published hour five columns, once while they are kept.
    """
    horizon_us = ts_us + LOOK_US
    base = _base(shard, ticker, ts_us, horizon_us)
    if isinstance(base, Before):
        return base
    proof = _first_past(shard, base, ts_us)
    heard_us = max(horizon_us, proof.ts_us if proof else 0)
    close, next_us = _end(shard, ticker, base, heard_us)
    if close and close.reason == Reason.SHARD_SWITCH:
        heard_us = min(heard_us, close.ts_us)
        proof = proof if proof and proof.ts_us <= close.ts_us else None
    rows, changes = changes_after(shard, ticker, base, heard_us, exchange=True)
    if close:
        changes = changes.where(changes.seq <= close.seq)
    reached = np.maximum.accumulate(np.maximum(changes.exch_us, _exchange_us(base)))
    length = int(np.searchsorted(reached, ts_us, side="right"))
    run = Run(base, rows, changes.take(slice(0, length)))
    if length < len(changes) or (proof and (close is None or proof.seq <= close.seq)):
        return run
    if close is None:
        return Unheard(base.conn, _greatest_shown(shard, base))
    if close.reason == Reason.MARKET_CLOSED:
        return Ended(close.ts_us)
    if close.reason == Reason.UNSUBSCRIBED:
        return Unwanted(close.ts_us)
    last_us = max(_shown_until(shard, close), int(reached[-1]) if len(reached) else _exchange_us(base))
    return Lapsed(Gap(ticker, last_us, next_us, close.reason or "", base.conn, last_us - 1, next_us), run)


def _exchange_us(base: Group) -> int:
    return base.ts_us if base.exch_us == NO_INSTANT else base.exch_us


def _base(shard: ShardLog, ticker: str, ts_us: int, horizon_us: int) -> Group | Before:
    """Return the last base received by the horizon whose span speaks for an instant of the exchange."""
    base: Group | None = None
    opener: Group | None = None
    history = shard.history(ticker)
    for group, older in pairwise(chain(history.descending(horizon_us), (None,))):
        assert group is not None  # noqa: S101 - for the type checker: only the last one is none
        if base is not None and group.ts_us <= ts_us - LOOK_US:
            return base
        if group.kind == Kind.CLOSE:
            base = base if base is not None and group.conn != base.conn else None
        elif group.kind == Kind.SNAPSHOT or (older is not None and _switches(older, group)):
            if _speaks_from_us(shard, group) <= ts_us:
                return base or group
            base, opener = None, group
        elif base is None and group.exch_us != NO_INSTANT and group.exch_us <= ts_us:
            base = group
    if opener is None:
        opener = next((group for group in history.ascending(horizon_us) if group.kind == Kind.SNAPSHOT), None)
    return Before(_speaks_from_us(shard, opener) if opener else None)


def _switches(older: Group, newer: Group) -> bool:
    """Say whether the record goes on from another shard's between two groups."""
    return shard_of(older.conn) != shard_of(newer.conn)


def _speaks_from_us(shard: ShardLog, snapshot: Group) -> int:
    """Return the first instant of the exchange's clock that a snapshot's span speaks for."""
    return max(_exchange_us(snapshot), min(_next_shown_us(shard, snapshot), snapshot.ts_us + LOOK_US))


def _next_shown_us(shard: ShardLog, snapshot: Group) -> int:
    """Return the first ts_exch that a snapshot's conn shows after it."""
    for hour in shard.hours_between(snapshot.ts_us, snapshot.ts_us + 2 * LOOK_US):
        clock = shard.book(hour).clock(snapshot.conn)
        shown_us = clock.after(snapshot) if clock else None
        if shown_us is not None:
            return shown_us
    return _FOR_EVER_US


def _end(shard: ShardLog, ticker: str, base: Group, until_us: int) -> tuple[Group | None, int | None]:
    """Return the close of a base's span, if received by an instant, and what instant the span after it speaks from."""
    close: Group | None = None
    for group in shard.history(ticker).ascending(base.ts_us - 1):
        if close is None and group.ts_us > until_us:
            break
        if close is None and group.key > base.key and _switches(base, group):
            # What its conn brought from here on stands nowhere: only what was received before proves anything.
            close = base._replace(ts_us=group.ts_us - 1, seq=_EVERY_SEQ, kind=Kind.CLOSE, reason=Reason.SHARD_SWITCH)
            if group.kind != Kind.CLOSE:
                return close, _speaks_from_us(shard, group)
        if group.kind == Kind.CLOSE:
            if close is None and group.conn == base.conn and group.key > base.key:
                close = group
        elif close is not None and group.kind == Kind.SNAPSHOT:
            return close, _speaks_from_us(shard, group)
    return close, None


def _first_past(shard: ShardLog, base: Group, ts_us: int) -> Past | None:
    """Return the first change of the base's conn, in seq order, whose ts_exch is past an instant.

    One received more than 60 s before the instant cannot be: the clocks do not differ by that much.
    """
    for hour in shard.hours_of_conn(base.conn, max(base.ts_us, ts_us - LOOK_US)):
        clock = shard.book(hour).clock(base.conn)
        past = clock.past(ts_us) if clock else None
        if past:
            return past
    return None


def _greatest_shown(shard: ShardLog, base: Group) -> int | None:
    """Return the greatest ts_exch that a base's conn has shown so far."""
    for hour in reversed(shard.hours_of_conn(base.conn, base.ts_us)):
        clock = shard.book(hour).clock(base.conn)
        if clock:
            return clock.greatest()
    return None if base.exch_us == NO_INSTANT else base.exch_us


def _shown_until(shard: ShardLog, close: Group) -> int:
    """Return the greatest ts_exch of a conn's changes up to the seq of a close."""
    began_us = (close.conn >> 10) * 1000
    for hour in reversed(shard.hours_between(began_us - HOUR_US, close.ts_us)):
        clock = shard.book(hour).clock(close.conn)
        shown_us = clock.greatest(close) if clock else None
        if shown_us is not None:
            return shown_us
    return NO_INSTANT
