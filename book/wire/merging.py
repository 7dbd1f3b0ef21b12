"""Lifecycle messages laid over the records that REST gave.

Owns which field of a message is which field of a market or event, and what each kind of message says of a market's
status. Kinds that are not known here change nothing. Never decides whether a record is a new version.
"""

from collections.abc import Mapping
from typing import Any

from book.units import price_text
from book.wire.messages import Lifecycle
from book.wire.rest import Document, time_text

OVER = frozenset({"determined", "disputed", "amended", "finalized", "settled"})
"""Statuses of a market whose result is known."""
PAID = frozenset({"finalized", "settled"})
"""Statuses of a market that is paid out: nothing follows."""

_TERMS = (
    "title",
    "yes_sub_title",
    "no_sub_title",
    "rules_primary",
    "rules_secondary",
    "can_close_early",
    "event_ticker",
    "strike_type",
    "floor_strike",
    "cap_strike",
    "custom_strike",
)
_FIELDS: dict[str, tuple[str, ...]] = {
    "created": ("exchange_index", "price_level_structure", "price_ranges"),
    "activated": (),
    "deactivated": (),
    "close_date_updated": (),
    "price_level_structure_updated": ("price_level_structure", "price_ranges"),
    "metadata_updated": _TERMS,
    "determined": ("result",),
    "settled": (),
}
"""The kinds of message about a market, and what they carry under the name that REST uses."""
_EVENT_FIELDS = ("event_ticker", "series_ticker", "title", "collateral_return_type", "strike_period", "exchange_index")
_FEES = ("fee_type_override", "fee_multiplier_override")
_SECOND_US = 1_000_000


def merged_market(record: Mapping[str, Any] | None, message: Lifecycle, now_us: int) -> Document | None:
    """Return a market's record with what a message says of it, None where that is nothing or no record is known.

    ``created`` makes one where there was none; ``now_us`` tells whether such a market is open already.
    """
    kind = message.event_type
    if kind not in _FIELDS or (record is None and kind != "created"):
        return None
    found: Document = dict(record or {})
    found["ticker"] = message.ticker
    _copy(found, message.fields, _FIELDS[kind])
    if kind == "created":
        more = message.fields.get("additional_metadata")
        if isinstance(more, dict):
            _copy(found, more, _TERMS)
            _put_time(found, "expected_expiration_time", _seconds_us(more.get("expected_expiration_ts")))
    if kind in ("created", "close_date_updated"):
        _put_time(found, "open_time", message.open_us)
        _put_time(found, "close_time", message.close_us)
    if kind == "determined" and message.settlement_value_e4 is not None:
        found["settlement_value_dollars"] = price_text(message.settlement_value_e4)
    if kind == "settled":
        _put_time(found, "settlement_ts", message.settled_us)
    found["status"] = _status(kind, found.get("status"), opens=message.open_us is not None and message.open_us > now_us)
    return found


def merged_event(record: Mapping[str, Any] | None, message: Lifecycle) -> Document | None:
    """Return an event's record with what a message says of it, None where that is nothing or no record is known."""
    found: Document = dict(record or {})
    fields = message.fields
    if message.event_type == "event_lifecycle":
        _copy(found, fields, _EVENT_FIELDS)
        found["sub_title"] = fields.get("subtitle") or fields.get("sub_title") or found.get("sub_title", "")
        _put_time(found, "strike_date", _seconds_us(fields.get("strike_date")))
        return found
    if message.event_type != "event_fee_update" or record is None:
        return None
    for name in _FEES:
        found.pop(name, None)
        if fields.get(name) is not None:
            found[name] = fields[name]
    return found


def _status(kind: str, status: str | None, *, opens: bool) -> str:
    """Return the status after a message; a message never takes a market back that is further on."""
    if status in PAID or (status in OVER and kind != "settled"):
        return str(status)
    told = {"activated": "active", "deactivated": "inactive", "determined": "determined", "settled": "finalized"}
    return told.get(kind) or status or ("initialized" if opens else "active")


def _copy(found: Document, fields: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if fields.get(name) is not None:
            found[name] = fields[name]


def _put_time(found: Document, name: str, time_us: int | None) -> None:
    if time_us is not None:
        found[name] = time_text(time_us)


def _seconds_us(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return int(str(value)) * _SECOND_US if whole else None
