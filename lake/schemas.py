"""The columns of every table, with their units.

Owns the Arrow schemas of segments and of published files. Never reads or writes a row.
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
_VERSION_SOURCE = _field("source", pa.utf8(), "what told us: rest, or lifecycle")

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
TICKERS = pa.schema(
    [
        _TICKER,
        _TS_RECV,
        _TS_EXCH,
        _CONN,
        _field("price_e4", pa.int32(), f"{_E4}; YES, of the last trade", null=True),
        _field("yes_bid_e4", pa.int32(), _E4, null=True),
        _field("yes_bid_qty_e2", pa.int64(), _E2, null=True),
        _field("yes_ask_e4", pa.int32(), _E4, null=True),
        _field("yes_ask_qty_e2", pa.int64(), _E2, null=True),
        _field("last_trade_qty_e2", pa.int64(), _E2, null=True),
        _field("volume_e2", pa.int64(), _E2, null=True),
        _field("open_interest_e2", pa.int64(), _E2, null=True),
        _field("dollar_volume", pa.int64(), "dollars", null=True),
        _field("dollar_open_interest", pa.int64(), "dollars", null=True),
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
        _field("determined_time", INSTANT, f"{_US}; told by the lifecycle message alone", null=True),
        _field("settled_time", INSTANT, _US, null=True),
        _field("price_level_structure", pa.utf8(), "the venue's word", null=True),
        _field("price_ranges", pa.utf8(), "the venue's tick sizes, JSON", null=True),
        _VERSION_SOURCE,
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
        _VERSION_SOURCE,
        _RECORD,
    ]
)
SERIES = pa.schema(
    [
        _field("series_ticker", pa.utf8(), "series ticker"),
        _VALID_FROM,
        _field("title", pa.utf8(), "text", null=True),
        _field("category", pa.utf8(), "the venue's word", null=True),
        _VERSION_SOURCE,
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
    "tickers": TICKERS,
    "lifecycle": LIFECYCLE,
    "markets": MARKETS,
    "events": EVENTS,
    "series": SERIES,
    "audits": AUDITS,
    "quarantine": QUARANTINE,
}
"""Every table by its name; the name is also the stem of its segments."""


def _published(schema: pa.Schema) -> pa.Schema:
    """Return a segment's schema as its published files have it: the ticker is plain text."""
    return pa.schema([field.with_type(pa.utf8()) if field.type == TICKER else field for field in schema])


BASES = pa.list_(
    pa.field(
        "item",
        pa.struct(
            [
                _TS_RECV,
                _TS_EXCH,
                _CONN,
                _SEQ,
                _field("kind", pa.int8(), "0 snapshot, 2 checkpoint, 3 close"),
                _field("row", pa.int64(), "first row in the file"),
                _field("rows", pa.int32(), "rows of the group"),
                _field("reason", pa.utf8(), "of a close", null=True),
            ]
        ),
        nullable=False,
    )
)
_COUNT = "groups, or rows of a change"
COVERAGE = pa.schema(
    [
        _field("ticker", pa.utf8(), "market ticker; * for what concerns a conn or a whole table"),
        _field("channel", pa.utf8(), "orderbook; a table's name where state is table"),
        _field("state", pa.utf8(), "known, gap, switch, other_known, other_gap, silence, conn, table"),
        _field("shard", pa.int32(), "the recorder's number", null=True),
        _field("conn", pa.int64(), "subscription: connect time in Unix ms * 1024 + shard", null=True),
        _field("ts_from", INSTANT, _US),
        _field("ts_to", INSTANT, f"{_US}; the first instant after"),
        _field("end_reason", pa.utf8(), "why it ended; continues where it goes on past the hour", null=True),
        _field("snapshots", pa.int64(), _COUNT),
        _field("deltas", pa.int64(), _COUNT),
        _field("checkpoints", pa.int64(), _COUNT),
        _field("closes", pa.int64(), _COUNT),
        _field("orphans", pa.int64(), _COUNT),
        _field("first_seq", pa.int64(), "of its first record", null=True),
        _field("last_seq", pa.int64(), "of its last record", null=True),
        _field("file", pa.utf8(), "path below the table's folder", null=True),
        _field("first_row", pa.int64(), "in the file", null=True),
        _field("rows", pa.int64(), "in the file"),
        pa.field("bases", BASES, nullable=False, metadata={"unit": "its snapshots, checkpoints and closes, in order"}),
        _field("last_record_hour", INSTANT, "first instant of the latest earlier hour with a base or close", null=True),
        _field("last_change", INSTANT, f"{_US}; of the latest snapshot or delta up to its end", null=True),
        _field("last_audit", INSTANT, f"{_US}; of the latest equal audit up to its end", null=True),
        _field("audits", pa.int64(), "audits in it"),
        _field("digest", pa.utf8(), "of the book at its end, 16 hex digits", null=True),
        _field("version", pa.int32(), "of the hour, from 1"),
        _field("manifest", pa.int64(), "number of the publication"),
        _field("published_at", INSTANT, _US),
        _field("superseded_at", INSTANT, f"{_US}; null while it stands", null=True),
        _field("reason", pa.utf8(), "hour, late, correction, import"),
    ]
)
CORRECTIONS = pa.schema(
    [
        _field("ts", INSTANT, f"{_US}; when it was published"),
        _field("hour", INSTANT, "first instant of the hour"),
        _field("ticker", pa.utf8(), "market ticker, where it concerns one", null=True),
        _field("reason", pa.utf8(), "late, correction"),
        _field("detail", pa.utf8(), "what was withdrawn or added"),
        _field("old_version", pa.int32(), "of the hour"),
        _field("new_version", pa.int32(), "of the hour"),
        _field("manifest", pa.int64(), "number of the publication"),
    ]
)
PUBLISHED: dict[str, pa.Schema] = {name: _published(schema) for name, schema in TABLES.items()} | {
    "coverage": COVERAGE,
    "corrections": CORRECTIONS,
}
"""Every table of the lake by its name; its files stand in partitions of day (dt) and hour (hr)."""
SORT_KEYS: dict[str, tuple[str, ...]] = {
    "orderbook": ("ticker", "ts_recv", "conn", "seq", "kind", "side", "price_e4"),
    "trades": ("ticker", "ts_recv", "conn", "seq", "trade_id"),
    "tickers": ("ticker", "ts_recv", "conn"),
    "lifecycle": ("ticker", "ts_recv", "conn", "seq"),
    "markets": ("ticker", "valid_from"),
    "events": ("event_ticker", "valid_from"),
    "series": ("series_ticker", "valid_from"),
    "audits": ("ticker", "ts_recv", "conn", "seq"),
    "quarantine": ("ts_recv", "conn"),
    "coverage": ("ticker", "channel", "state", "ts_from", "conn", "version"),
    "corrections": ("ts", "hour", "ticker"),
}
"""The order of rows in a published file; nulls first."""
