"""A stretch in which a market's book is not known, and how instants are shown in words.

Owns the one shape of a gap that every answer uses.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Gap:
    """The stretch [from_us, to_us) of one market; ``to_us`` is None while it is open.

    ``reason`` is a close's reason, ``stall`` for a silence, ``late_start`` before the first snapshot. ``last_known_us``
    and ``next_known_us`` are the nearest instants with a complete book, where they were looked for and exist.
    """

    ticker: str
    from_us: int
    to_us: int | None
    reason: str
    conn: int | None = None
    last_known_us: int | None = None
    next_known_us: int | None = None
    channel: Literal["orderbook", "trades", "tickers", "lifecycle"] = "orderbook"
    filled: bool | None = None
    """Of a firehose: whether all that was missing was asked for later and stands in the record."""


def instant_text(ts_us: int) -> str:
    """Return an instant as ISO 8601 UTC with six fraction digits; one that no calendar holds, as its number."""
    try:
        return f"{_EPOCH + timedelta(microseconds=ts_us):%Y-%m-%dT%H:%M:%S.%fZ}"
    except OverflowError:
        return f"{ts_us} us"
