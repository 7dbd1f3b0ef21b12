"""What a client says to the venue over the websocket, both ways.

Owns the commands, their bounds and the venue's error numbers for commands that cannot be read. Whether a command can
be carried out (an unknown subscription, a limit) is for whoever holds the subscriptions.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from book.errors import CommandError

ORDERBOOK, TRADE, TICKER, LIFECYCLE = "orderbook_delta", "trade", "ticker", "market_lifecycle_v2"
COMBO_LIFECYCLE = "multivariate_market_lifecycle"
ADD_MARKETS, DELETE_MARKETS, GET_SNAPSHOT = "add_markets", "delete_markets", "get_snapshot"

CHANNELS = frozenset(
    {
        ORDERBOOK, TRADE, TICKER, LIFECYCLE, "fill", "market_positions", COMBO_LIFECYCLE, "communications",
        "order_group_updates", "user_orders", "cfbenchmarks_value", "cfbenchmarks_value_5hz",
        "pyth_value",
    }
)  # fmt: skip
"""Every channel the venue knows."""
UNSEQUENCED = frozenset({TICKER, "fill", "market_positions", "user_orders"})
"""Channels whose messages, answers to commands included, carry no seq."""
WITH_MARKETS = frozenset({ORDERBOOK, TRADE, TICKER, "fill", "market_positions", "user_orders"})
"""Channels that take a list of markets; every other one is global."""

ERRORS = {
    1: "Unable to process message",
    2: "Params required",
    3: "Channels required",
    4: "Subscription IDs required",
    5: "Unknown command",
    7: "Unknown subscription ID",
    8: "Unknown channel name",
    9: "Authentication required",
    10: "Channel error",
    11: "Invalid parameter",
    12: "Exactly one subscription ID is required",
    13: "Unsupported action",
    14: "Market Ticker required",
    15: "Action required",
    25: "Subscription buffer overflow",
    26: "Subscription market limit exceeded",
    27: "Too many requests",
}
"""The venue's error numbers and texts."""


class Subscribe(msgspec.Struct, frozen=True):
    """Ask for channels; ``tickers`` None is every market where the channel allows that. ``id`` 0 is no id."""

    id: int
    channels: tuple[str, ...]
    tickers: tuple[str, ...] | None = None
    use_yes_price: bool = False
    skip_ticker_ack: bool = False
    send_initial_snapshot: bool = False


class Update(msgspec.Struct, frozen=True):
    """Change one subscription (``add_markets``, ``delete_markets``) or ask for books (``get_snapshot``)."""

    id: int
    sids: tuple[int, ...]
    action: str
    tickers: tuple[str, ...]
    send_initial_snapshot: bool = False


class Unsubscribe(msgspec.Struct, frozen=True):
    """End subscriptions."""

    id: int
    sids: tuple[int, ...]


class ListSubscriptions(msgspec.Struct, frozen=True):
    """Ask which subscriptions the connection has."""

    id: int


Command = Subscribe | Update | Unsubscribe | ListSubscriptions


class _Params(msgspec.Struct):
    channels: list[str] | None = None
    market_ticker: str | None = None
    market_tickers: list[str] | None = None
    market_id: str | None = None
    market_ids: list[str] | None = None
    use_yes_price: bool = False
    skip_ticker_ack: bool = False
    send_initial_snapshot: bool = False
    sid: int | None = None
    sids: list[int] | None = None
    action: str | None = None


class _Envelope(msgspec.Struct):
    cmd: str
    id: int = 0
    params: msgspec.Raw = msgspec.Raw()


_encode = msgspec.json.Encoder().encode
_envelope = msgspec.json.Decoder(_Envelope).decode
_params = msgspec.json.Decoder(_Params).decode


def encode_command(command: Command) -> bytes:
    """Write a command as a client sends it; the price convention is always said where it matters."""
    params: dict[str, Any]
    if isinstance(command, Subscribe):
        params = {"channels": command.channels}
        if command.tickers is not None:
            params["market_tickers"] = command.tickers
        if ORDERBOOK in command.channels:
            params["use_yes_price"] = command.use_yes_price
        for name in ("skip_ticker_ack", "send_initial_snapshot"):
            if getattr(command, name):
                params[name] = True
        return _encode({"id": command.id, "cmd": "subscribe", "params": params})
    if isinstance(command, Update):
        params = {"sids": command.sids, "action": command.action, "market_tickers": command.tickers}
        if command.send_initial_snapshot:
            params["send_initial_snapshot"] = True
        return _encode({"id": command.id, "cmd": "update_subscription", "params": params})
    if isinstance(command, Unsubscribe):
        return _encode({"id": command.id, "cmd": "unsubscribe", "params": {"sids": command.sids}})
    return _encode({"id": command.id, "cmd": "list_subscriptions"})


def decode_command(frame: bytes | str) -> Command:
    """Read a client's command.

    Raises CommandError with the venue's number: 1 not JSON or a wrong type, 5 an unknown command, 2 no params,
    3 no channels, 8 an unknown channel, 14 no markets where they are required, 11 parameters that exclude each other,
    4 no subscription to end, 12 not exactly one to change, 15 no action, 13 an unknown action.
    """
    try:
        envelope = _envelope(frame)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refusal(1, _id_of(frame)) from error
    reader = _READERS.get(envelope.cmd)
    if envelope.cmd == "list_subscriptions":
        return ListSubscriptions(envelope.id)
    if reader is None:
        raise _refusal(5, envelope.id)
    if bytes(envelope.params) in (b"", b"null"):
        raise _refusal(2, envelope.id)
    try:
        params = _params(envelope.params)
    except msgspec.DecodeError as error:
        raise _refusal(1, envelope.id) from error
    return reader(envelope.id, params)


def _refusal(code: int, command_id: int | None) -> CommandError:
    return CommandError(code, ERRORS[code], command_id or None)


def _id_of(frame: bytes | str) -> int | None:
    """Return the id of a command that cannot be read otherwise, None where even that is not there."""
    try:
        loose = msgspec.json.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    found = loose.get("id") if isinstance(loose, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _tickers(command_id: int, params: _Params) -> tuple[str, ...] | None:
    if params.market_ticker is not None and params.market_tickers is not None:
        raise _refusal(11, command_id)
    if params.market_id is not None or params.market_ids is not None:
        raise _refusal(11, command_id)
    if params.market_ticker is not None:
        return (params.market_ticker,)
    return None if params.market_tickers is None else tuple(dict.fromkeys(params.market_tickers))


def _subscribe(command_id: int, params: _Params) -> Subscribe:
    if not params.channels:
        raise _refusal(3, command_id)
    channels = tuple(dict.fromkeys(params.channels))
    if not CHANNELS.issuperset(channels):
        raise _refusal(8, command_id)
    tickers = _tickers(command_id, params)
    if ORDERBOOK in channels and not tickers:
        raise _refusal(14, command_id)
    return Subscribe(
        command_id, channels, tickers, params.use_yes_price, params.skip_ticker_ack, params.send_initial_snapshot
    )


def _update(command_id: int, params: _Params) -> Update:
    if params.sid is not None and params.sids is not None:
        raise _refusal(12, command_id)
    sids = (params.sid,) if params.sid is not None else tuple(params.sids or ())
    if len(sids) != 1:
        raise _refusal(12, command_id)
    if not params.action:
        raise _refusal(15, command_id)
    if params.action not in {ADD_MARKETS, DELETE_MARKETS, GET_SNAPSHOT}:
        raise _refusal(13, command_id)
    tickers = _tickers(command_id, params)
    if tickers is None or (not tickers and params.action != GET_SNAPSHOT):
        raise _refusal(14, command_id)
    return Update(command_id, sids, params.action, tickers, params.send_initial_snapshot)


def _unsubscribe(command_id: int, params: _Params) -> Unsubscribe:
    sids = tuple(dict.fromkeys(params.sids or ()))
    if not sids and params.sid is not None:
        sids = (params.sid,)
    if not sids:
        raise _refusal(4, command_id)
    return Unsubscribe(command_id, sids)


_READERS: dict[str, Callable[[int, _Params], Command]] = {
    "subscribe": _subscribe,
    "update_subscription": _update,
    "unsubscribe": _unsubscribe,
}
