"""The documents of the venue's REST interface, both ways.

Owns the field names of markets, events, series, order books and trades, and their times. A record keeps the venue's
whole document in ``raw``; what is written is that document with the typed fields laid over it, so nothing is lost.
Times are integer microseconds since the Unix epoch, UTC; numbers with a fraction stay exact decimals.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from book.errors import FrameError, UnrepresentableError
from book.records import Level, Side
from book.units import MAX_PRICE_E4, parse_price_e4, parse_qty_e2, price_text, qty_text

Document = dict[str, Any]
_Kind = TypeVar("_Kind")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_decode = msgspec.json.Decoder(Any, float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode
_SIDES = {"yes": int(Side.YES), "no": int(Side.NO), "bid": int(Side.YES), "ask": int(Side.NO)}
_SIDE_TEXT = ("yes", "no")


class MarketDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A market as the venue lists it; strikes as the venue's own decimal text."""

    ticker: str
    event_ticker: str
    series_ticker: str | None = None
    title: str = ""
    yes_sub_title: str = ""
    no_sub_title: str = ""
    category: str | None = None
    status: str = ""
    created_us: int | None = None
    open_us: int | None = None
    close_us: int | None = None
    expected_expiration_us: int | None = None
    latest_expiration_us: int | None = None
    result: str = ""
    settlement_value_e4: int | None = None
    settlement_us: int | None = None
    price_level_structure: str | None = None
    price_ranges: tuple[dict[str, str], ...] = ()
    strike_type: str | None = None
    floor_strike: str | None = None
    cap_strike: str | None = None
    rules_primary: str = ""
    rules_secondary: str = ""
    updated_us: int | None = None
    exchange_index: int = 0
    raw: Document = msgspec.field(default_factory=dict)


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What a market document says of its book and trades; None is an empty side or no trade yet."""

    yes_bid: tuple[int, int] | None = None
    yes_ask: tuple[int, int] | None = None
    last_price_e4: int | None = None
    volume_e2: int = 0
    open_interest_e2: int = 0


class EventDoc(msgspec.Struct, frozen=True, kw_only=True):
    """An event: the markets that share a question."""

    event_ticker: str
    series_ticker: str
    title: str = ""
    sub_title: str = ""
    category: str | None = None
    mutually_exclusive: bool | None = None
    strike_us: int | None = None
    updated_us: int | None = None
    raw: Document = msgspec.field(default_factory=dict)


class SeriesDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A series: the events that recur."""

    ticker: str
    title: str = ""
    category: str | None = None
    frequency: str = ""
    updated_us: int | None = None
    raw: Document = msgspec.field(default_factory=dict)


class TradeDoc(msgspec.Struct, frozen=True, kw_only=True):
    """A trade as REST lists it."""

    ticker: str
    trade_id: str
    yes_price_e4: int
    qty_e2: int
    taker_side: int | None = None
    block: bool | None = None
    created_us: int | None = None


def parse_document(body: bytes | str) -> Document:
    """Read a REST body; numbers with a fraction become Decimal. Raises FrameError where it is no JSON object."""
    try:
        document = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise FrameError("not a JSON object")
    return document


def render_document(document: object) -> bytes:
    """Write a document as JSON; Decimal becomes a number."""
    return _encode(document)


def parse_time_us(text: str) -> int:
    """Read RFC 3339 as microseconds; what is finer is cut off, since the venue's finest is the microsecond."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without a zone {text!r}")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def time_text(time_us: int) -> str:
    """Write microseconds as RFC 3339 in UTC, without fraction digits that say nothing."""
    second, fraction = divmod(time_us, 1_000_000)
    moment = _EPOCH + timedelta(seconds=second)
    digits = f".{fraction:06d}".rstrip("0") if fraction else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{digits}Z"


def decode_market(document: Mapping[str, Any]) -> MarketDoc:
    """Read a market. Raises FrameError, with the ticker where there is one, for a field of the wrong kind."""
    try:
        value = document.get("settlement_value_dollars")
        return MarketDoc(
            ticker=_text(document, "ticker"),
            event_ticker=_text(document, "event_ticker"),
            series_ticker=_optional(document, "series_ticker", str),
            title=_optional(document, "title", str) or "",
            yes_sub_title=_optional(document, "yes_sub_title", str) or "",
            no_sub_title=_optional(document, "no_sub_title", str) or "",
            category=_optional(document, "category", str),
            status=_text(document, "status"),
            created_us=_time(document, "created_time"),
            open_us=_time(document, "open_time"),
            close_us=_time(document, "close_time"),
            expected_expiration_us=_time(document, "expected_expiration_time"),
            latest_expiration_us=_time(document, "latest_expiration_time"),
            result=_optional(document, "result", str) or "",
            settlement_value_e4=None if value in (None, "") else parse_price_e4(value),
            settlement_us=_time(document, "settlement_ts"),
            price_level_structure=_optional(document, "price_level_structure", str),
            price_ranges=tuple(document.get("price_ranges") or ()),
            strike_type=_optional(document, "strike_type", str),
            floor_strike=_number_text(document.get("floor_strike")),
            cap_strike=_number_text(document.get("cap_strike")),
            rules_primary=_optional(document, "rules_primary", str) or "",
            rules_secondary=_optional(document, "rules_secondary", str) or "",
            updated_us=_time(document, "updated_time"),
            exchange_index=_optional(document, "exchange_index", int) or 0,
            raw=dict(document),
        )
    except (UnrepresentableError, KeyError, TypeError, ValueError) as error:
        raise _unreadable("market", error, document.get("ticker")) from error


def encode_market(market: MarketDoc, quote: Quote | None = None) -> Document:
    """Write a market: its raw document under the typed fields, and the quote where one is given."""
    document = dict(market.raw)
    document |= {"ticker": market.ticker, "event_ticker": market.event_ticker, "status": market.status}
    for name in ("title", "yes_sub_title", "no_sub_title", "result", "rules_primary", "rules_secondary"):
        document[name] = getattr(market, name)
    for name in ("series_ticker", "category", "price_level_structure", "strike_type"):
        _put(document, name, getattr(market, name))
    for name, time_us in (
        ("created_time", market.created_us),
        ("open_time", market.open_us),
        ("close_time", market.close_us),
        ("expected_expiration_time", market.expected_expiration_us),
        ("latest_expiration_time", market.latest_expiration_us),
        ("settlement_ts", market.settlement_us),
        ("updated_time", market.updated_us),
    ):
        _put(document, name, None if time_us is None else time_text(time_us))
    for name in ("floor_strike", "cap_strike"):
        text = getattr(market, name)
        _put(document, name, None if text is None else Decimal(text))
    value_e4 = market.settlement_value_e4
    _put(document, "settlement_value_dollars", None if value_e4 is None else price_text(value_e4))
    document["price_ranges"] = list(market.price_ranges)
    return document if quote is None else document | _quoted(quote)


def decode_event(document: Mapping[str, Any]) -> EventDoc:
    """Read an event. Raises FrameError for a field of the wrong kind."""
    try:
        return EventDoc(
            event_ticker=_text(document, "event_ticker"),
            series_ticker=_optional(document, "series_ticker", str) or "",
            title=_optional(document, "title", str) or "",
            sub_title=_optional(document, "sub_title", str) or "",
            category=_optional(document, "category", str),
            mutually_exclusive=_optional(document, "mutually_exclusive", bool),
            strike_us=_time(document, "strike_date"),
            updated_us=_time(document, "last_updated_ts"),
            raw={name: value for name, value in document.items() if name != "markets"},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable("event", error, document.get("event_ticker")) from error


def encode_event(event: EventDoc) -> Document:
    """Write an event: its raw document under the typed fields."""
    document = dict(event.raw)
    for name in ("event_ticker", "series_ticker", "title", "sub_title"):
        document[name] = getattr(event, name)
    _put(document, "category", event.category)
    _put(document, "mutually_exclusive", event.mutually_exclusive)
    _put(document, "strike_date", None if event.strike_us is None else time_text(event.strike_us))
    return document


def decode_series(document: Mapping[str, Any]) -> SeriesDoc:
    """Read a series. Raises FrameError for a field of the wrong kind."""
    try:
        return SeriesDoc(
            ticker=_text(document, "ticker"),
            title=_optional(document, "title", str) or "",
            category=_optional(document, "category", str),
            frequency=_optional(document, "frequency", str) or "",
            updated_us=_time(document, "last_updated_ts"),
            raw=dict(document),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable("series", error, document.get("ticker")) from error


def encode_series(series: SeriesDoc) -> Document:
    """Write a series: its raw document under the typed fields."""
    document = dict(series.raw) | {"ticker": series.ticker, "title": series.title, "frequency": series.frequency}
    _put(document, "category", series.category)
    return document


def orderbook_body(levels: Iterable[Level], depth: int = 0) -> Document:
    """Write a book as REST answers it; ``depth`` best levels a side, 0 is all, worst first."""
    sides: tuple[list[list[str]], list[list[str]]] = ([], [])
    for side, price_e4, qty_e2 in sorted(levels):
        sides[side].append([price_text(price_e4), qty_text(qty_e2)])
    shown = [rows[-depth:] if depth else rows for rows in sides]
    return {"orderbook_fp": {"yes_dollars": shown[0], "no_dollars": shown[1]}}


def decode_orderbook(document: Mapping[str, Any]) -> list[Level]:
    """Read a book, current or legacy (``orderbook`` with whole cents or dollars), as sorted levels."""
    try:
        body = document.get("orderbook_fp") or document.get("orderbook") or {}
        levels: list[Level] = []
        for side, name in enumerate(_SIDE_TEXT):
            in_dollars = body.get(f"{name}_dollars")
            for price, size in body.get(name) or () if in_dollars is None else in_dollars:
                price_e4 = parse_price_e4(str(price)) if in_dollars is not None else _cents_e4(price)
                qty_e2 = parse_qty_e2(str(size))
                if qty_e2:
                    levels.append((side, price_e4, qty_e2))
        return sorted(levels)
    except (UnrepresentableError, AttributeError, TypeError, ValueError) as error:
        raise _unreadable("orderbook", error, document.get("ticker")) from error


def trade_body(trade: TradeDoc) -> Document:
    """Write a trade as REST lists it."""
    body: Document = {
        "trade_id": trade.trade_id,
        "ticker": trade.ticker,
        "count_fp": qty_text(trade.qty_e2),
        "yes_price_dollars": price_text(trade.yes_price_e4),
        "no_price_dollars": price_text(MAX_PRICE_E4 - trade.yes_price_e4),
    }
    if trade.taker_side is not None:
        side = _SIDE_TEXT[trade.taker_side]
        body |= {"taker_side": side, "taker_outcome_side": side}
        body["taker_book_side"] = "bid" if trade.taker_side == Side.YES else "ask"
    _put(body, "is_block_trade", trade.block)
    _put(body, "created_time", None if trade.created_us is None else time_text(trade.created_us))
    return body


def decode_trade(document: Mapping[str, Any]) -> TradeDoc:
    """Read a trade, current or legacy. Raises FrameError for a field of the wrong kind."""
    try:
        dollars = document.get("yes_price_dollars")
        price_e4 = _cents_e4(document["yes_price"]) if dollars is None else parse_price_e4(dollars)
        count = document.get("count_fp")
        taker = document.get("taker_outcome_side") or document.get("taker_side") or document.get("taker_book_side")
        return TradeDoc(
            ticker=_text(document, "ticker"),
            trade_id=_text(document, "trade_id"),
            yes_price_e4=price_e4,
            qty_e2=parse_qty_e2(str(document["count"] if count is None else count)),
            taker_side=None if taker is None else _SIDES[taker],
            block=document.get("is_block_trade"),
            created_us=_time(document, "created_time"),
        )
    except (UnrepresentableError, KeyError, TypeError, ValueError) as error:
        raise _unreadable("trade", error, document.get("ticker")) from error


def _quoted(quote: Quote) -> Document:
    bid_e4, bid_qty_e2 = quote.yes_bid or (0, 0)
    ask_e4, ask_qty_e2 = quote.yes_ask or (MAX_PRICE_E4, 0)
    return {
        "yes_bid_dollars": price_text(bid_e4),
        "yes_bid_size_fp": qty_text(bid_qty_e2),
        "yes_ask_dollars": price_text(ask_e4),
        "yes_ask_size_fp": qty_text(ask_qty_e2),
        "no_bid_dollars": price_text(MAX_PRICE_E4 - ask_e4),
        "no_ask_dollars": price_text(MAX_PRICE_E4 - bid_e4),
        "last_price_dollars": price_text(quote.last_price_e4 or 0),
        "volume_fp": qty_text(quote.volume_e2),
        "volume_24h_fp": qty_text(quote.volume_e2),
        "open_interest_fp": qty_text(quote.open_interest_e2),
    }


def _put(document: Document, name: str, value: object) -> None:
    """Set a field, or leave it out where there is no value, as the venue does."""
    if value is None:
        document.pop(name, None)
    else:
        document[name] = value


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is not text")
    return value


def _optional(document: Mapping[str, Any], name: str, kind: type[_Kind]) -> _Kind | None:
    value = document.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise TypeError(f"{name} is of the wrong kind")


def _time(document: Mapping[str, Any], name: str) -> int | None:
    """Return a time; the venue's zero time, year 1, says that there is none."""
    text = _optional(document, name, str)
    if not text or text.startswith("0001-"):
        return None
    return parse_time_us(text)


def _number_text(value: object) -> str | None:
    """Return a JSON number's decimal text; a float's shortest text is the one it was written with."""
    if value is None or isinstance(value, bool):
        return None
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _cents_e4(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise ValueError(f"{value!r} is not a price in whole cents")
    return value * 100


def _unreadable(what: str, error: Exception, ticker: object) -> FrameError:
    text = f"missing {error}" if isinstance(error, KeyError) else str(error)
    return FrameError(f"{what}: {text}", ticker=ticker if isinstance(ticker, str) else None)
