"""Owns how a person writes an hour and a day: 2026-08-10T22 and 2026-08-10, UTC. Inside, hours count from the epoch."""

from datetime import UTC, datetime

from lake import paths


def parse_hour(text: str) -> int | None:
    """Return the hour that was written, with or without ``:00`` and ``Z`` at its end; None where it is none."""
    day, _, rest = text.partition("T")
    return paths.parse_hour(day, rest.removesuffix("Z").removesuffix(":00"))


def parse_day(text: str) -> int | None:
    """Return the first hour of the day that was written; None where it is none."""
    return paths.parse_hour(text, "00")


def hour_text(hour: int) -> str:
    """Return an hour as a person writes it."""
    return f"{datetime.fromtimestamp(paths.hour_start_us(hour) // 1_000_000, UTC):%Y-%m-%dT%H}"
