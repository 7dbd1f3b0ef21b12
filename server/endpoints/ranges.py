"""Owns what every range has in common: its bounds, its gaps, and the headers that say whether it is whole."""

from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from book.errors import ApiError
from query.gap import Gap as GapRow
from server.instants import Stamp, iso, iso_or_none


class Gap(Struct, frozen=True):
    """A stretch in which nothing is known; ``to`` is null where it has not ended."""

    from_: Stamp = field(name="from")
    to: Stamp | None
    reason: str


NextCursor = Annotated[str | None, Meta(description="send it as cursor for the next page; null at the end")]
Complete = Annotated[bool, Meta(description="whether everything in the range asked for was recorded")]
Gaps = Annotated[list[Gap], Meta(description="what of the range was not recorded, and why")]
WhyEmpty = Annotated[
    Literal["no_activity", "not_recorded", "pending"] | None, Meta(description="why there is no row; null where any is")
]


def refuse_empty(start_us: int, end_us: int, start: str = "start_time", end: str = "end_time") -> None:
    """Raise ApiError ``validation_error`` where a half-open range holds no instant; the names are the fields'."""
    if end_us <= start_us:
        message = f"{end} must lie after {start}; a range includes {start} and not {end}"
        raise ApiError("validation_error", message, field=end)


def gap_of(row: GapRow) -> Gap:
    """Render a gap."""
    return Gap(iso(row.from_us), iso_or_none(row.to_us), row.reason)


def headers_of(complete: bool, gaps: Iterable[Gap]) -> dict[str, str]:
    """Return the headers that say before the first byte whether a range is whole, and how many gaps it has."""
    return {"X-Complete": "true" if complete else "false", "X-Gaps": str(len(list(gaps)))}
