"""What is known of markets over time: spans, gaps, audits, and how much of a market's life was recorded.

Owns the view over all shards: a gap is what no shard knows. Never folds a book.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from book.errors import ApiError
from book.records import Reason
from lake.settling.coverage import EVERY
from lake.settling.feeds import FEEDS, FeedName
from query import cursor as cursors
from query.catalog import MarketVersion
from query.feeds import FeedLine, feed_line
from query.gap import Gap
from query.group import Tally
from query.intervals import Intervals
from query.log import Log
from query.shard import ShardLog
from query.timeline import Span, Timeline, timeline, window

__all__ = [
    "EVERY", "FEEDS", "Audit", "Coverage", "FeedName", "GapPage", "Ledger", "Stats", "coverage", "feed_coverage",
    "feed_gaps", "gaps", "known_market", "late_start", "ledger", "stats",
]  # fmt: skip

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
        audits = {audit for shard in shards for audit in _audits(shard, ticker)}
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


def feed_gaps(
    log: Log, channels: Sequence[FeedName], start_us: int, end_us: int, *, limit: int = 100, cursor: str | None = None
) -> GapPage:
    """Return the gaps of firehoses that overlap [start_us, end_us), by beginning.

    Raises ApiError invalid_cursor. Cost: a look at each hour of the range.
    """
    asked = cursors.question("feed_gaps", *channels)
    with log.asked():
        after, pin = (-_FOR_EVER_US, ""), log.pin()
        if cursor is not None:
            place = cursors.decode(cursor, asked)
            after, pin = (place.ts_us, place.text), place.pin
        shards = log.pinned(pin)
        found = [
            ((gap.from_us, channel), replace(gap, channel=channel))
            for channel in channels
            for gap in feed_coverage(shards, channel, start_us, end_us).gaps
        ]
        found.sort(key=lambda pair: pair[0])
        first = bisect_right(found, after, key=lambda pair: pair[0])
        page = [gap for _, gap in found[first : first + limit]]
        if len(found) <= first + limit or not page:
            return GapPage(page, None, has_more=False)
        last = cursors.Cursor(asked, 0, page[-1].from_us, 0, 0, 0, page[-1].channel, pin)
        return GapPage(page, cursors.encode(last), has_more=True)


def feed_coverage(shards: Sequence[ShardLog], channel: str, start_us: int, end_us: int) -> FeedLine:
    """Return what all shards together know of a firehose in a range: a gap is what none of them knows.

    Cost: a look at each hour of the range.
    """
    lines = [feed_line(shard, channel, start_us, end_us) for shard in shards]
    if len(lines) == 1:
        return lines[0]
    known = Intervals(sorted(part for line in lines for part in line.known))
    timelines = [Timeline([], line.gaps, line.known, []) for line in lines]
    until = [line.known_until_us for line in lines if line.known_until_us is not None]
    return FeedLine(known, _common_gaps(timelines, known), max(until, default=None))


def _gaps_within(log: Log, shards: Sequence[ShardLog], ticker: str, start_us: int, end_us: int) -> list[Gap]:
    """Return a market's gaps, all that touch a stretch among them."""
    if len(shards) > 1:
        return ledger(log, ticker, shards).gaps
    lines = [window(shard, ticker, start_us, end_us) for shard in shards]
    market = log.catalog.market(ticker)
    return [gap for line in lines for gap in (*late_start(ticker, market, line.spans), *line.gaps)]


def _cursor_after(gap: Gap, asked: int, pin: int) -> str:
    return cursors.encode(cursors.Cursor(asked, 0, gap.from_us, 0, 0, 0, f"{gap.ticker} {gap.reason}", pin))


def known_market(log: Log, ticker: str) -> MarketVersion | None:
    """Return a market's metadata, None where it was recorded without. Raises ApiError market_not_found."""
    market = log.catalog.market(ticker)
    if market is None and not any(shard.knows(ticker) for shard in log.shards):
        raise ApiError("market_not_found", f"no market has the ticker {ticker}")
    return market


def ledger(log: Log, ticker: str, shards: Sequence[ShardLog]) -> Ledger:
    """Return what shards know of a market: a gap is what none of them knows."""
    lines = {shard.shard: line for shard in shards for line in (timeline(shard, ticker),) if line.spans or line.gaps}
    market = log.catalog.market(ticker)
    known = Intervals(sorted(part for line in lines.values() for part in line.known))
    # A published span stands in every shard's line; how it goes on, its own shard knows.
    found = [
        span for shard, line in lines.items() for span in line.spans if span.shard == shard or span.shard not in lines
    ]
    spans = sorted({*found}, key=lambda span: (span.from_us, span.shard))
    gaps = [*_common_gaps([*lines.values()], known), *_common_switches([*lines.values()])]
    return Ledger(spans, [*late_start(ticker, market, spans), *sorted(gaps, key=lambda gap: gap.from_us)], known)


def _common_switches(lines: list[Timeline]) -> list[Gap]:
    """Return the places where another shard's record is published from, which all lines have."""
    first, *others = lines or [Timeline([], [], Intervals(), [])]
    return [gap for gap in first.switches if all(gap in line.switches for line in others)]


def stats(log: Log, ticker: str, market: MarketVersion | None, found: Ledger) -> Stats:
    """Return how much of a market was recorded. Cost: a look at each hour with records of it."""
    tallies: list[Tally] = []
    published: set[int] = set()
    for shard in log.shards:
        for hour in shard.history(ticker).hours_down(_LAST_HOUR):
            book = shard.book(hour)
            if not book.version or hour not in published:
                tallies.append(book.tally(ticker))
            if book.version:
                published.add(hour)
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
