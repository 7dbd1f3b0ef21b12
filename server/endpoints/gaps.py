"""Owns GET /gaps: what was not recorded, of one market or of all, and why."""

from msgspec import Struct, field

from server.endpoint import Cursor, Endpoint, Limit, Reply, Ticker
from server.endpoints.ranges import NextCursor, refuse_empty
from server.instants import EndTime, Stamp, StartTime, iso, iso_or_none
from server.questions import Questions


class GapsQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A range of receive times, half-open and open where a bound is left out; of one market, or of all."""

    market_ticker: Ticker | None = None
    start_time: StartTime | None = None
    end_time: EndTime | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class GapRow(Struct, frozen=True):
    """A stretch of a market in which its book is not known; ``to`` is null where it has not ended."""

    market_ticker: str
    from_: Stamp = field(name="from")
    to: Stamp | None
    reason: str


class Gaps(Struct, frozen=True):
    """A page of gaps, by beginning."""

    data: list[GapRow]
    next_cursor: NextCursor
    has_more: bool


def answer(questions: Questions, question: GapsQuestion) -> Reply:
    """Answer with one page."""
    if question.start_time is not None and question.end_time is not None:
        refuse_empty(question.start_time, question.end_time)
    page = questions.gaps(
        question.market_ticker, question.start_time, question.end_time, question.limit, question.cursor
    )
    rows = [GapRow(row.ticker, iso(row.from_us), iso_or_none(row.to_us), row.reason) for row in page.gaps]
    return Reply(Gaps(rows, page.next_cursor, page.has_more))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/gaps",
        operation_id="listGaps",
        tag="coverage",
        summary="What was not recorded, and why",
        description="Every stretch in which a market's book is not known, of one market or of all.",
        credits="0",
        question=GapsQuestion,
        reply=Gaps,
        answer=answer,
        codes=("market_not_found",),
    ),
)
