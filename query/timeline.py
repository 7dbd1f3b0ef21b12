"""One market's life in one shard's log: spans, and the gaps between and within them.

Owns the reading of the rule for all instants at once; query.state reads it for one, and both must agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from book.records import OPENS_NO_GAP, Kind, Reason
from query.gap import Gap
from query.group import Group
from query.history import History
from query.intervals import Intervals
from query.shard import ShardLog, shard_of
from query.state import ENDS

_FOR_EVER_US = 1 << 60
_BEGINNING_US = -(1 << 60)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch [from_us, to_us) in which a market's book was followed on one conn.

    ``to_us`` and ``end_reason`` are None while it goes on; it is known until ``known_until_us``. ``last_seq`` is
    the seq of the close, None while it goes on. Silences inside it are gaps, not ends.
    """

    shard: int
    conn: int
    from_us: int
    to_us: int | None
    end_reason: str | None
    first_seq: int
    last_seq: int | None
    known_until_us: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """The spans and gaps of a market in one shard, ascending; ``known`` are the stretches of complete books.

    ``switches`` are gaps of no length where the record goes on from another shard's: the book is known on both sides,
    and that the changes follow on one another is not claimed.
    """

    spans: list[Span]
    gaps: list[Gap]
    known: Intervals
    switches: list[Gap]


def timeline(log: ShardLog, ticker: str) -> Timeline:
    """Return a market's life in one shard's record. Cost: a walk over its groups, in every hour that has some."""
    return _walked(log, ticker, log.history(ticker).whole(), _FOR_EVER_US)


def window(log: ShardLog, ticker: str, from_us: int, to_us: int) -> Timeline:
    """Return the part of a market's life that touches [from_us, to_us): its gaps whole, ``known`` right inside alone.

    Where no span was met by then, the first one after it too. A span is told from a base at or before ``from_us`` on,
    and as unended where it goes on past ``to_us``. Cost: as timeline, of the hours from that base to the end of the gap
    at ``to_us``.
    """
    history = log.history(ticker)
    return _walked(log, ticker, history.ascending(_known_before(log, history, from_us) - 1), to_us)


def _walked(log: ShardLog, ticker: str, groups: Iterator[Group], to_us: int) -> Timeline:
    walk = _Walk(log, ticker, to_us)
    for ts_us, stamp in groupby(groups, key=lambda group: group.ts_us):
        if ts_us >= to_us and walk.at_rest(ts_us):
            break
        walk.take(list(stamp))
    return walk.finish()


def _known_before(log: ShardLog, history: History, ts_us: int) -> int:
    """Return an instant up to another at which a base decides and no silence is; where there is none, the beginning."""
    above: Group | None = None
    for group in history.descending(ts_us):
        decides = group.kind != Kind.CLOSE and (above is None or above.ts_us != group.ts_us)
        if decides and log.silence(group.conn, group.ts_us) is None:
            return group.ts_us
        above = group
    return _BEGINNING_US


class _Walk:
    """Take the groups of a market stamp by stamp; what is known past ``to_us`` does not matter."""

    def __init__(self, log: ShardLog, ticker: str, to_us: int) -> None:
        self._log = log
        self._ticker = ticker
        self._to_us = to_us
        self._spans: list[Span] = []
        self._gaps: list[Gap] = []
        self._known = Intervals()
        self._switches: list[Gap] = []
        self._base: Group | None = None
        self._gap: Gap | None = None
        self._over = False

    def at_rest(self, ts_us: int) -> bool:
        """Say whether the first span was met, and nothing from an instant past ``to_us`` on bears on a gap before."""
        if self._base is None:
            return self._gap is None and bool(self._spans)
        held = self._log.silence(self._base.conn, self._to_us - 1)
        return held is None or held[1] <= ts_us

    def take(self, groups: list[Group]) -> None:
        """Take in all groups of one stamp: the last one decides from there on, the others say why."""
        for group in groups[:-1]:
            if group.kind == Kind.CLOSE:
                self._close(group)
        last = groups[-1]
        if last.kind == Kind.CLOSE:
            self._close(last)
            return
        if self._base is not None and self._base.conn != last.conn:
            switched = shard_of(self._base.conn) != shard_of(last.conn)
            self._end(last.ts_us, Reason.SHARD_SWITCH if switched else Reason.MOVED, None)
            if switched:
                self._switches.append(Gap(self._ticker, last.ts_us, last.ts_us, Reason.SHARD_SWITCH, last.conn))
        if self._base is None:
            self._end_gap(last.ts_us)
            self._base = last
            self._over = False

    def finish(self) -> Timeline:
        """Return what was gathered; what is still open stays so."""
        if self._base is not None:
            self._end(None, None, None)
        if self._gap is not None:
            self._gaps.append(self._gap)
        self._gaps.sort(key=lambda gap: gap.from_us)
        return Timeline(self._spans, self._gaps, self._known, self._switches)

    def _close(self, close: Group) -> None:
        if self._base is not None:
            self._end(close.ts_us, close.reason, close.seq)
        if close.reason in ENDS:
            self._end_gap(close.ts_us)
            self._over |= close.reason == Reason.MARKET_CLOSED
        elif self._over:
            return
        elif self._gap is None or (self._gap.reason in OPENS_NO_GAP and close.reason not in OPENS_NO_GAP):
            self._end_gap(close.ts_us)
            self._gap = Gap(self._ticker, close.ts_us, None, close.reason or "", close.conn)

    def _end(self, to_us: int | None, reason: str | None, seq: int | None) -> None:
        base = self._base
        assert base is not None  # noqa: S101 - for the type checker: callers have looked
        self._base = None
        heard_us = self._log.known_until(base.conn, base.ts_us)
        last_us = base.ts_us - 1 if heard_us is None else heard_us
        known_to_us = last_us + 1 if to_us is None else min(to_us, last_us + 1)
        if to_us is not None and to_us <= base.ts_us:
            return
        span = Span(shard_of(base.conn), base.conn, base.ts_us, to_us, reason, base.seq, seq, known_to_us - 1)
        self._spans.append(span)
        quiet = Intervals(self._log.silences(base.conn, base.ts_us, self._limit_us(base.conn, known_to_us)))
        self._gaps += [Gap(self._ticker, *silence, Reason.STALL, base.conn) for silence in quiet]
        for from_us, until_us in quiet.missing(base.ts_us, known_to_us):
            self._known.add(from_us, until_us)

    def _limit_us(self, conn: int, known_to_us: int) -> int:
        """Return up to where silences matter: to the end of one that the stretch ends in."""
        if known_to_us <= self._to_us:
            return known_to_us
        held = self._log.silence(conn, self._to_us - 1)
        return min(known_to_us, held[1]) if held else self._to_us

    def _end_gap(self, to_us: int) -> None:
        if self._gap is not None and self._gap.from_us < to_us:
            self._gaps.append(replace(self._gap, to_us=to_us))
        self._gap = None
