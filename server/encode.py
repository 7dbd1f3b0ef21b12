"""Owns how answers become JSON: exact numbers for prices and sizes, and the two fields that end every body.

No float stands for a price or a size anywhere; a Decimal is written digit by digit.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from book.units import cents_text, contracts_text, decimal_text

Cents = Annotated[Decimal, Meta(description="cents, exact", examples=[45])]
"""A price or a difference of prices in an answer."""

Contracts = Annotated[Decimal, Meta(description="contracts, exact", examples=[120])]
"""A size or a signed change of one in an answer."""

encode = msgspec.json.Encoder(decimal_format="number").encode
"""Write a value as JSON bytes; a Decimal becomes a number of the same digits."""


@lru_cache(maxsize=16_384)  # every price of a market, and some: 10,001 of them exist
def cents(price_e4: int) -> Decimal:
    """Return a price, or a difference of prices, in cents."""
    return Decimal(cents_text(price_e4))


def half_cents(twice_e4: int) -> Decimal:
    """Return half of ``twice_e4`` (1/10,000 dollar) in cents: a middle may end in half a unit."""
    return Decimal(decimal_text(twice_e4 * 5, 3))


def contracts(qty_e2: int) -> Decimal:
    """Return a size in contracts."""
    return Decimal(contracts_text(qty_e2))


def finish(body: bytes, request_id: str, elapsed_us: int) -> bytes:
    """End an encoded, non-empty JSON object with ``request_id`` and ``response_time`` (seconds)."""
    seconds = f"{elapsed_us // 1_000_000}.{elapsed_us % 1_000_000:06d}"
    return b'%b,"request_id":"%b","response_time":%b}' % (body[:-1], request_id.encode(), seconds.encode())


def finishing_fields() -> dict[str, Any]:
    """Return the JSON schema of the fields that ``finish`` adds."""
    return {
        "request_id": {"type": "string", "pattern": "^req_[0-9a-f]{12}$", "description": "names this request"},
        "response_time": {"type": "number", "minimum": 0, "description": "seconds spent on it here"},
    }
