"""What is known of a market at an instant: the rule of the log, points 4 to 6.

Owns the choice of the base, and the reason where there is none. Reads groups only, never changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

from book.records import OPENS_NO_GAP, Kind, Reason
from query.gap import Gap
from query.group import Group
from query.shard import ShardLog

ENDS = frozenset({Reason.MARKET_CLOSED, Reason.UNSUBSCRIBED})
"""Closes after which a market is no longer followed."""
_MOST_NEIGHBOURS = 10_000


@dataclass(frozen=True, slots=True)
class Known:
    """The book is the fold of ``base`` and the changes after it."""

    base: Group


@dataclass(frozen=True, slots=True)
class Unheard:
    """The base's conn has not been heard up to the instant yet."""

    conn: int
    known_until_us: int | None


@dataclass(frozen=True, slots=True)
class Missing:
    """The instant lies in a gap."""

    gap: Gap


@dataclass(frozen=True, slots=True)
class Ended:
    """The market was over: ``closed_us`` is the stamp of its last close."""

    closed_us: int


@dataclass(frozen=True, slots=True)
class Unwanted:
    """The market was no longer subscribed to, from ``since_us`` on."""

    since_us: int


@dataclass(frozen=True, slots=True)
class Before:
    """Nothing of the market stands at or before the instant; ``earliest_us`` is its first known instant."""

    earliest_us: int | None


State = Known | Unheard | Missing | Ended | Unwanted | Before


def state_at(log: ShardLog, ticker: str, ts_us: int) -> State:
    """Return what one shard's log knows of a market at an instant, inclusive.

    Cost: a few lookups where the base is in the instant's hour; earlier hours are indexed as far as needed.
    """
    history = log.history(ticker)
    groups = history.descending(ts_us)
    top = next(groups, None)
    if top is None:
        later = (group for group in history.ascending(ts_us) if group.kind != Kind.CLOSE)
        first = next(later, None)
        return Before(first.ts_us if first else None)
    if top.kind == Kind.CLOSE:
        return _closed(log, ticker, ts_us, top, groups)
    silence = log.silence(top.conn, ts_us)
    if silence:
        return Missing(Gap(ticker, silence[0], silence[1], Reason.STALL, top.conn))
    known_until_us = log.known_until(top.conn, top.ts_us)
    if known_until_us is None or ts_us > known_until_us:
        return Unheard(top.conn, known_until_us)
    return Known(top)


def bounded(log: ShardLog, gap: Gap) -> Gap:
    """Return a gap with the nearest instants at which the book is known, on both sides. Cost: a state each."""
    return replace(gap, last_known_us=_last_known(log, gap), next_known_us=_next_known(log, gap))


def _closed(log: ShardLog, ticker: str, ts_us: int, top: Group, earlier: Iterator[Group]) -> State:
    closes = [top]
    for group in earlier:
        if group.kind != Kind.CLOSE:
            break
        closes.append(group)
    over = next((close for close in closes if close.reason == Reason.MARKET_CLOSED), None)
    if over:
        return Ended(over.ts_us)
    if top.reason == Reason.UNSUBSCRIBED:
        return Unwanted(top.ts_us)
    since = list(takewhile(lambda close: close.reason != Reason.UNSUBSCRIBED, closes))
    first = next((close for close in reversed(since) if close.reason not in OPENS_NO_GAP), since[-1])
    to_us = None
    for group in log.history(ticker).ascending(ts_us):
        if group.kind != Kind.CLOSE or group.reason in ENDS:
            to_us = group.ts_us
            break
    return Missing(Gap(ticker, first.ts_us, to_us, first.reason or "", first.conn))


def _last_known(log: ShardLog, gap: Gap) -> int | None:
    for _ in range(_MOST_NEIGHBOURS):
        before_us = gap.from_us - 1
        state = state_at(log, gap.ticker, before_us)
        if isinstance(state, Known):
            return before_us
        if not isinstance(state, Missing):
            return None
        gap = state.gap
    return None


def _next_known(log: ShardLog, gap: Gap) -> int | None:
    for _ in range(_MOST_NEIGHBOURS):
        if gap.to_us is None:
            return None
        state = state_at(log, gap.ticker, gap.to_us)
        if isinstance(state, Known):
            return gap.to_us
        if not isinstance(state, Missing):
            return None
        gap = state.gap
    return None
