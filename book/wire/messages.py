"""What the venue says, in our words.

Owns the shapes of decoded messages. ``sid`` is the venue's subscription number on one connection, ``seq`` its counter
(None where the venue sent none), ``ts_exch_us`` the venue's clock in microseconds (None where it sent none).
"""

from typing import Any

import msgspec

from book.records import Level


class Snapshot(msgspec.Struct, frozen=True):
    """A full book; ``levels`` sorted, ``command_id`` set when it answers get_snapshot."""

    sid: int
    seq: int
    ticker: str
    levels: tuple[Level, ...]
    market_id: str = ""
    command_id: int | None = None


class Delta(msgspec.Struct, frozen=True):
    """A signed change of one level."""

    sid: int
    seq: int
    ticker: str
    side: int
    price_e4: int
    change_e2: int
    ts_exch_us: int | None = None
    market_id: str = ""


class Trade(msgspec.Struct, frozen=True):
    """A trade; ``taker_side`` 0 YES, 1 NO, None where the venue did not say."""

    sid: int
    seq: int | None
    ticker: str
    trade_id: str
    yes_price_e4: int
    qty_e2: int
    taker_side: int | None
    block: bool | None
    ts_exch_us: int | None


class Ticker(msgspec.Struct, frozen=True):
    """A market's summary line; the channel has no sequence numbers."""

    sid: int
    ticker: str
    price_e4: int | None
    yes_bid_e4: int | None
    yes_ask_e4: int | None
    yes_bid_qty_e2: int | None
    yes_ask_qty_e2: int | None
    last_trade_qty_e2: int | None
    volume_e2: int | None
    open_interest_e2: int | None
    dollar_volume: int | None
    dollar_open_interest: int | None
    ts_exch_us: int | None


class Lifecycle(msgspec.Struct, frozen=True):
    """A change in the life of a market or event; times in microseconds, ``text`` the venue's message as JSON."""

    sid: int
    seq: int | None
    channel_type: str
    event_type: str
    ticker: str | None
    event_ticker: str | None
    text: str
    open_us: int | None = None
    close_us: int | None = None
    determination_us: int | None = None
    settled_us: int | None = None
    result: str | None = None
    settlement_value_e4: int | None = None
    is_deactivated: bool | None = None
    fields: dict[str, Any] = msgspec.field(default_factory=dict)


class Subscribed(msgspec.Struct, frozen=True):
    """A subscription was made; ``sid`` is None only in a legacy form without a body."""

    command_id: int | None
    channel: str | None
    sid: int | None


class Ok(msgspec.Struct, frozen=True):
    """A command was carried out; consumes a ``seq`` where it has one."""

    command_id: int | None
    sid: int | None
    seq: int | None
    tickers: tuple[str, ...] | None = None
    subscriptions: tuple[tuple[str, int], ...] | None = None


class Unsubscribed(msgspec.Struct, frozen=True):
    """A subscription has ended."""

    command_id: int | None
    sid: int
    seq: int | None


class VenueError(msgspec.Struct, frozen=True):
    """An error of the venue, of a command or of a whole subscription."""

    command_id: int | None
    sid: int | None
    seq: int | None
    code: int
    text: str
    tickers: tuple[str, ...] = ()


Message = Snapshot | Delta | Trade | Ticker | Lifecycle | Subscribed | Ok | Unsubscribed | VenueError
