"""Owns GET /gaps: what was not recorded, of one market or of all, or of a firehose, and why."""

from msgspec import UNSET, Struct, UnsetType, field

from query.coverage import EVERY
from server.endpoint import Cursor, Endpoint, Limit, Reply, Ticker
from server.endpoints.ranges import Channel, Filled, NextCursor, feeds_of, refuse_empty
from server.instants import EndTime, Stamp, StartTime, iso, iso_or_none
from server.questions import Questions


class GapsQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A range of receive times, half-open and open where a bound is left out.

    Of one market, or of all; or of a firehose, which concerns every market, whichever is named.
    """

    market_ticker: Ticker | None = None
    channel: Channel | None = None
    start_time: StartTime | None = None
    end_time: EndTime | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class GapRow(Struct, frozen=True):
    """A stretch in which a market's book, or a firehose (market_ticker *), is not known; ``to`` null: it goes on."""

    market_ticker: str
    channel: Channel
    from_: Stamp = field(name="from")
    to: Stamp | None
    reason: str
    filled: Filled | UnsetType = UNSET


class Gaps(Struct, frozen=True):
    """A page of gaps, by beginning."""

    data: list[GapRow]
    next_cursor: NextCursor
    has_more: bool


def answer(questions: Questions, question: GapsQuestion) -> Reply:
    """Answer with one page."""
    if question.start_time is not None and question.end_time is not None:
        refuse_empty(question.start_time, question.end_time)
    bounds = (question.start_time, question.end_time, question.limit, question.cursor)
    channels = feeds_of(question.market_ticker, question.channel)
    market = None if question.market_ticker == EVERY else question.market_ticker
    page = questions.feed_gaps(channels, *bounds) if channels else questions.gaps(market, *bounds)
    rows = [
        GapRow(
            row.ticker,
            row.channel,
            iso(row.from_us),
            iso_or_none(row.to_us),
            row.reason,
            UNSET if row.filled is None else row.filled,
        )
        for row in page.gaps
    ]
    return Reply(Gaps(rows, page.next_cursor, page.has_more))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/gaps",
        operation_id="listGaps",
        tag="coverage",
        summary="What was not recorded, and why",
        description=(
            "Every stretch in which a market's book is not known, of one market or of all. With `channel` trades, "
            "tickers or lifecycle, or with market_ticker * for all three: the stretches in which that firehose of the "
            "whole exchange was not heard."
        ),
        credits="0",
        question=GapsQuestion,
        reply=Gaps,
        answer=answer,
        codes=("market_not_found",),
    ),
)
