"""Changes and trades by range, in pages.

Owns the order of rows, where a page ends, and what a range says of its completeness. A range is never refused for a
gap. Order: (ts_recv, conn, seq, kind); rows equal in these are one group, and no page splits one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from book.errors import ApiError
from book.records import Reason
from lake import paths
from query import cursor as cursors
from query.catalog import MarketVersion
from query.coverage import Ledger, known_market, late_start
from query.feeds import feed_line
from query.gap import Gap
from query.log import Log
from query.scan import ChangeRow, TradeRow, changes_from, trades_from
from query.shard import ShardLog, shard_of
from query.timeline import window

WhyEmpty = Literal["no_activity", "not_recorded", "pending"]
Row = TypeVar("Row", ChangeRow, TradeRow)

_FOR_EVER_US = 1 << 60


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """A page of rows, and of the whole range: whether it is ``complete``, its gaps, why it is empty if it is.

    ``complete`` is true where every instant of the range in which the market lived is known, and, of changes, where
    the record is one shard's throughout: a gap of no length, ``shard_switch``, says where it goes on from another's.
    """

    rows: list[Row]
    next_cursor: str | None
    has_more: bool
    complete: bool
    gaps: list[Gap]
    why_empty: WhyEmpty | None


def deltas(
    log: Log,
    ticker: str,
    start_us: int,
    end_us: int,
    limit: int = 100,
    cursor: str | None = None,
    *,
    orphans: bool = False,
) -> Page[ChangeRow]:
    """Return a market's changes received in [start_us, end_us), about ``limit`` at a time.

    ``orphans`` adds the changes that belong to no known book, withdrawn ones among them, with kind 4.
    Raises ApiError market_not_found, invalid_cursor. Cost: decodes the market's batches of the page.
    """
    asked = cursors.question("deltas", ticker, orphans)
    with log.asked():
        market, place = known_market(log, ticker), _place(cursor, asked, start_us, end_us)
        view = _View(log, ticker, start_us, end_us, market, place)
        if place and view.shard.published_from(paths.hour_of(place.ts_us), ticker) not in (None, shard_of(place.conn)):
            # Two shards receive a change at different instants: what follows a row of one is not told by the other.
            raise ApiError("invalid_cursor", "its hour was published from another shard since: ask from the hour on")
        rows = changes_from(view.shard, ticker, place.ts_us if place else start_us, end_us, orphans=orphans)
        return _page(rows, view, limit, place, asked)


def trades(
    log: Log, ticker: str, start_us: int, end_us: int, limit: int = 100, cursor: str | None = None
) -> Page[TradeRow]:
    """Return a market's trades received in [start_us, end_us), about ``limit`` at a time, each trade_id once.

    Those follow that were learned later and that the exchange stamped in the range. A gap that was filled so counts as
    complete. Raises ApiError market_not_found, invalid_cursor. Cost: decodes the market's batches of the page.
    """
    asked = cursors.question("trades", ticker)
    with log.asked():
        market, place = known_market(log, ticker), _place(cursor, asked, start_us, _FOR_EVER_US)
        view = _TradesView(log, ticker, start_us, end_us, market, place)
        rows = trades_from(view.shard, ticker, start_us, end_us, after_us=place.ts_us if place else start_us)
        return _page(rows, view, limit, place, asked)


class _View:
    """What a range knows of itself: which shard answers it, and what is missing there."""

    def __init__(
        self,
        log: Log,
        ticker: str,
        start_us: int,
        end_us: int,
        market: MarketVersion | None,
        place: cursors.Cursor | None,
    ) -> None:
        self._ticker = ticker
        self._start_us = start_us
        self._end_us = end_us
        self._market = market
        self._ledgers: dict[int, Ledger] = {}
        self._known_until_us: dict[int, int | None] = {}
        self.pin = place.pin if place else log.pin()
        self.shard = self._chosen(log.pinned(self.pin), place)

    def _chosen(self, shards: list[ShardLog], place: cursors.Cursor | None) -> ShardLog:
        """Return the shard with the least unknown time in the range, or that of the page before."""
        if place is not None:
            same = [shard for shard in shards if shard.shard == place.shard]
            if not same:
                raise ApiError("invalid_cursor", "the cursor names a log that is gone")
            return same[0]
        if not shards:
            raise ApiError("no_data_available", "nothing was recorded yet", reason="not_recorded", earliest=None)
        if len(shards) == 1:
            return shards[0]
        return max(shards, key=lambda shard: (self._known_us(self._ledger(shard)), -shard.shard))

    def describe(self) -> tuple[bool, list[Gap], WhyEmpty]:
        """Return whether the range is complete, its gaps, and why it would be empty."""
        found = self._ledger(self.shard)
        missing = found.known.missing(*self._life(found))
        switched = any(gap.reason == Reason.SHARD_SWITCH and gap.from_us == gap.to_us for gap in found.gaps)
        gaps = [
            gap for gap in found.gaps if gap.from_us < self._end_us and (gap.to_us or _FOR_EVER_US) > self._start_us
        ]
        return not missing and not switched, gaps, self._why(found)

    def _why(self, found: Ledger) -> WhyEmpty:
        if self._known_us(found):
            return "no_activity"
        last = found.spans[-1] if found.spans else None
        pending = last is not None and last.to_us is None and last.known_until_us < self._end_us
        return "pending" if pending else "not_recorded"

    def _life(self, found: Ledger) -> tuple[int, int]:
        """Return the part of the range in which the market lived: nothing is missing outside it."""
        start_us, end_us = self._start_us, self._end_us
        if self._market and self._market.open_us is not None:
            start_us = max(start_us, self._market.open_us)
        ended = found.spans[-1] if found.spans else None
        if ended and ended.end_reason == Reason.MARKET_CLOSED and ended.to_us is not None:
            end_us = min(end_us, ended.to_us)
        elif self._market and self._market.close_us is not None and self._market.is_over(end_us):
            end_us = min(end_us, self._market.close_us)
        return start_us, max(start_us, end_us)

    def _known_us(self, found: Ledger) -> int:
        return sum(to_us - from_us for from_us, to_us in found.known.within(self._start_us, self._end_us))

    def _inside(self, ts_us: int) -> bool:
        return self._start_us < ts_us < self._end_us

    def _ledger(self, shard: ShardLog) -> Ledger:
        found = self._ledgers.get(shard.shard)
        if found is None:
            found = self._ledgers[shard.shard] = self._read(shard)
        return found

    def _read(self, shard: ShardLog) -> Ledger:
        line = window(shard, self._ticker, self._start_us, self._end_us)
        late = late_start(self._ticker, self._market, line.spans)
        # The succession of changes counts: it is not claimed where another shard's record goes on.
        switches = [gap for gap in line.switches if self._inside(gap.from_us)]
        gaps = [*late, *sorted([*line.gaps, *switches], key=lambda gap: gap.from_us)]
        return Ledger(line.spans, gaps, line.known)


class _TradesView(_View):
    """What a range of trades knows of itself: by the firehose of trades, not by the market's book."""

    def _read(self, shard: ShardLog) -> Ledger:
        spans = window(shard, self._ticker, self._start_us, self._end_us).spans
        line = feed_line(shard, "trades", self._start_us, self._end_us)
        known = line.complete()
        start_us, end_us = self._life(Ledger(spans, [], known))
        gaps = [
            replace(gap, ticker=self._ticker)
            for gap in line.gaps
            if gap.from_us < end_us and (gap.to_us or _FOR_EVER_US) > start_us
        ]
        self._known_until_us[shard.shard] = line.known_until_us
        return Ledger(spans, gaps, known)

    def _why(self, found: Ledger) -> WhyEmpty:
        if self._known_us(found):
            return "no_activity"
        until_us = self._known_until_us[self.shard.shard]
        return "pending" if until_us is not None and until_us < self._end_us else "not_recorded"


def _place(cursor: str | None, asked: int, start_us: int, end_us: int) -> cursors.Cursor | None:
    if cursor is None:
        return None
    place = cursors.decode(cursor, asked)
    if not start_us <= place.ts_us < end_us:
        raise ApiError("invalid_cursor", "the cursor lies outside the range")
    return place


def _page(rows: Iterator[Row], view: _View, limit: int, place: cursors.Cursor | None, asked: int) -> Page[Row]:
    # The kind is no part of the place: a change that a later close withdraws is listed as an orphan from then on.
    after = (place.ts_us, place.conn, place.seq) if place else (-_FOR_EVER_US, 0, 0)
    found: list[Row] = []
    has_more = False
    for row in rows:
        if row.key[:3] <= after:
            continue
        if len(found) >= limit and row.key[:3] != found[-1].key[:3]:
            has_more = True
            break
        found.append(row)
    complete, gaps, why = view.describe()
    next_cursor = None
    if has_more:
        next_cursor = cursors.encode(cursors.Cursor(asked, view.shard.shard, *found[-1].key, pin=view.pin))
    return Page(found, next_cursor, has_more, complete, gaps, None if found or place else why)
