"""The list of markets, one market, and what was recorded of each.

Owns filters and order: newest discovered first. The view is as of now; a market that was recorded and never listed
by the venue is found by its ticker alone.
"""

from dataclasses import dataclass, fields, replace

import polars as pl

from query import cursor as cursors
from query.catalog import Catalog, EventVersion, MarketVersion, SeriesVersion
from query.coverage import Stats, known_market, ledger, stats
from query.log import Log
from query.market_versions import record_at_hand

MOST_ROWS = 20_000
_VIEWED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class MarketFilter:
    """What a list is cut to; None lets everything through.

    ``q`` is looked for in ticker and title, in any case. ``recorded_from_us`` and ``recorded_to_us`` keep markets
    with recorded data in [from, to); ``updated_since_us`` those with a version learned then or later.
    """

    status: str | None = None
    event_ticker: str | None = None
    series_ticker: str | None = None
    category: str | None = None
    q: str | None = None
    recorded_from_us: int | None = None
    recorded_to_us: int | None = None
    updated_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class MarketView:
    """A market as listed: its newest metadata, with series and category looked up in its event and series."""

    ticker: str
    market: MarketVersion | None
    """None where it was recorded and never listed."""
    event: EventVersion | None
    series: SeriesVersion | None
    series_ticker: str | None
    category: str | None
    stats: Stats
    record: str | None = None
    """The venue's whole record as JSON, where one market was asked for."""


@dataclass(frozen=True, slots=True)
class MarketPage:
    """A page of markets, newest discovered first."""

    markets: list[MarketView]
    next_cursor: str | None
    has_more: bool


def markets(
    log: Log, chosen: MarketFilter | None = None, limit: int = MOST_ROWS, cursor: str | None = None
) -> MarketPage:
    """Return the markets that pass a filter, at most ``limit`` at a time.

    Raises ApiError invalid_cursor. Cost: some 0.1 s a million markets, and for each of the page a walk over its groups.
    """
    chosen = chosen or MarketFilter()
    asked = cursors.question("markets", *(getattr(chosen, field.name) for field in fields(chosen)))
    with log.asked():
        rows = _passing(log.catalog, chosen)
        if cursor is not None:
            place = cursors.decode(cursor, asked)
            found, ticker = pl.col("discovered_us"), pl.col("ticker")
            rows = rows.filter((found < place.ts_us) | ((found == place.ts_us) & (ticker > place.text)))
        rows = rows.sort("discovered_us", "ticker", descending=[True, False])
        page: list[MarketView] = []
        for first in range(0, len(rows), _VIEWED_AT_ONCE):
            for version in log.catalog.versions(rows.slice(first, _VIEWED_AT_ONCE)):
                view = _view(log, version)
                if not _was_recorded(view.stats, chosen):
                    continue
                if len(page) == limit:
                    last = page[-1]
                    found_us = last.market.discovered_us if last.market else 0
                    after = cursors.Cursor(asked, 0, found_us, 0, 0, 0, last.ticker)
                    return MarketPage(page, cursors.encode(after), has_more=True)
                page.append(view)
        return MarketPage(page, None, has_more=False)


def market(log: Log, ticker: str) -> MarketView:
    """Return one market. Raises ApiError market_not_found."""
    with log.asked():
        version = known_market(log, ticker)
        if version is not None:
            return replace(_view(log, version), record=record_at_hand(log, ticker))
        return MarketView(
            ticker, None, None, None, None, None, stats(log, ticker, None, ledger(log, ticker, log.shards))
        )


def _view(log: Log, market: MarketVersion) -> MarketView:
    """Return a market with its event and series, and what was recorded of it."""
    event = log.catalog.event(market.event_ticker)
    series_ticker = market.series_ticker or (event.series_ticker if event else None)
    series = log.catalog.series(series_ticker) if series_ticker else None
    named = (market.category, event.category if event else None, series.category if series else None)
    category = next((name for name in named if name), None)
    found = stats(log, market.ticker, market, ledger(log, market.ticker, log.shards))
    return MarketView(market.ticker, market, event, series, series_ticker, category, found)


def _passing(catalog: Catalog, chosen: MarketFilter) -> pl.DataFrame:
    """Return the markets that pass a filter, as far as metadata tells."""
    rows = catalog.markets()
    for name, value in (("status", chosen.status), ("event_ticker", chosen.event_ticker)):
        if value is not None:
            rows = rows.filter(pl.col(name) == value)
    if chosen.updated_since_us is not None:
        rows = rows.filter(pl.col("valid_from_us") >= chosen.updated_since_us)
    if chosen.q is not None:
        text = pl.concat_str("ticker", pl.lit("\n"), "title")
        rows = rows.filter(text.str.to_lowercase().str.contains(chosen.q.lower(), literal=True))
    if chosen.series_ticker is not None or chosen.category is not None:
        placed = catalog.placed(rows)
        for name, value in (("in_series", chosen.series_ticker), ("in_category", chosen.category)):
            if value is not None:
                placed = placed.filter(pl.col(name) == value)
        rows = rows.join(placed, "ticker", how="semi")
    return rows


def _was_recorded(found: Stats, chosen: MarketFilter) -> bool:
    if chosen.recorded_from_us is None and chosen.recorded_to_us is None:
        return True
    if found.first_data_us is None:
        return False
    last_us = found.first_data_us if found.last_data_us is None else found.last_data_us
    ended = chosen.recorded_from_us is not None and last_us < chosen.recorded_from_us
    return not ended and (chosen.recorded_to_us is None or found.first_data_us < chosen.recorded_to_us)
