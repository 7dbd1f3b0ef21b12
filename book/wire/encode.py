"""What the venue sends, as bytes: current forms and the legacy ones.

Owns the writing half of the dialect, for the local exchange and for tests. The order of keys is the venue's.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from book.records import Level, Side
from book.units import MAX_PRICE_E4, price_text, qty_text

_encode = msgspec.json.Encoder(decimal_format="number").encode
_SIDE_TEXT = ("yes", "no")


def _shown_e4(side: int, price_e4: int, use_yes_price: bool) -> int:
    return MAX_PRICE_E4 - price_e4 if use_yes_price and side == Side.NO else price_e4


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def _times(ts_us: int) -> dict[str, Any]:
    """Return the venue's clock in both forms; as the venue's, the text has no fraction digits that say nothing."""
    second, fraction = divmod(ts_us, 1_000_000)
    digits = f".{fraction:06d}".rstrip("0") if fraction else ""
    return {"ts": f"{_second_text(second)}{digits}Z", "ts_ms": ts_us // 1_000}


def _ladders(levels: Iterable[Level], use_yes_price: bool, legacy: bool) -> dict[str, Any]:
    sides: tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]] = ([], [])
    for side, price_e4, qty_e2 in levels:
        shown_e4 = _shown_e4(side, price_e4, use_yes_price)
        row = (shown_e4 // 100, qty_e2 // 100) if legacy else (price_text(shown_e4), qty_text(qty_e2))
        sides[side].append(row)
    names = ("yes", "no") if legacy else ("yes_dollars_fp", "no_dollars_fp")
    return {name: rows for name, rows in zip(names, sides, strict=True) if rows}


def snapshot_body(
    ticker: str, levels: Iterable[Level], *, market_id: str = "", use_yes_price: bool = False, legacy: bool = False
) -> dict[str, Any]:
    """Return the body of a full book; a side without levels has no key.

    The legacy form holds whole cents and contracts only: finer levels do not fit and must not be given.
    """
    return {"market_ticker": ticker, "market_id": market_id, **_ladders(levels, use_yes_price, legacy)}


def snapshot(
    sid: int,
    seq: int,
    ticker: str,
    levels: Iterable[Level],
    *,
    market_id: str = "",
    command_id: int | None = None,
    use_yes_price: bool = False,
    legacy: bool = False,
) -> bytes:
    """Return a full book; with ``command_id`` it answers get_snapshot."""
    head: dict[str, Any] = {"type": "orderbook_snapshot"}
    if command_id:
        head["id"] = command_id
    body = snapshot_body(ticker, levels, market_id=market_id, use_yes_price=use_yes_price, legacy=legacy)
    return _encode({**head, "sid": sid, "seq": seq, "msg": body})


def delta_body(
    ticker: str,
    side: int,
    price_e4: int,
    change_e2: int,
    ts_us: int,
    *,
    market_id: str = "",
    use_yes_price: bool = False,
    legacy: bool = False,
) -> bytes:
    """Return the encoded body of a change; the same for every subscriber of one price convention."""
    shown_e4 = _shown_e4(side, price_e4, use_yes_price)
    body: dict[str, Any] = {"market_ticker": ticker, "market_id": market_id}
    if legacy:
        body |= {"price": shown_e4 // 100, "delta": change_e2 // 100, "side": _SIDE_TEXT[side]}
        return _encode(body | {"ts": ts_us // 1_000_000})
    body |= {"price_dollars": price_text(shown_e4), "delta_fp": qty_text(change_e2), "side": _SIDE_TEXT[side]}
    return _encode(body | _times(ts_us))


def sequenced(kind: str, sid: int, seq: int, body: bytes) -> bytes:
    """Return the frame of an encoded body under a subscription's number and counter."""
    return b'{"type":"%b","sid":%d,"seq":%d,"msg":%b}' % (kind.encode(), sid, seq, body)


def delta(
    sid: int,
    seq: int,
    ticker: str,
    side: int,
    price_e4: int,
    change_e2: int,
    ts_us: int,
    *,
    market_id: str = "",
    use_yes_price: bool = False,
    legacy: bool = False,
) -> bytes:
    """Return a signed change of one level."""
    body = delta_body(
        ticker, side, price_e4, change_e2, ts_us, market_id=market_id, use_yes_price=use_yes_price, legacy=legacy
    )
    return sequenced("orderbook_delta", sid, seq, body)


def trade_body(
    *,
    ticker: str,
    trade_id: str,
    yes_price_e4: int,
    qty_e2: int,
    taker_side: int,
    block: bool | None,
    ts_us: int,
    legacy: bool = False,
) -> bytes:
    """Return the encoded body of a trade."""
    body: dict[str, Any] = {"trade_id": trade_id, "market_ticker": ticker}
    if legacy:
        body |= {"yes_price": yes_price_e4 // 100, "no_price": 100 - yes_price_e4 // 100, "count": qty_e2 // 100}
        return _encode(body | {"taker_side": _SIDE_TEXT[taker_side], "ts": ts_us // 1_000_000})
    body |= {
        "yes_price_dollars": price_text(yes_price_e4),
        "no_price_dollars": price_text(MAX_PRICE_E4 - yes_price_e4),
        "count_fp": qty_text(qty_e2),
        "taker_side": _SIDE_TEXT[taker_side],
        "taker_outcome_side": _SIDE_TEXT[taker_side],
        "taker_book_side": "bid" if taker_side == Side.YES else "ask",
    }
    if block is not None:
        body["is_block_trade"] = block
    return _encode(body | {"ts": ts_us // 1_000_000, "ts_ms": ts_us // 1_000})


def trade(
    sid: int,
    seq: int,
    *,
    ticker: str,
    trade_id: str,
    yes_price_e4: int,
    qty_e2: int,
    taker_side: int,
    block: bool | None,
    ts_us: int,
    legacy: bool = False,
) -> bytes:
    """Return a trade."""
    body = trade_body(
        ticker=ticker,
        trade_id=trade_id,
        yes_price_e4=yes_price_e4,
        qty_e2=qty_e2,
        taker_side=taker_side,
        block=block,
        ts_us=ts_us,
        legacy=legacy,
    )
    return sequenced("trade", sid, seq, body)


def ticker(
    sid: int,
    *,
    ticker: str,
    price_e4: int,
    yes_bid_e4: int,
    yes_ask_e4: int,
    yes_bid_qty_e2: int,
    yes_ask_qty_e2: int,
    last_trade_qty_e2: int,
    volume_e2: int,
    open_interest_e2: int,
    ts_us: int,
    market_id: str = "",
) -> bytes:
    """Return a market's summary line; dollar figures are whole dollars at half a dollar a contract, as the venue's."""
    times = _times(ts_us)
    body = {
        "market_id": market_id,
        "market_ticker": ticker,
        "price_dollars": price_text(price_e4),
        "yes_bid_dollars": price_text(yes_bid_e4),
        "yes_ask_dollars": price_text(yes_ask_e4),
        "yes_bid_size_fp": qty_text(yes_bid_qty_e2),
        "yes_ask_size_fp": qty_text(yes_ask_qty_e2),
        "last_trade_size_fp": qty_text(last_trade_qty_e2),
        "volume_fp": qty_text(volume_e2),
        "open_interest_fp": qty_text(open_interest_e2),
        "dollar_volume": volume_e2 // 200,
        "dollar_open_interest": open_interest_e2 // 200,
        "ts": ts_us // 1_000_000,
        "ts_ms": times["ts_ms"],
        "time": times["ts"],
    }
    return _encode({"type": "ticker", "sid": sid, "msg": body})


def lifecycle(sid: int, seq: int, fields: dict[str, Any], channel_type: str = "market_lifecycle_v2") -> bytes:
    """Return a change in the life of a market or event; ``fields`` is the venue's body."""
    return _encode({"type": channel_type, "sid": sid, "seq": seq, "msg": fields})


def subscribed(command_id: int | None, channel: str, sid: int) -> bytes:
    """Return the answer to a new subscription; it consumes no number."""
    return _encode({**_id(command_id), "type": "subscribed", "msg": {"channel": channel, "sid": sid}})


def ok(command_id: int | None, sid: int, seq: int | None, tickers: Sequence[str] | None = None) -> bytes:
    """Return the answer to a changed subscription; it consumes a number, which only unsequenced channels lack."""
    head: dict[str, Any] = {**_id(command_id), "type": "ok", "sid": sid}
    if seq is not None:
        head["seq"] = seq
    return _encode(head if tickers is None else {**head, "msg": {"market_tickers": list(tickers)}})


def ok_list(command_id: int | None, subscriptions: Iterable[tuple[str, int]]) -> bytes:
    """Return the answer to list_subscriptions."""
    rows = [{"channel": channel, "sid": sid} for channel, sid in subscriptions]
    return _encode({**_id(command_id), "type": "ok", "msg": rows})


def unsubscribed(command_id: int | None, sid: int, seq: int | None) -> bytes:
    """Return the end of a subscription; it consumes a number, which only unsequenced channels lack."""
    head: dict[str, Any] = {**_id(command_id), "type": "unsubscribed", "sid": sid}
    return _encode(head if seq is None else {**head, "seq": seq})


def _id(command_id: int | None) -> dict[str, int]:
    """Return the command's id as the answer repeats it; the client's 0 means that it gave none."""
    return {"id": command_id} if command_id else {}


def error(
    code: int,
    text: str,
    *,
    command_id: int | None = None,
    sid: int | None = None,
    seq: int | None = None,
    tickers: Sequence[str] = (),
) -> bytes:
    """Return an error of a command, or with ``sid`` and ``seq`` of a whole subscription."""
    known = {"id": command_id, "sid": sid, "seq": seq}
    head: dict[str, Any] = {"type": "error"} | {name: value for name, value in known.items() if value}
    body: dict[str, Any] = {"code": code, "msg": text}
    if tickers:
        body["market_tickers"] = list(tickers)
    return _encode({**head, "msg": body})
