"""What lasts of the venue's documents, and what only moves with trading.

Owns which fields are which: prices, sizes, volumes, open interest, liquidity and the time of the last update move.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from book.wire.rest import Document

_encode_sorted = msgspec.json.Encoder(decimal_format="number", order="sorted").encode
_LASTING_DOLLARS = frozenset({"notional_value_dollars", "settlement_value_dollars", "settlement_floor_dollars"})
_MOVING_HEADS = (
    "yes_bid",
    "yes_ask",
    "no_bid",
    "no_ask",
    "last_price",
    "previous_",
    "volume",
    "open_interest",
    "liquidity",
)
_MOVING = frozenset({"updated_time", "last_updated_ts", "markets"})


def lasting_fields(document: Mapping[str, Any]) -> Document:
    """Return a document without the fields that move with trading, so that two versions compare by what they mean.

    The markets that an event's document may carry are documents of their own.
    """
    return {name: value for name, value in document.items() if not _moves(name)}


def comparable(lasting: Mapping[str, Any]) -> bytes:
    """Write a document as JSON with its keys in order: equal bytes say the same."""
    return _encode_sorted(lasting)


def _moves(name: str) -> bool:
    if name in _LASTING_DOLLARS:
        return False
    return name.startswith(_MOVING_HEADS) or name.endswith(("_dollars", "_fp")) or name in _MOVING
