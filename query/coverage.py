"""What is known of markets over time: spans, gaps, audits, and how much of a market's life was recorded.

Owns the view over all shards: a gap is what no shard knows. Never folds a book.
"""

from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np

from book.errors import ApiError
from book.records import Kind, Reason
from query import cursor as cursors
from query.catalog import MarketVersion
from query.gap import Gap
from query.intervals import Intervals
from query.log import Log
from query.shard import ShardLog
from query.timeline import Span, Timeline, timeline

_FOR_EVER_US = 1 << 60
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
    """How much of a market was recorded; counts include what was withdrawn, ``recorded_pct`` is of its life so far."""

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
        found = ledger(log, ticker)
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
    with log.asked() as shards:
        after = (-_FOR_EVER_US, "", "")
        if cursor is not None:
            place = cursors.decode(cursor, asked)
            after = (place.ts_us, *place.text.partition(" ")[::2])
        if ticker is not None:
            known_market(log, ticker)
        tickers = [ticker] if ticker is not None else sorted(_recorded(shards))
        found = [
            ((gap.from_us, gap.ticker, gap.reason), gap)
            for each in tickers
            for gap in ledger(log, each).gaps
            if gap.from_us < end_us and (gap.to_us is None or gap.to_us > start_us)
        ]
        found.sort(key=lambda pair: pair[0])
        first = bisect_right(found, after, key=lambda pair: pair[0])
        page = [gap for _, gap in found[first : first + limit]]
        has_more = len(found) > first + limit
        return GapPage(page, _cursor_after(page[-1], asked) if has_more and page else None, has_more)


def _cursor_after(gap: Gap, asked: int) -> str:
    return cursors.encode(cursors.Cursor(asked, 0, gap.from_us, 0, 0, 0, f"{gap.ticker} {gap.reason}"))


def known_market(log: Log, ticker: str) -> MarketVersion | None:
    """Return a market's metadata, None where it was recorded without. Raises ApiError market_not_found."""
    market = log.catalog.markets.get(ticker)
    if market is None and not any(shard.knows(ticker) for shard in log.shards):
        raise ApiError("market_not_found", f"no market has the ticker {ticker}")
    return market


def ledger(log: Log, ticker: str) -> Ledger:
    """Return what the shards know of a market: a gap is what none of them knows."""
    lines = [line for line in (timeline(shard, ticker) for shard in log.shards) if line.spans or line.gaps]
    market = log.catalog.markets.get(ticker)
    known = Intervals(sorted(part for line in lines for part in line.known))
    spans = sorted((span for line in lines for span in line.spans), key=lambda span: (span.from_us, span.shard))
    return Ledger(spans, [*late_start(ticker, market, spans), *_common_gaps(lines, known)], known)


def stats(log: Log, ticker: str, market: MarketVersion | None, found: Ledger) -> Stats:
    """Return how much of a market was recorded. Cost: a look at each hour's index."""
    tallies = [
        tally
        for shard in log.shards
        for hour in shard.hour_numbers()
        if (tally := shard.book(hour).tallies.get(ticker)) and tally.last_us > 0
    ]
    snapshots = sum(
        group.kind == Kind.SNAPSHOT
        for shard in log.shards
        for hour in shard.hour_numbers()
        for group in shard.book(hour).groups.get(ticker, ())
    )
    first_us = found.spans[0].from_us if found.spans else None
    return Stats(
        first_data_us=first_us,
        last_data_us=max((tally.last_us for tally in tallies), default=None),
        recorded_pct=_recorded_pct(log, market, found),
        snapshot_count=snapshots,
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


def _recorded(shards: list[ShardLog]) -> set[str]:
    return {ticker for shard in shards for hour in shard.hour_numbers() for ticker in shard.book(hour).tallies}


def _audits(shard: ShardLog, ticker: str) -> list[Audit]:
    found: list[Audit] = []
    for hour in shard.hour_numbers():
        index = shard.audits(hour)
        batches = index.hour.batches("audits")
        rows = index.rows_between(ticker, 0, batches.rows)
        if not len(rows):
            continue
        numbers = np.unique(batches.of_rows(rows))
        table = index.hour.decode("audits", numbers, ("ts_recv", *_AUDIT_FIELDS))
        chosen = table.take(np.searchsorted(batches.row_numbers(numbers), rows))
        stamps = chosen.column("ts_recv").cast("int64").to_pylist()
        fields = (chosen.column(name).to_pylist() for name in _AUDIT_FIELDS)
        found += [Audit(*audit) for audit in zip(stamps, *fields, strict=True)]
    return found
