"""Numbers as exact decimal text, and the two fields that end every body."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.encode import cents, contracts, encode, finish, half_cents


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (cents(4500), b"45"),
        (cents(910), b"9.1"),
        (cents(1234), b"12.34"),
        (cents(1), b"0.01"),
        (cents(0), b"0"),
        (cents(10_000), b"100"),
        (cents(-910), b"-9.1"),
        (contracts(12_000), b"120"),
        (contracts(5537), b"55.37"),
        (contracts(-50), b"-0.5"),
        (contracts(2**53), b"90071992547409.92"),
        (half_cents(9_001), b"45.005"),
        (half_cents(9_000), b"45"),
        (half_cents(1), b"0.005"),
        (half_cents(20_000), b"100"),
    ],
)
def test_a_number_is_written_digit_by_digit(value: Decimal, text: bytes) -> None:
    assert encode(value) == text


@given(st.integers(-10_000, 10_000), st.integers(-(2**53), 2**53))
def test_no_number_loses_anything(price_e4: int, qty_e2: int) -> None:
    assert Fraction(encode(cents(price_e4)).decode()) == Fraction(price_e4, 100)
    assert Fraction(encode(half_cents(price_e4)).decode()) == Fraction(price_e4, 200)
    assert Fraction(encode(contracts(qty_e2)).decode()) == Fraction(qty_e2, 100)
    assert b"E" not in encode([cents(price_e4), contracts(qty_e2)])


def test_a_body_ends_with_its_id_and_time() -> None:
    body = finish(b'{"data":[]}', "req_0123456789ab", 1_234_567)
    assert body == b'{"data":[],"request_id":"req_0123456789ab","response_time":1.234567}'
    assert list(json.loads(body)) == ["data", "request_id", "response_time"]
