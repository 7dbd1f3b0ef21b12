"""One market's book at an instant.

Owns the question ``book_at``: the choice between shards, the refusals, and what an answer says of itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from book.digest import digest
from book.errors import ApiError, NegativeLevelError
from book.ladder import Book
from book.records import HOUR_US, Kind, Level
from lake import paths
from query import exchange_clock, refusal
from query.changes import changes_after
from query.coverage import known_market
from query.fold import fold
from query.gap import Gap, instant_text
from query.group import Group
from query.log import Log
from query.refusal import Finding
from query.rows import BookRows
from query.shard import ShardLog
from query.state import ENDS, Known, State, state_at

Clock = Literal["received", "exchange"]
OnGap = Literal["error", "last"]
_NEVER_US = 1 << 60


@dataclass(frozen=True, slots=True)
class BookAnswer:
    """A market's book at ``at_us`` and what it rests on; instants in microseconds since the epoch.

    ``complete`` says that this is the exchange's book at that instant; else ``gap`` says why not. ``conn`` and ``seq``
    are those of the last record applied. ``digest`` is of the whole book.
    """

    ticker: str
    at_us: int
    book: Book
    basis: Literal["checkpoint", "snapshot"]
    basis_at_us: int
    deltas_applied: int
    conn: int
    seq: int
    last_change_us: int
    known_until_us: int
    last_audit_us: int | None
    complete: bool
    gap: Gap | None
    digest: str


def book_at(
    log: Log,
    ticker: str,
    at_us: int | None = None,
    *,
    clock: Clock = "received",
    on_gap: OnGap = "error",
    as_of_us: int | None = None,
) -> BookAnswer:
    """Return a market's book at an instant, inclusive; without ``at_us`` the newest that is known.

    ``clock="exchange"`` reads ``at_us`` on the exchange's clock (query.exchange_clock); the newest book is the same
    on both. ``on_gap="last"`` answers an instant in a gap with the last known book before it, ``complete`` false.
    ``as_of_us`` reads published hours alone, in the versions that stood at that time of publication.
    Each shard's log is answered by itself: the complete answer of the lowest shard wins, the newest without ``at_us``.
    Raises ApiError: market_not_found, no_data_available (reason, earliest), data_gap (from, to, reason, last_known,
    next_known), not_yet_known (known_until), market_closed (closed_at, result), internal_error for a negative level.
    Raises CorruptError where a file is missing or damaged.
    Cost: decodes the batches or row groups that hold the market from its base to the instant.
    """
    with log.asked() as now:
        shards = now if as_of_us is None else _as_of(log, ticker, at_us, as_of_us)
        found: list[Finding] = []
        newest: BookAnswer | None = None
        for shard in shards:
            known = _known(shard, ticker, at_us, clock)
            if not isinstance(known, BookAnswer):
                found.append((shard, known))
            elif at_us is not None:
                return known
            elif newest is None or known.at_us > newest.at_us:
                newest = known
        if newest:
            return newest
        ts_us = log.now_us() if at_us is None else at_us
        error = refusal.refusal(log, ticker, ts_us, found, then=as_of_us is not None)
        last = _last_known(ticker, ts_us, found) if on_gap == "last" and error.code == "data_gap" else None
        if last:
            return last
        raise error


def _as_of(log: Log, ticker: str, at_us: int | None, as_of_us: int) -> Sequence[ShardLog]:
    """Return the shards as they stood published at a time. Raises ApiError where the instant's hour was not yet."""
    known_market(log, ticker)
    shards = log.as_of(as_of_us)
    hours = {hour for shard in shards for hour in shard.hour_numbers()}
    if not hours if at_us is None else paths.hour_of(at_us) not in hours:
        message = f"no hour was published by {instant_text(as_of_us)}"
        if at_us is not None:
            message = f"the hour of {instant_text(at_us)} was not published by {instant_text(as_of_us)}"
        raise ApiError("no_data_available", message, reason="not_published", earliest=None)
    return shards


def _known(shard: ShardLog, ticker: str, at_us: int | None, clock: Clock) -> BookAnswer | State | exchange_clock.Lapsed:
    """Return one shard's complete answer, else what it knows instead."""
    if at_us is not None and clock == "exchange":
        exact = exchange_clock.state_at(shard, ticker, at_us)
        if isinstance(exact, exchange_clock.Run):
            return _described(shard, ticker, at_us, exact.base, exact.rows, exact.changes)
        return exact
    ts_us = _newest_us(shard, ticker) if at_us is None else at_us
    state = state_at(shard, ticker, ts_us)
    return _answer(shard, ticker, ts_us, state.base) if isinstance(state, Known) else state


def _newest_us(shard: ShardLog, ticker: str) -> int:
    """Return the last instant that a market's newest group can speak for."""
    top = next(shard.history(ticker).descending(_NEVER_US), None)
    if top is None:
        return _NEVER_US
    known_us = shard.known_until(top.conn, top.ts_us) or top.ts_us
    return max(known_us, top.ts_us) if top.kind == Kind.CLOSE else known_us


def _answer(shard: ShardLog, ticker: str, ts_us: int, base: Group) -> BookAnswer:
    rows, changes = changes_after(shard, ticker, base, ts_us)
    return _described(shard, ticker, ts_us, base, rows, changes)


def _described(shard: ShardLog, ticker: str, ts_us: int, base: Group, rows: BookRows, changes: BookRows) -> BookAnswer:
    try:
        levels: list[Level] = fold(rows, changes)
    except NegativeLevelError as error:
        message = f"{ticker} at {instant_text(ts_us)} has a negative level; the book was withheld"
        raise ApiError("internal_error", message) from error
    return BookAnswer(
        ticker=ticker,
        at_us=ts_us,
        book=Book(levels),
        basis="snapshot" if base.kind == Kind.SNAPSHOT else "checkpoint",
        basis_at_us=base.ts_us,
        deltas_applied=len(changes),
        conn=base.conn,
        seq=int(changes.seq[-1]) if len(changes) else base.seq,
        last_change_us=int(changes.ts_us[-1]) if len(changes) else _last_change_us(shard, ticker, base),
        known_until_us=shard.known_until(base.conn, base.ts_us) or base.ts_us,
        last_audit_us=_last_audit_us(shard, ticker, base, ts_us),
        complete=True,
        gap=None,
        digest=digest(levels),
    )


def _last_change_us(shard: ShardLog, ticker: str, base: Group) -> int:
    """Return when a base's book last changed: an hour's first checkpoint states a book older than its stamp."""
    if base.kind == Kind.SNAPSHOT or base.ts_us % HOUR_US:
        return base.ts_us
    history = shard.history(ticker)
    for hour in history.hours_down(paths.hour_of(base.ts_us) - 1):
        changed = [group.ts_us for group in history.settled(hour).groups if group.kind == Kind.SNAPSHOT]
        last_us = shard.book(hour).last_change_us(ticker)
        if changed or last_us is not None:
            return max([*changed, *([] if last_us is None else [last_us])])
    return base.ts_us


def _last_audit_us(shard: ShardLog, ticker: str, base: Group, ts_us: int) -> int | None:
    """Return the stamp of the last equal audit at or before an instant.

    It is looked for since the base's conn began, and since the market was last taken up.
    """
    began = paths.hour_of((base.conn >> 10) * 1000)
    hour = shard.first_down(paths.hour_of(ts_us))
    while hour is not None and hour >= began:
        book = shard.book(hour)
        found_us, before = book.last_audit(ticker, ts_us)
        if found_us is not None:
            return found_us if paths.hour_of(found_us) >= began else None
        if not before or not (book.version or _stood(shard, ticker, paths.hour_start_us(hour))):
            break
        hour = shard.first_down(hour - 1)
    return None


def _stood(shard: ShardLog, ticker: str, ts_us: int) -> bool:
    """Say whether a market was being followed or missed just before an instant."""
    top = next(shard.history(ticker).descending(ts_us - 1), None)
    return top is not None and not (top.kind == Kind.CLOSE and top.reason in ENDS)


def _last_known(ticker: str, ts_us: int, found: list[Finding]) -> BookAnswer | None:
    """Return the last known book before a gap that every shard has, None where there is no such gap or book."""
    gap = refusal.common_gap(found)
    for shard, state in found:
        if gap is None or gap.last_known_us is None:
            return None
        if isinstance(state, exchange_clock.Lapsed):
            run = state.run
            answer = _described(shard, ticker, ts_us, run.base, run.rows, run.changes)
            return replace(answer, complete=False, gap=gap)
        known = state_at(shard, ticker, gap.last_known_us)
        if isinstance(known, Known):
            answer = _answer(shard, ticker, gap.last_known_us, known.base)
            return replace(answer, at_us=ts_us, complete=False, gap=gap)
    return None
