"""The columns of every table, with their units.

Owns the Arrow schemas that segments are written in. Never reads or writes a row.
"""

import pyarrow as pa

INSTANT = pa.timestamp("us", "UTC")
TICKER = pa.dictionary(pa.int32(), pa.utf8())

_US = "microseconds since the Unix epoch, UTC"
_E4 = "1/10000 dollar"
_E2 = "1/100 contract"


def _field(name: str, kind: pa.DataType, about: str, *, null: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=null, metadata={"unit": about})


_TICKER = _field("ticker", TICKER, "market ticker")
_TS_RECV = _field("ts_recv", INSTANT, f"{_US}; our clock")
_TS_EXCH = _field("ts_exch", INSTANT, f"{_US}; the exchange's clock", null=True)
_CONN = _field("conn", pa.int64(), "subscription: connect time in Unix ms * 1024 + shard")
_SEQ = _field("seq", pa.int64(), "the venue's message number within conn")
_RECORD = _field("record", pa.utf8(), "the venue's whole record, JSON")

ORDERBOOK = pa.schema(
    [
        _TICKER,
        _TS_RECV,
        _TS_EXCH,
        _CONN,
        _SEQ,
        _field("kind", pa.int8(), "0 snapshot, 1 delta, 2 checkpoint, 3 close, 4 orphan"),
        _field("side", pa.int8(), "0 YES, 1 NO", null=True),
        _field("price_e4", pa.int32(), _E4, null=True),
        _field("qty_e2", pa.int64(), f"{_E2}; absolute in a snapshot or checkpoint, a signed change else", null=True),
        _field("reason", pa.utf8(), "why a span ended; closes only", null=True),
    ]
)
TRADES = pa.schema(
    [
        _TICKER,
        _field("trade_id", pa.utf8(), "the venue's id"),
        _TS_RECV,
        _TS_EXCH,
        _CONN,
        _field("seq", pa.int64(), "the venue's message number within conn", null=True),
        _field("yes_price_e4", pa.int32(), _E4),
        _field("qty_e2", pa.int64(), _E2),
        _field("taker_side", pa.int8(), "0 YES, 1 NO", null=True),
        _field("block", pa.bool_(), "whether it was a block trade", null=True),
        _field("source", pa.utf8(), "ws, or rest where learned later"),
    ]
)
LIFECYCLE = pa.schema(
    [
        _field("ticker", pa.utf8(), "market ticker", null=True),
        _field("event_ticker", pa.utf8(), "event ticker", null=True),
        _TS_RECV,
        _CONN,
        _field("seq", pa.int64(), "the venue's message number within conn", null=True),
        _field("channel_type", pa.utf8(), "the venue's message type"),
        _field("event_type", pa.utf8(), "the venue's event type"),
        _field("open_time", INSTANT, _US, null=True),
        _field("close_time", INSTANT, _US, null=True),
        _field("determination_time", INSTANT, _US, null=True),
        _field("settled_time", INSTANT, _US, null=True),
        _field("result", pa.utf8(), "the venue's word", null=True),
        _field("settlement_value_e4", pa.int32(), _E4, null=True),
        _field("is_deactivated", pa.bool_(), "whether trading is paused", null=True),
        _field("message", pa.utf8(), "the whole message, JSON"),
    ]
)
_VALID_FROM = _field("valid_from", INSTANT, f"{_US}; when we learned this version")
MARKETS = pa.schema(
    [
        _field("ticker", pa.utf8(), "market ticker"),
        _VALID_FROM,
        _field("event_ticker", pa.utf8(), "event ticker"),
        _field("series_ticker", pa.utf8(), "series ticker", null=True),
        _field("title", pa.utf8(), "text"),
        _field("status", pa.utf8(), "the venue's word"),
        _field("category", pa.utf8(), "the venue's word", null=True),
        _field("open_time", INSTANT, _US, null=True),
        _field("close_time", INSTANT, _US, null=True),
        _field("result", pa.utf8(), "the venue's word", null=True),
        _field("settlement_value_e4", pa.int32(), _E4, null=True),
        _field("settled_time", INSTANT, _US, null=True),
        _field("price_level_structure", pa.utf8(), "the venue's word", null=True),
        _field("price_ranges", pa.utf8(), "the venue's tick sizes, JSON", null=True),
        _RECORD,
    ]
)
EVENTS = pa.schema(
    [
        _field("event_ticker", pa.utf8(), "event ticker"),
        _VALID_FROM,
        _field("series_ticker", pa.utf8(), "series ticker", null=True),
        _field("title", pa.utf8(), "text"),
        _field("sub_title", pa.utf8(), "text", null=True),
        _field("category", pa.utf8(), "the venue's word", null=True),
        _field("mutually_exclusive", pa.bool_(), "whether one market at most resolves YES", null=True),
        _RECORD,
    ]
)
SERIES = pa.schema(
    [
        _field("series_ticker", pa.utf8(), "series ticker"),
        _VALID_FROM,
        _field("title", pa.utf8(), "text", null=True),
        _field("category", pa.utf8(), "the venue's word", null=True),
        _RECORD,
    ]
)
AUDITS = pa.schema(
    [
        _TICKER,
        _CONN,
        _SEQ,
        _TS_RECV,
        _field("digest_ours", pa.utf8(), "digest of our book, 16 hex digits"),
        _field("digest_venue", pa.utf8(), "digest of the venue's book, 16 hex digits"),
        _field("equal", pa.bool_(), "whether both books were the same"),
    ]
)
QUARANTINE = pa.schema(
    [
        _TS_RECV,
        _field("conn", pa.int64(), "subscription, where it could be told", null=True),
        _field("ticker", pa.utf8(), "market ticker, where it could be read", null=True),
        _field("bytes", pa.binary(), "the frame as received"),
        _field("error", pa.utf8(), "why it could not be read"),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "orderbook": ORDERBOOK,
    "trades": TRADES,
    "lifecycle": LIFECYCLE,
    "markets": MARKETS,
    "events": EVENTS,
    "series": SERIES,
    "audits": AUDITS,
    "quarantine": QUARANTINE,
}
"""Every table by its name; the name is also the stem of its segments."""
