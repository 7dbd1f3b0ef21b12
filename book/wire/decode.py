"""One frame in, one message out, whatever era it is from.

Owns the tolerant reading of current and legacy forms. A frame that cannot be read raises FrameError with what could
still be told of it; nothing is dropped, rounded or replaced by zero.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar

import msgspec

from book.errors import FrameError, UnrepresentableError
from book.records import Level, Side
from book.units import MAX_PRICE_E4, parse_price_e4, parse_qty_e2
from book.wire.messages import (
    Delta,
    Lifecycle,
    Message,
    Ok,
    Snapshot,
    Subscribed,
    Ticker,
    Trade,
    Unsubscribed,
    VenueError,
)

Fields = dict[str, Any]

_json = msgspec.json.Decoder(Any, float_hook=Decimal)
_SIDES = {"yes": int(Side.YES), "no": int(Side.NO), "bid": int(Side.YES), "ask": int(Side.NO)}
_SECONDS_END = 10**11
_NUMBERS_END = 2**63
_TIMES_END_US = 2**62
_Kind = TypeVar("_Kind")
_cached_price = lru_cache(maxsize=20_000)(parse_price_e4)


def decode(frame: bytes | str, *, use_yes_price: bool = False) -> Message:
    """Read one frame.

    ``use_yes_price`` is the convention that the subscription asked for: where it is true, NO prices arrive on the YES
    leg and are turned back. Raises FrameError, with sid, seq and ticker where they could be read.
    """
    try:
        envelope = _json.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(f"not JSON: {error}") from error
    if not isinstance(envelope, dict):
        raise FrameError("not a JSON object")
    kind = envelope.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    body = envelope.get("msg")
    try:
        if reader is None:
            raise FrameError(f"unknown type {kind!r}")
        return reader(envelope, body if isinstance(body, dict) else {}, use_yes_price)
    except (FrameError, UnrepresentableError, KeyError, TypeError, ValueError) as error:
        text = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise FrameError(
            text, sid=_number(envelope, "sid"), seq=_number(envelope, "seq"), ticker=_ticker_of(body)
        ) from error


def exchange_time_us(ts: object, ts_ms: object) -> int | None:
    """Read the venue's clock: RFC 3339 text first (the finest), then milliseconds, then a number by its magnitude."""
    if isinstance(ts, str) and ts:
        return _rfc3339_us(ts)
    if isinstance(ts_ms, int) and not isinstance(ts_ms, bool):
        return _time_us(ts_ms * 1_000)
    if isinstance(ts, int) and not isinstance(ts, bool):
        return _time_us(ts * 1_000_000 if ts < _SECONDS_END else ts * 1_000)
    return None


def _time_us(time_us: int) -> int:
    if not 0 <= time_us < _TIMES_END_US:
        raise FrameError(f"{time_us} us is no time of the venue's")
    return time_us


def _rfc3339_us(text: str) -> int:
    head, dot, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))] if dot else ""
    zone = tail[len(digits) :] if dot else ""
    moment = datetime.fromisoformat(head + zone)
    if moment.tzinfo is None:
        raise FrameError(f"time without a zone {text!r}")
    return int(moment.timestamp()) * 1_000_000 + int(digits[:6].ljust(6, "0"))


def _number(envelope: Fields, name: str) -> int | None:
    value = envelope.get(name)
    whole = isinstance(value, int) and not isinstance(value, bool) and -_NUMBERS_END <= value < _NUMBERS_END
    return value if whole else None


def _optional(body: Fields, name: str, kind: type[_Kind]) -> _Kind | None:
    """Return a field that may be left out. Raises FrameError where it is of another kind."""
    value = body.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise FrameError(f"{name} is of the wrong kind")


def _ticker_of(body: object) -> str | None:
    value = body.get("market_ticker") if isinstance(body, dict) else None
    return value if isinstance(value, str) else None


def _sequence(envelope: Fields) -> tuple[int, int]:
    sid, seq = _number(envelope, "sid"), _number(envelope, "seq")
    if sid is None or seq is None:
        raise FrameError("a book message needs whole numbers sid and seq")
    return sid, seq


def _sid(envelope: Fields) -> int:
    sid = _number(envelope, "sid")
    if sid is None:
        raise FrameError("needs a whole number sid")
    return sid


def _text(body: Fields, name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise FrameError(f"{name} is not text")
    return value


def _dollars_or_cents(value: object, *, cents: bool) -> int:
    """Read a price: dollars as decimal text or number, or whole cents of the legacy form."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise FrameError(f"{value!r} is not a price")
    if not cents:
        return _cached_price(str(value))
    if not isinstance(value, int) or not 0 <= value <= MAX_PRICE_E4 // 100:
        raise FrameError(f"{value!r} is not a price in whole cents")
    return value * 100


def _contracts(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise FrameError(f"{value!r} is not a number of contracts")
    return parse_qty_e2(str(value))


def _optional_price(body: Fields, dollars: str, cents: str) -> int | None:
    if body.get(dollars) not in (None, ""):
        return _dollars_or_cents(body[dollars], cents=False)
    return _dollars_or_cents(body[cents], cents=True) if body.get(cents) not in (None, "") else None


def _optional_contracts(body: Fields, *names: str) -> int | None:
    for name in names:
        if body.get(name) not in (None, ""):
            return _contracts(body[name])
    return None


def _optional_dollars(body: Fields, name: str) -> int | None:
    """Return a number of whole dollars that may be left out. Raises FrameError where it is none."""
    if body.get(name) in (None, ""):
        return None
    value = _number(body, name)
    if value is None:
        raise FrameError(f"{name} is not a whole number of dollars")
    return value


def _ladder(body: Fields, name: str, side: Side, use_yes_price: bool) -> list[Level]:
    key = next((key for key in (f"{name}_dollars_fp", f"{name}_dollars", name) if body.get(key) is not None), None)
    if key is None:
        return []
    levels = []
    for price, size in body[key]:
        price_e4 = _dollars_or_cents(price, cents=key == name)
        qty_e2 = _contracts(size)
        if qty_e2 < 0:
            raise FrameError(f"negative size {size!r}")
        if use_yes_price and side is Side.NO:
            price_e4 = MAX_PRICE_E4 - price_e4
        if qty_e2:
            levels.append((int(side), price_e4, qty_e2))
    return levels


def _snapshot(envelope: Fields, body: Fields, use_yes_price: bool) -> Snapshot:
    sid, seq = _sequence(envelope)
    levels = _ladder(body, "yes", Side.YES, use_yes_price) + _ladder(body, "no", Side.NO, use_yes_price)
    levels.sort()
    if any(a[:2] == b[:2] for a, b in pairwise(levels)):
        raise FrameError("a price stands twice in a snapshot")
    return Snapshot(
        sid=sid,
        seq=seq,
        ticker=_text(body, "market_ticker"),
        levels=tuple(levels),
        market_id=str(body.get("market_id") or ""),
        command_id=_number(envelope, "id"),
    )


def _delta(envelope: Fields, body: Fields, use_yes_price: bool) -> Delta:
    sid, seq = _sequence(envelope)
    side = _SIDES[_text(body, "side")]
    price_e4 = _optional_price(body, "price_dollars", "price")
    change_e2 = _optional_contracts(body, "delta_fp", "delta")
    if price_e4 is None or change_e2 is None:
        raise FrameError("a delta needs a price and a change")
    if use_yes_price and side == Side.NO:
        price_e4 = MAX_PRICE_E4 - price_e4
    return Delta(
        sid=sid,
        seq=seq,
        ticker=_text(body, "market_ticker"),
        side=side,
        price_e4=price_e4,
        change_e2=change_e2,
        ts_exch_us=exchange_time_us(body.get("ts"), body.get("ts_ms")),
        market_id=str(body.get("market_id") or ""),
    )


def _trade(envelope: Fields, body: Fields, _: bool) -> Trade:
    yes_e4 = _optional_price(body, "yes_price_dollars", "yes_price")
    no_e4 = _optional_price(body, "no_price_dollars", "no_price")
    if yes_e4 is None and no_e4 is not None:
        yes_e4 = MAX_PRICE_E4 - no_e4
    qty_e2 = _optional_contracts(body, "count_fp", "count")
    if yes_e4 is None or qty_e2 is None:
        raise FrameError("a trade needs a price and a size")
    if no_e4 is not None and yes_e4 + no_e4 != MAX_PRICE_E4:
        raise FrameError(f"prices {yes_e4} and {no_e4} of a trade do not add up to one dollar")
    taker = next(
        (body[k] for k in ("taker_outcome_side", "taker_side", "taker_book_side", "side") if body.get(k)), None
    )
    return Trade(
        sid=_sid(envelope),
        seq=_number(envelope, "seq"),
        ticker=_text(body, "market_ticker"),
        trade_id=_text(body, "trade_id"),
        yes_price_e4=yes_e4,
        qty_e2=qty_e2,
        taker_side=None if taker is None else _SIDES[taker],
        block=_optional(body, "is_block_trade", bool),
        ts_exch_us=exchange_time_us(body.get("ts"), body.get("ts_ms")),
    )


def _ticker(envelope: Fields, body: Fields, _: bool) -> Ticker:
    return Ticker(
        sid=_sid(envelope),
        ticker=_text(body, "market_ticker"),
        price_e4=_optional_price(body, "price_dollars", "price"),
        yes_bid_e4=_optional_price(body, "yes_bid_dollars", "yes_bid"),
        yes_ask_e4=_optional_price(body, "yes_ask_dollars", "yes_ask"),
        yes_bid_qty_e2=_optional_contracts(body, "yes_bid_size_fp"),
        yes_ask_qty_e2=_optional_contracts(body, "yes_ask_size_fp"),
        last_trade_qty_e2=_optional_contracts(body, "last_trade_size_fp"),
        volume_e2=_optional_contracts(body, "volume_fp", "volume"),
        open_interest_e2=_optional_contracts(body, "open_interest_fp", "open_interest"),
        dollar_volume=_optional_dollars(body, "dollar_volume"),
        dollar_open_interest=_optional_dollars(body, "dollar_open_interest"),
        ts_exch_us=exchange_time_us(body.get("time") or body.get("ts"), body.get("ts_ms")),
    )


def _lifecycle(envelope: Fields, body: Fields, _: bool) -> Lifecycle:
    kind = envelope["type"]
    more = _optional(body, "additional_metadata", dict) or {}
    event_ticker = _optional(body, "event_ticker", str) or _optional(more, "event_ticker", str)
    ticker = _ticker_of(body)
    if ticker is None and event_ticker is None:
        raise FrameError("a lifecycle message needs a market or an event")
    value = body.get("settlement_value")
    return Lifecycle(
        sid=_sid(envelope),
        seq=_number(envelope, "seq"),
        channel_type=kind,
        event_type=str(body.get("event_type") or kind),
        ticker=ticker,
        event_ticker=event_ticker,
        text=_compact.encode(body).decode(),
        open_us=exchange_time_us(body.get("open_ts"), None),
        close_us=exchange_time_us(body.get("close_ts"), None),
        determination_us=exchange_time_us(body.get("determination_ts"), None),
        settled_us=exchange_time_us(body.get("settled_ts"), None),
        result=_optional(body, "result", str),
        settlement_value_e4=None if value in (None, "") else _dollars_or_cents(value, cents=False),
        is_deactivated=_optional(body, "is_deactivated", bool),
        fields=body,
    )


def _subscribed(envelope: Fields, body: Fields, _: bool) -> Subscribed:
    return Subscribed(_number(envelope, "id"), _optional(body, "channel", str), _number(body, "sid"))


def _ok(envelope: Fields, body: Fields, _: bool) -> Ok:
    tickers = body.get("market_tickers", envelope.get("market_tickers"))
    listing = envelope.get("msg")
    return Ok(
        command_id=_number(envelope, "id"),
        sid=_number(envelope, "sid"),
        seq=_number(envelope, "seq"),
        tickers=None if tickers is None else tuple(tickers),
        subscriptions=tuple((s["channel"], s["sid"]) for s in listing) if isinstance(listing, list) else None,
    )


def _unsubscribed(envelope: Fields, _: Fields, __: bool) -> Unsubscribed:
    return Unsubscribed(_number(envelope, "id"), _sid(envelope), _number(envelope, "seq"))


def _error(envelope: Fields, body: Fields, _: bool) -> VenueError:
    tickers = body.get("market_tickers") or ([body["market_ticker"]] if body.get("market_ticker") else [])
    return VenueError(
        command_id=_number(envelope, "id"),
        sid=_number(envelope, "sid"),
        seq=_number(envelope, "seq"),
        code=int(body["code"]),
        text=str(body.get("msg", "")),
        tickers=tuple(tickers),
    )


_compact = msgspec.json.Encoder(decimal_format="number")
_READERS: dict[str, Callable[[Fields, Fields, bool], Message]] = {
    "orderbook_snapshot": _snapshot,
    "orderbook_delta": _delta,
    "trade": _trade,
    "ticker": _ticker,
    "market_lifecycle_v2": _lifecycle,
    "multivariate_market_lifecycle": _lifecycle,
    "event_lifecycle": _lifecycle,
    "event_fee_update": _lifecycle,
    "subscribed": _subscribed,
    "ok": _ok,
    "unsubscribed": _unsubscribed,
    "error": _error,
}
