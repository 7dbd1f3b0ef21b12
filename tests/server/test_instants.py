"""Times in and out: what is read, what is refused, and that nothing is rounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.instants import InstantError, iso, iso_or_none, parse_instant

TEN_PAST_TEN_US = 1_786_399_800_000_000  # 2026-08-10T22:10:00Z


@pytest.mark.parametrize(
    ("text", "after_us"),
    [
        ("2026-08-10T22:10:00Z", 0),
        ("2026-08-10T22:10:00", 0),
        ("2026-08-10 22:10:00", 0),
        ("2026-08-10T22:10", 0),
        ("2026-08-10t22:10:00z", 0),
        ("2026-08-11T00:10:00+02:00", 0),
        ("2026-08-11T00:10:00 02:00", 0),  # a "+" that a query string turned into a space
        ("2026-08-10T17:10:00-0500", 0),
        ("2026-08-10T22:10:00.5Z", 500_000),
        ("2026-08-10T22:10:00.000001Z", 1),
        ("2026-08-10T22:10:00.123456000Z", 123_456),
        ("1786399800000", 0),
        (1_786_399_800_000, 0),
        (1_786_399_800_000.0, 0),
        (1_786_399_800_001, 1000),
    ],
)
def test_an_instant_is_read_exactly(text: str | int, after_us: int) -> None:
    assert parse_instant(text) == TEN_PAST_TEN_US + after_us


def test_a_date_alone_is_its_midnight() -> None:
    assert iso(parse_instant("2026-08-10")) == "2026-08-10T00:00:00.000000Z"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-08-10T24:00:00Z",
        "2026-08-10T22:10:60Z",
        "2026-08-10T22:10:00.1234567Z",
        "2026-08-10T22:10:00+99:00",
        "2026-08-10Z",
        "2026-W33-1",
        "0001-01-01T00:00:00+01:00",
        "9" * 40,
        "\u0661\u0667\u0668\u0666",
        "-5",
        "1786399800.5",
        True,
        None,
        1.5,
        1e300,
        float("inf"),
        float("nan"),
        -1,
        1_786_399_800_000_000,  # microseconds
        [],
        {},
    ],
)
def test_what_is_no_instant_is_refused(value: object) -> None:
    with pytest.raises(InstantError):
        parse_instant(value)


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_an_instant_survives_the_round_trip(us: int) -> None:
    text = iso(us)
    assert len(text) == len("2026-08-10T22:10:00.000000Z")
    assert parse_instant(text) == us


@given(st.integers(0, 253_402_300_799_999))
def test_milliseconds_survive_as_number_and_as_text(ms: int) -> None:
    assert parse_instant(ms) == parse_instant(str(ms)) == ms * 1000


def test_none_stays_none() -> None:
    assert iso_or_none(None) is None
    assert iso_or_none(0) == "1970-01-01T00:00:00.000000Z"
