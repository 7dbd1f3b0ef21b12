"""What is known of markets over time: spans, gaps, audits, and how much of a market's life was recorded.

Owns the view over all shards: a gap is what no shard knows. Never folds a book.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from book.errors import ApiError
from book.records import Reason
from query import cursor as cursors
from query.catalog import MarketVersion
from query.gap import Gap
from query.intervals import Intervals
from query.log import Log
from query.shard import ShardLog
from query.timeline import Span, Timeline, timeline, window

_FOR_EVER_US = 1 << 60
_LAST_HOUR = 1 << 40
_AUDIT_FIELDS = ("conn", "seq", "digest_ours", "digest_venue", "equal")


@dataclass(frozen=True, slots=True)
class Audit:
    """A comparison of our book with the venue's."""

    ts_us: int
    conn: int
    seq: int
    digest_ours: str
    digest_venue: str
    equal: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """How much of a market was recorded; ``recorded_pct`` is of its life so far.

    Counts and ``last_data_us`` are of what was received; of published hours, of what stands.
    """

    first_data_us: int | None
    last_data_us: int | None
    recorded_pct: float | None
    snapshot_count: int
    delta_count: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """A market's recorded life."""

    ticker: str
    spans: list[Span]
    gaps: list[Gap]
    audits: list[Audit]
    stats: Stats
    known_until_us: int | None


@dataclass(frozen=True, slots=True)
class GapPage:
    """A page of gaps, ascending by (from_us, ticker)."""

    gaps: list[Gap]
    next_cursor: str | None
    has_more: bool


@dataclass(frozen=True, slots=True)
class Ledger:
    """What all shards together know of a market."""

    spans: list[Span]
    gaps: list[Gap]
    known: Intervals


def coverage(log: Log, ticker: str) -> Coverage:
    """Return a market's spans, gaps, audits and counts.

    Raises ApiError market_not_found. Cost: a walk over the market's groups in every hour; decodes its audits.
    """
    with log.asked() as shards:
        market = known_market(log, ticker)
        found = ledger(log, ticker, shards)
        audits = [audit for shard in shards for audit in _audits(shard, ticker)]
        return Coverage(
            ticker=ticker,
            spans=found.spans,
            gaps=found.gaps,
            audits=sorted(audits, key=lambda audit: (audit.ts_us, audit.conn, audit.seq)),
            stats=stats(log, ticker, market, found),
            known_until_us=max((span.known_until_us for span in found.spans), default=None),
        )


def gaps(
    log: Log, start_us: int, end_us: int, *, ticker: str | None = None, limit: int = 100, cursor: str | None = None
) -> GapPage:
    """Return the gaps of one market or all that overlap [start_us, end_us).

    Raises ApiError market_not_found, invalid_cursor. Cost: a walk over the groups of every market asked about.
    """
    asked = cursors.question("gaps", ticker or "*")
    with log.asked():
        after, pin = (-_FOR_EVER_US, "", ""), log.pin()
        if cursor is not None:
            place = cursors.decode(cursor, asked)
            after, pin = (place.ts_us, *place.text.partition(" ")[::2]), place.pin
        if ticker is not None:
            known_market(log, ticker)
        shards = log.pinned(pin)
        tickers = [ticker] if ticker is not None else sorted(set().union(*(shard.tickers() for shard in shards)))
        found = [
            ((gap.from_us, gap.ticker, gap.reason), gap)
            for each in tickers
            for gap in _gaps_within(log, shards, each, start_us, end_us)
            if gap.from_us < end_us and (gap.to_us is None or gap.to_us > start_us)
        ]
        found.sort(key=lambda pair: pair[0])
        first = bisect_right(found, after, key=lambda pair: pair[0])
        page = [gap for _, gap in found[first : first + limit]]
        has_more = len(found) > first + limit
        return GapPage(page, _cursor_after(page[-1], asked, pin) if has_more and page else None, has_more)


def _gaps_within(log: Log, shards: Sequence[ShardLog], ticker: str, start_us: int, end_us: int) -> list[Gap]:
    """Return a market's gaps, all that touch a stretch among them."""
    if len(shards) > 1:
        return ledger(log, ticker, shards).gaps
    lines = [window(shard, ticker, start_us, end_us) for shard in shards]
    market = log.catalog.markets.get(ticker)
    return [gap for line in lines for gap in (*late_start(ticker, market, line.spans), *line.gaps)]


def _cursor_after(gap: Gap, asked: int, pin: int) -> str:
    return cursors.encode(cursors.Cursor(asked, 0, gap.from_us, 0, 0, 0, f"{gap.ticker} {gap.reason}", pin))


def known_market(log: Log, ticker: str) -> MarketVersion | None:
    """Return a market's metadata, None where it was recorded without. Raises ApiError market_not_found."""
    market = log.catalog.markets.get(ticker)
    if market is None and not any(shard.knows(ticker) for shard in log.shards):
        raise ApiError("market_not_found", f"no market has the ticker {ticker}")
    return market


def ledger(log: Log, ticker: str, shards: Sequence[ShardLog]) -> Ledger:
    """Return what shards know of a market: a gap is what none of them knows."""
    lines = [line for line in (timeline(shard, ticker) for shard in shards) if line.spans or line.gaps]
    market = log.catalog.markets.get(ticker)
    known = Intervals(sorted(part for line in lines for part in line.known))
    spans = sorted((span for line in lines for span in line.spans), key=lambda span: (span.from_us, span.shard))
    return Ledger(spans, [*late_start(ticker, market, spans), *_common_gaps(lines, known)], known)


def stats(log: Log, ticker: str, market: MarketVersion | None, found: Ledger) -> Stats:
    """Return how much of a market was recorded. Cost: a look at each hour with records of it."""
    tallies = [
        shard.book(hour).tally(ticker) for shard in log.shards for hour in shard.history(ticker).hours_down(_LAST_HOUR)
    ]
    return Stats(
        first_data_us=found.spans[0].from_us if found.spans else None,
        last_data_us=max((tally.last_us for tally in tallies if tally.last_us is not None), default=None),
        recorded_pct=_recorded_pct(log, market, found),
        snapshot_count=sum(tally.snapshots for tally in tallies),
        delta_count=sum(tally.deltas for tally in tallies),
    )


def _recorded_pct(log: Log, market: MarketVersion | None, found: Ledger) -> float | None:
    first_us = found.spans[0].from_us if found.spans else None
    open_us = market.open_us if market and market.open_us is not None else first_us
    if open_us is None:
        return None
    last_us = max((span.known_until_us for span in found.spans), default=open_us)
    close_us = market.close_us if market and market.close_us is not None else None
    end_us = min(close_us if close_us is not None else _FOR_EVER_US, max(log.now_us(), last_us))
    if end_us <= open_us:
        return None
    known_us = sum(to_us - from_us for from_us, to_us in found.known.within(open_us, end_us))
    return round(100 * known_us / (end_us - open_us), 2)


def late_start(ticker: str, market: MarketVersion | None, spans: list[Span]) -> list[Gap]:
    """Return the stretch from a market's opening to its first snapshot as a gap, where there is one."""
    if not (market and market.open_us is not None and spans and market.open_us < spans[0].from_us):
        return []
    return [Gap(ticker, market.open_us, spans[0].from_us, Reason.LATE_START)]


def _common_gaps(lines: list[Timeline], known: Intervals) -> list[Gap]:
    if len(lines) < 2:
        return list(lines[0].gaps) if lines else []
    found: list[Gap] = []
    told = Intervals(known)
    for line in lines:
        for gap in line.gaps:
            end_us = _FOR_EVER_US if gap.to_us is None else gap.to_us
            for from_us, to_us in told.missing(gap.from_us, end_us):
                found.append(replace(gap, from_us=from_us, to_us=None if to_us == _FOR_EVER_US else to_us))
                told.add(from_us, to_us)
    return sorted(found, key=lambda gap: gap.from_us)


def _audits(shard: ShardLog, ticker: str) -> list[Audit]:
    found: list[Audit] = []
    for hour in shard.history(ticker).hours_up(-_LAST_HOUR):
        rows = shard.book(hour).audits(ticker)
        if rows is not None:
            stamps = rows.column("ts_recv").cast("int64").to_pylist()
            fields = (rows.column(name).to_pylist() for name in _AUDIT_FIELDS)
            found += [Audit(*audit) for audit in zip(stamps, *fields, strict=True)]
    return found
