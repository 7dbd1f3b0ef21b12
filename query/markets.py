"""The list of markets, one market, and what was recorded of each.

Owns filters and order: newest discovered first. The view is as of now; a market that was recorded and never listed
by the venue is found by its ticker alone.
"""

from dataclasses import dataclass, fields

from query import cursor as cursors
from query.catalog import EventVersion, MarketVersion, SeriesVersion
from query.coverage import Stats, known_market, ledger, stats
from query.log import Log

MOST_ROWS = 20_000


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

    Raises ApiError invalid_cursor. Cost: a look at each market, and for each of the page a walk over its groups.
    """
    chosen = chosen or MarketFilter()
    asked = cursors.question("markets", *(getattr(chosen, field.name) for field in fields(chosen)))
    with log.asked():
        found = [view for view in map(_Listed(log).place, log.catalog.markets.values()) if _passes(view, chosen)]
        found.sort(key=lambda each: each.order)
        if cursor is not None:
            place = cursors.decode(cursor, asked)
            found = [each for each in found if each.order > (-place.ts_us, place.text)]
        page: list[MarketView] = []
        for each in found:
            view = each.view(log)
            if not _was_recorded(view.stats, chosen):
                continue
            if len(page) == limit:
                last = page[-1]
                after = cursors.Cursor(asked, 0, last.market.discovered_us if last.market else 0, 0, 0, 0, last.ticker)
                return MarketPage(page, cursors.encode(after), has_more=True)
            page.append(view)
        return MarketPage(page, None, has_more=False)


def market(log: Log, ticker: str) -> MarketView:
    """Return one market. Raises ApiError market_not_found."""
    with log.asked():
        version = known_market(log, ticker)
        if version is not None:
            return _Listed(log).place(version).view(log)
        return MarketView(
            ticker, None, None, None, None, None, stats(log, ticker, None, ledger(log, ticker, log.shards))
        )


@dataclass(frozen=True, slots=True)
class _Placed:
    """A market with its event and series, not yet with what was recorded of it."""

    market: MarketVersion
    event: EventVersion | None
    series: SeriesVersion | None
    series_ticker: str | None
    category: str | None

    @property
    def order(self) -> tuple[int, str]:
        return -self.market.discovered_us, self.market.ticker

    def view(self, log: Log) -> MarketView:
        ticker = self.market.ticker
        found = stats(log, ticker, self.market, ledger(log, ticker, log.shards))
        return MarketView(ticker, self.market, self.event, self.series, self.series_ticker, self.category, found)


class _Listed:
    def __init__(self, log: Log) -> None:
        self._catalog = log.catalog

    def place(self, version: MarketVersion) -> _Placed:
        event = self._catalog.events.get(version.event_ticker)
        series_ticker = version.series_ticker or (event.series_ticker if event else None)
        series = self._catalog.series.get(series_ticker) if series_ticker else None
        named = (version.category, event.category if event else None, series.category if series else None)
        return _Placed(version, event, series, series_ticker, next((name for name in named if name), None))


def _passes(placed: _Placed, chosen: MarketFilter) -> bool:
    market = placed.market
    wanted = (
        (chosen.status, market.status),
        (chosen.event_ticker, market.event_ticker),
        (chosen.series_ticker, placed.series_ticker),
        (chosen.category, placed.category),
    )
    if any(want is not None and want != have for want, have in wanted):
        return False
    if chosen.updated_since_us is not None and market.valid_from_us < chosen.updated_since_us:
        return False
    text = f"{market.ticker}\n{market.title}".casefold()
    return chosen.q is None or chosen.q.casefold() in text


def _was_recorded(found: Stats, chosen: MarketFilter) -> bool:
    if chosen.recorded_from_us is None and chosen.recorded_to_us is None:
        return True
    if found.first_data_us is None:
        return False
    last_us = found.first_data_us if found.last_data_us is None else found.last_data_us
    ended = chosen.recorded_from_us is not None and last_us < chosen.recorded_from_us
    return not ended and (chosen.recorded_to_us is None or found.first_data_us < chosen.recorded_to_us)
