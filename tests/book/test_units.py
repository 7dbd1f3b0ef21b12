"""Exact text to integer and back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.errors import UnrepresentableError
from book.units import (
    MAX_PRICE_E4,
    MAX_QTY_E2,
    cents_text,
    contracts_text,
    parse_price_e4,
    parse_qty_e2,
    price_text,
    qty_text,
)


@given(st.integers(0, MAX_PRICE_E4))
def test_price_round_trip(price_e4: int) -> None:
    assert parse_price_e4(price_text(price_e4)) == price_e4
    assert Decimal(cents_text(price_e4)) == Decimal(price_e4) / 100


@given(st.integers(-MAX_QTY_E2, MAX_QTY_E2))
def test_qty_round_trip(qty_e2: int) -> None:
    assert parse_qty_e2(qty_text(qty_e2)) == qty_e2
    assert Decimal(contracts_text(qty_e2)) == Decimal(qty_e2) / 100


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-2, max_value=2, places=7))
def test_nothing_finer_than_the_price_unit_passes(value: Decimal) -> None:
    text = format(value, "f")
    scaled = value * 10_000
    if scaled == scaled.to_integral_value() and 0 <= scaled <= MAX_PRICE_E4:
        assert parse_price_e4(text) == int(scaled)
    else:
        with pytest.raises(UnrepresentableError):
            parse_price_e4(text)


@pytest.mark.parametrize(
    "text", ["", "-", ".", "0.45001", "1.0001", "-0.01", "1e-2", " 0.5", "0.5 ", "\uff10.5", "nan", "+0.5"]
)
def test_bad_prices_are_refused(text: str) -> None:
    with pytest.raises(UnrepresentableError) as caught:
        parse_price_e4(text)
    assert caught.value.text == text


@pytest.mark.parametrize(
    ("text", "qty_e2"), [("-12.00", -1200), ("55.37", 5537), ("0.29", 29), ("7", 700), ("3.", 300)]
)
def test_sizes(text: str, qty_e2: int) -> None:
    assert parse_qty_e2(text) == qty_e2


@pytest.mark.parametrize(("value", "shown"), [(4500, "45"), (910, "9.1"), (1234, "12.34"), (1, "0.01"), (0, "0")])
def test_cents(value: int, shown: str) -> None:
    assert cents_text(value) == shown
