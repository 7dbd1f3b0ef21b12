"""The bodies of lifecycle messages that the venue sends.

Owns their field names and units: times in whole Unix seconds, values in dollars as text, strikes as numbers. When a
market changes state is for whoever runs the venue.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from book.units import price_text
from book.wire.rest import EventDoc, MarketDoc

Body = dict[str, Any]


def created(market: MarketDoc) -> Body:
    """Return the listing of a market, with the metadata that REST shows too."""
    body: Body = {"event_type": "created", "market_ticker": market.ticker}
    body["exchange_index"] = market.raw.get("exchange_index", 0)
    if market.open_us is not None:
        body["open_ts"] = market.open_us // 1_000_000
    if market.close_us is not None:
        body["close_ts"] = market.close_us // 1_000_000
    body |= {"price_level_structure": market.price_level_structure or "", "price_ranges": list(market.price_ranges)}
    more: Body = {
        "name": market.yes_sub_title,
        "title": market.title,
        "yes_sub_title": market.yes_sub_title,
        "no_sub_title": market.no_sub_title,
        "rules_primary": market.rules_primary,
        "rules_secondary": market.rules_secondary,
        "can_close_early": bool(market.raw.get("can_close_early", True)),
        "event_ticker": market.event_ticker,
        "expected_expiration_ts": (market.expected_expiration_us or market.close_us or 0) // 1_000_000,
    }
    if market.strike_type:
        more["strike_type"] = market.strike_type
    for name, text in (("floor_strike", market.floor_strike), ("cap_strike", market.cap_strike)):
        if text is not None:
            more[name] = Decimal(text)
    return body | {"additional_metadata": more}


def event_created(event: EventDoc) -> Body:
    """Return the body of an ``event_lifecycle`` message."""
    body: Body = {
        "event_ticker": event.event_ticker,
        "exchange_index": event.raw.get("exchange_index", 0),
        "title": event.title,
        "subtitle": event.sub_title,
        "collateral_return_type": event.raw.get("collateral_return_type", ""),
        "series_ticker": event.series_ticker,
    }
    if event.strike_us is not None:
        body["strike_date"] = event.strike_us // 1_000_000
    return body


def deactivated(ticker: str) -> Body:
    """Return the beginning of a pause."""
    return {"event_type": "deactivated", "market_ticker": ticker, "is_deactivated": True}


def activated(ticker: str) -> Body:
    """Return the end of a pause; all resting orders are cancelled with it."""
    return {"event_type": "activated", "market_ticker": ticker, "is_deactivated": False}


def close_date_updated(ticker: str, close_us: int) -> Body:
    """Return a new closing time."""
    return {"event_type": "close_date_updated", "market_ticker": ticker, "close_ts": close_us // 1_000_000}


def metadata_updated(ticker: str, *, floor_strike: str, yes_sub_title: str) -> Body:
    """Return a strike and a sub-title made known late."""
    return {
        "event_type": "metadata_updated",
        "market_ticker": ticker,
        "floor_strike": Decimal(floor_strike),
        "yes_sub_title": yes_sub_title,
    }


def price_level_structure_updated(ticker: str, name: str, price_ranges: Iterable[dict[str, str]]) -> Body:
    """Return a new grid of prices; what rests off it stays."""
    return {
        "event_type": "price_level_structure_updated",
        "market_ticker": ticker,
        "price_level_structure": name,
        "price_ranges": list(price_ranges),
    }


def determined(ticker: str, result: str, settlement_value_e4: int, at_us: int) -> Body:
    """Return a market's result."""
    return {
        "event_type": "determined",
        "market_ticker": ticker,
        "result": result,
        "settlement_value": price_text(settlement_value_e4),
        "determination_ts": at_us // 1_000_000,
    }


def settled(ticker: str, at_us: int) -> Body:
    """Return the paying out of a market."""
    return {"event_type": "settled", "market_ticker": ticker, "settled_ts": at_us // 1_000_000}
