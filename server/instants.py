"""Owns how instants look over HTTP: ISO 8601 or Unix milliseconds in, ISO 8601 UTC with six digits out.

An instant is integer microseconds since the Unix epoch, UTC. Nothing is rounded: what is finer is refused.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any

from msgspec import Meta

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: every instant here is UTC, and isoformat adds no offset
_MICROSECOND = timedelta(microseconds=1)
_MAX_MS = 253_402_300_799_999
"""The last millisecond of the year 9999."""

_ISO = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})"
    r"(?:[Tt ](?P<time>\d{2}:\d{2})(?::(?P<second>\d{2})(?:\.(?P<fraction>\d{1,12}))?)?"
    # An unescaped "+" in a query string arrives as a space; nothing else can stand there.
    r"(?P<zone>[Zz]|[+\- ]\d{2}:?\d{2})?)?",
    re.ASCII,
)

INSTANT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": 0, "maximum": _MAX_MS},
    ],
}
"""What an instant may look like in a question."""

_FORMS = "ISO 8601 (without an offset: UTC; at most microseconds) or Unix milliseconds"

Stamp = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z$",
        description="ISO 8601, UTC, microseconds",
        examples=["2026-08-10T22:05:00.000000Z"],
    ),
]
"""An instant in an answer."""


class Instant(int):
    """An instant of a question, in microseconds since the Unix epoch, UTC."""

    __slots__ = ()


At = Annotated[Instant, Meta(description=f"an instant, {_FORMS}", examples=["2026-08-10T22:05:00Z", 1786399500000])]
AsOf = Annotated[
    Instant,
    Meta(
        description=f"answer from the published hours as they stood then, corrections since left out; {_FORMS}",
        examples=["2026-08-11T00:00:00Z"],
    ),
]
StartTime = Annotated[Instant, Meta(description=f"from then on; {_FORMS}", examples=["2026-08-10T22:00:00Z"])]
EndTime = Annotated[Instant, Meta(description=f"up to then, exclusive; {_FORMS}", examples=["2026-08-10T22:05:00Z"])]


class InstantError(ValueError):
    """A value that is no instant; the text says why."""


def parse_instant(value: object) -> Instant:
    """Read an instant from JSON or from a query string.

    A string of digits alone is Unix milliseconds, like a number. Raises InstantError.
    """
    if isinstance(value, float) and value.is_integer():  # 10.0 is the whole number 10 in JSON
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _from_ms(value)
    if not isinstance(value, str):
        raise InstantError("a time is an ISO 8601 string or a whole number of Unix milliseconds")
    text = value.strip()
    if text.isascii() and text.isdigit():
        return _from_ms(int(text[:20]))
    match = _ISO.fullmatch(text)
    if match is None:
        raise InstantError(f"{_shown(value)} is neither ISO 8601 nor Unix milliseconds")
    fraction = match["fraction"] or ""
    if fraction[6:].strip("0"):
        raise InstantError(f"{_shown(value)} is finer than a microsecond")
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['time'] or '00:00'}:{match['second'] or '00'}")
        moment = moment.replace(tzinfo=_zone(match["zone"])).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise InstantError(f"{_shown(value)} does not exist in the calendar") from None
    return Instant((moment - _EPOCH) // _MICROSECOND + int(fraction[:6].ljust(6, "0")))


def iso(us: int) -> str:
    """Write an instant as ISO 8601 UTC with exactly six fraction digits and ``Z``."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat(timespec="microseconds") + "Z"


def iso_or_none(us: int | None) -> str | None:
    """Write an instant as ``iso`` does, None as None."""
    return None if us is None else iso(us)


def _from_ms(ms: int) -> Instant:
    if not 0 <= ms <= _MAX_MS:
        raise InstantError(f"Unix milliseconds run from 0 to {_MAX_MS} (the year 9999)")
    return Instant(ms * 1000)


def _zone(text: str | None) -> timezone:
    if text is None or text in "Zz":
        return UTC
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _shown(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:60] + "...")
