"""Tests of cli.hours."""

import pytest

from cli.hours import hour_text, parse_day, parse_hour

HOUR = 496_000


@pytest.mark.parametrize("text", ["2026-08-01T16", "2026-08-01T16:00", "2026-08-01T16Z", "2026-08-01T16:00Z"])
def test_an_hour_is_read_as_a_person_writes_it(text: str) -> None:
    assert parse_hour(text) == HOUR


@pytest.mark.parametrize(
    "text", ["", "2026-08-01", "2026-08-01T24", "2026-08-01T1", "01T16", "2026-08-01T16:30", "2026-02-30T01"]
)
def test_what_is_no_hour_is_none(text: str) -> None:
    assert parse_hour(text) is None


def test_a_day_is_its_first_hour() -> None:
    assert parse_day("2026-08-01") == HOUR - 16
    assert parse_day("2026-08-01T16") is parse_day("yesterday") is None


def test_an_hour_written_is_the_hour_read() -> None:
    assert [parse_hour(hour_text(hour)) for hour in range(HOUR, HOUR + 30)] == list(range(HOUR, HOUR + 30))
