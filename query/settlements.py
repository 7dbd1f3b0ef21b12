"""What markets came to: their results, what a contract paid, and when.

Owns filters and order: determined last first. A view over the newest version of each market, as of now.
"""

from dataclasses import dataclass, fields

import polars as pl

from query import cursor as cursors
from query.catalog import MarketVersion
from query.log import Log

MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class SettlementFilter:
    """What a list is cut to; None lets everything through. ``from_us``, ``to_us``: determined in [from, to)."""

    event_ticker: str | None = None
    series_ticker: str | None = None
    result: str | None = None
    from_us: int | None = None
    to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """A market's end; times in microseconds since the epoch."""

    ticker: str
    event_ticker: str
    series_ticker: str | None
    result: str
    settlement_value_e4: int | None
    determined_us: int
    """When the venue determined it; where no message said so, when it was known to have a result."""
    settled_us: int | None
    """When it was paid out; None before."""


@dataclass(frozen=True, slots=True)
class SettlementPage:
    """A page of settlements."""

    settlements: list[Settlement]
    next_cursor: str | None
    has_more: bool


def settlement(log: Log, ticker: str) -> Settlement | None:
    """Return a market's settlement, None where it has no result yet or was never listed."""
    with log.asked():
        market = log.catalog.market(ticker)
        return _settlement(market) if market is not None and market.result else None


def settlements(
    log: Log, chosen: SettlementFilter | None = None, limit: int = MOST_ROWS, cursor: str | None = None
) -> SettlementPage:
    """Return the settlements that pass a filter, at most ``limit`` at a time, by determined_us descending.

    Raises ApiError invalid_cursor. Cost: some 10 ms a million markets.
    """
    chosen = chosen or SettlementFilter()
    asked = cursors.question("settlements", *(getattr(chosen, field.name) for field in fields(chosen)))
    with log.asked():
        rows = log.catalog.markets().filter(_conditions(chosen)).with_columns(_DETERMINED)
        if chosen.series_ticker is not None:
            placed = log.catalog.placed(rows).filter(pl.col("in_series") == chosen.series_ticker)
            rows = rows.join(placed, "ticker", how="semi")
        if cursor is not None:
            place = cursors.decode(cursor, asked)
            at, ticker = pl.col("determined_us"), pl.col("ticker")
            rows = rows.filter((at < place.ts_us) | ((at == place.ts_us) & (ticker > place.text)))
        rows = rows.sort("determined_us", "ticker", descending=[True, False])
        page = [_settlement(version) for version in log.catalog.versions(rows.head(limit))]
        if len(rows) <= limit:
            return SettlementPage(page, None, has_more=False)
        last = page[-1]
        after = cursors.Cursor(asked, 0, last.determined_us, 0, 0, 0, last.ticker)
        return SettlementPage(page, cursors.encode(after), has_more=True)


_DETERMINED = pl.coalesce("determined_us", "resulted_us")


def _conditions(chosen: SettlementFilter) -> pl.Expr:
    wanted = pl.col("result").is_not_null() & (pl.col("result") != "")
    for name, value in (("event_ticker", chosen.event_ticker), ("result", chosen.result)):
        if value is not None:
            wanted &= pl.col(name) == value
    if chosen.from_us is not None:
        wanted &= _DETERMINED.ge(chosen.from_us)
    if chosen.to_us is not None:
        wanted &= _DETERMINED.lt(chosen.to_us)
    return wanted


def _settlement(market: MarketVersion) -> Settlement:
    return Settlement(
        market.ticker,
        market.event_ticker,
        market.series_ticker,
        market.result or "",
        market.settlement_value_e4,
        market.determined_us or market.resulted_us or market.valid_from_us,
        market.settled_us,
    )
