"""Exact prices and sizes: text to integer and back, without a float in between.

Owns the two units: price in 1/10,000 dollar (``_e4``), size in 1/100 contract (``_e2``). Never rounds.
"""

import re

from book.errors import UnrepresentableError

MAX_PRICE_E4 = 10_000
MAX_QTY_E2 = 2**53
"""Largest size, in 1/100 contract, that every reader of the lake can hold exactly."""

_DECIMAL = re.compile(r"(-?)([0-9]{1,18})(?:\.([0-9]{0,18}))?")


def _scaled(text: str, digits: int, unit: str) -> int:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise UnrepresentableError(text, unit)
    sign, whole, fraction = match[1], match[2], match[3] or ""
    if fraction[digits:].strip("0"):
        raise UnrepresentableError(text, unit)
    value = int(whole + fraction[:digits].ljust(digits, "0"))
    return -value if sign else value


def parse_price_e4(text: str) -> int:
    """Read a price in dollars as 1/10,000 dollar.

    Raises UnrepresentableError where the text is finer than the unit, outside 0..1 dollar, or no decimal number.
    """
    value = _scaled(text, 4, "1/10,000 dollar")
    if not 0 <= value <= MAX_PRICE_E4:
        raise UnrepresentableError(text, "1/10,000 dollar")
    return value


def parse_qty_e2(text: str) -> int:
    """Read a number of contracts, signed, as 1/100 contract.

    Raises UnrepresentableError where the text is finer than the unit, beyond MAX_QTY_E2, or no decimal number.
    """
    value = _scaled(text, 2, "1/100 contract")
    if abs(value) > MAX_QTY_E2:
        raise UnrepresentableError(text, "1/100 contract")
    return value


def price_text(price_e4: int) -> str:
    """Write a price as the venue does: ``4500`` is ``0.4500``."""
    return f"{price_e4 // 10_000}.{price_e4 % 10_000:04d}"


def qty_text(qty_e2: int) -> str:
    """Write a size or a signed change as the venue does: ``-1200`` is ``-12.00``."""
    whole, rest = divmod(abs(qty_e2), 100)
    return f"{'-' if qty_e2 < 0 else ''}{whole}.{rest:02d}"


def decimal_text(value: int, digits: int) -> str:
    """Write ``value / 10**digits`` exactly, with as few fraction digits as it needs."""
    scale = 10**digits
    whole, rest = divmod(abs(value), scale)
    text = f"{whole}.{rest:0{digits}d}".rstrip("0").rstrip(".") if rest else str(whole)
    return f"-{text}" if value < 0 else text


def cents_text(price_e4: int) -> str:
    """Write a price in cents exactly: ``4500`` is ``45``, ``910`` is ``9.1``."""
    return decimal_text(price_e4, 2)


def contracts_text(qty_e2: int) -> str:
    """Write a size in contracts exactly: ``12000`` is ``120``, ``5537`` is ``55.37``."""
    return decimal_text(qty_e2, 2)
