"""What the documents of a capture tell, and since when that could be known.

Owns the two versions of a market that was asked about after its end: as it stood when its first frame came, without
its result, and as it was from its result on. A read as of an instant never sees the future.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from book.wire.lasting import lasting_fields
from book.wire.rest import EventDoc, MarketDoc, decode_market

Documents = Mapping[str, tuple[MarketDoc, EventDoc]]

_LATER = frozenset({"result", "settlement_ts", "settlement_value", "settlement_value_dollars", "expiration_value"})
"""Fields of a market's document that only its result brings."""


class Lesson(NamedTuple):
    """A version of a market, with its event, and when it was there to be learned (us)."""

    at_us: int
    market: MarketDoc
    event: EventDoc


def lessons(documents: Documents, first_us: Mapping[str, int]) -> Iterator[Lesson]:
    """Yield the versions of those markets that have a first frame; none is earlier than that."""
    for ticker, begun_us in first_us.items():
        if ticker not in documents:
            continue
        market, event = documents[ticker]
        over_us = market.settlement_us or market.close_us
        if market.result and over_us is not None and over_us > begun_us:
            yield Lesson(begun_us, _unsettled(market, begun_us), event)
            yield Lesson(over_us, market, event)
        else:
            yield Lesson(begun_us, market, event)


def _unsettled(market: MarketDoc, at_us: int) -> MarketDoc:
    """Return a document as it stood before its market had a result; prices and volumes are later ones, and go too."""
    raw = {name: value for name, value in lasting_fields(market.raw).items() if name not in _LATER}
    raw["status"] = "closed" if market.close_us is not None and market.close_us <= at_us else "active"
    return decode_market(raw)
