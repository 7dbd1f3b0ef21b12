"""What happens at the venue, one step at a time: the common language of the sources.

Owns the shapes only. A source yields steps in order of ``at_us``, the clock time at which the step takes place;
``ts_us`` is the time that the venue's messages carry. Every source is an iterator of steps, nothing more.
"""

from typing import Any

import msgspec

from book.records import Level
from book.wire.rest import EventDoc, MarketDoc, SeriesDoc


class Listed(msgspec.Struct, frozen=True):
    """A market becomes known, with its first book; ``announce`` says it on the lifecycle channel."""

    at_us: int
    market: MarketDoc
    event: EventDoc
    series: SeriesDoc
    market_id: str = ""
    levels: tuple[Level, ...] = ()
    announce: bool = True


class BookSet(msgspec.Struct, frozen=True):
    """A market's book becomes what ``levels`` says, and subscribers get it as an unsolicited snapshot."""

    at_us: int
    ticker: str
    levels: tuple[Level, ...] = ()


class Changed(msgspec.Struct, frozen=True, gc=False):
    """One level of a book changes by a signed size."""

    at_us: int
    ticker: str
    side: int
    price_e4: int
    change_e2: int
    ts_us: int


class Traded(msgspec.Struct, frozen=True, gc=False):
    """A trade; ``block`` None where the source does not say."""

    at_us: int
    ticker: str
    trade_id: str
    yes_price_e4: int
    qty_e2: int
    taker_side: int
    block: bool | None
    ts_us: int


class Milestone(msgspec.Struct, frozen=True):
    """A market's state changes; None leaves a field as it is.

    ``message`` is the body that goes out on the lifecycle channel, None where the venue says nothing.
    """

    at_us: int
    ticker: str
    status: str | None = None
    message: dict[str, Any] | None = None
    close_us: int | None = None
    result: str | None = None
    settlement_value_e4: int | None = None
    settlement_us: int | None = None
    yes_sub_title: str | None = None
    price_level_structure: str | None = None
    price_ranges: tuple[dict[str, str], ...] | None = None


Step = Listed | BookSet | Changed | Traded | Milestone
