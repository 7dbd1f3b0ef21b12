"""Owns what every range has in common: its bounds, its gaps, and the headers that say whether it is whole."""

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from book.errors import ApiError
from query.coverage import EVERY, FEEDS, FeedName
from query.gap import Gap as GapRow
from server.instants import Stamp, iso, iso_or_none

Filled = Annotated[bool, Meta(description="of trades: whether those missing were asked for later and stand here")]


class Gap(Struct, frozen=True):
    """A stretch in which nothing is known; ``to`` is null where it has not ended."""

    from_: Stamp = field(name="from")
    to: Stamp | None
    reason: str
    filled: Filled | UnsetType = UNSET


NextCursor = Annotated[str | None, Meta(description="send it as cursor for the next page; null at the end")]
Complete = Annotated[bool, Meta(description="whether everything in the range asked for was recorded")]
Channel = Annotated[
    Literal["orderbook", "trades", "tickers", "lifecycle"],
    Meta(description="what was recorded: books of markets, or a firehose of the whole exchange"),
]
Gaps = Annotated[list[Gap], Meta(description="what of the range was not recorded, and why")]
WhyEmpty = Annotated[
    Literal["no_activity", "not_recorded", "pending"] | None, Meta(description="why there is no row; null where any is")
]


def refuse_empty(start_us: int, end_us: int, start: str = "start_time", end: str = "end_time") -> None:
    """Raise ApiError ``validation_error`` where a half-open range holds no instant; the names are the fields'."""
    if end_us <= start_us:
        message = f"{end} must lie after {start}; a range includes {start} and not {end}"
        raise ApiError("validation_error", message, field=end)


def feeds_of(ticker: str | None, channel: str | None) -> tuple[FeedName, ...]:
    """Return the firehoses that a question is about, none where it is about books; each concerns every market."""
    if channel is None and ticker == EVERY:
        return FEEDS
    return tuple(name for name in FEEDS if name == channel)


def gap_of(row: GapRow) -> Gap:
    """Render a gap."""
    filled = UNSET if row.filled is None else row.filled
    return Gap(iso(row.from_us), iso_or_none(row.to_us), row.reason, filled)


def headers_of(complete: bool, gaps: Iterable[Gap]) -> dict[str, str]:
    """Return the headers that say before the first byte whether a range is whole, and how many gaps it has."""
    return {"X-Complete": "true" if complete else "false", "X-Gaps": str(len(list(gaps)))}
