"""Owns POST /deltas: every change of a book in a range, in the order of the log."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from book.records import Kind, Side
from server.encode import Cents, Contracts, cents, contracts
from server.endpoint import Cursor, Endpoint, Limit, Reply, Ticker
from server.endpoints.ranges import Complete, Gaps, NextCursor, WhyEmpty, gap_of, headers_of, refuse_empty
from server.instants import EndTime, Stamp, StartTime, iso, iso_or_none
from server.questions import Questions


class DeltasQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A market and a range of receive times, half-open; ``orphans`` lists changes of unknown books too."""

    market_ticker: Ticker
    start_time: StartTime
    end_time: EndTime
    limit: Limit = 100
    cursor: Cursor | None = None
    orphans: bool = False


class DeltaRow(Struct, frozen=True):
    """A signed change of one price level; ``kind`` stands only where orphans were asked for."""

    market_ticker: str
    ts: Stamp
    ts_exchange: Stamp | None
    conn: int
    seq: int
    price_cents: Cents
    delta_amount: Contracts
    side: Literal["yes", "no"]
    kind: Annotated[Literal["delta", "orphan"], Meta(description="orphan: kept, belongs to no book")] | UnsetType = (
        UNSET
    )


class Deltas(Struct, frozen=True):
    """A page of changes."""

    data: list[DeltaRow]
    next_cursor: NextCursor
    has_more: bool
    complete: Complete
    gaps: Gaps
    why_empty: WhyEmpty


def answer(questions: Questions, question: DeltasQuestion) -> Reply:
    """Answer with one page."""
    refuse_empty(question.start_time, question.end_time)
    page = questions.deltas(
        question.market_ticker,
        question.start_time,
        question.end_time,
        question.limit,
        question.cursor,
        orphans=question.orphans,
    )
    gaps = [gap_of(gap) for gap in page.gaps]
    rows = [
        DeltaRow(
            row.ticker,
            iso(row.ts_us),
            iso_or_none(row.ts_exch_us),
            row.conn,
            row.seq,
            cents(row.price_e4),
            contracts(row.change_e2),
            "no" if row.side == Side.NO else "yes",
            ("orphan" if row.kind == Kind.ORPHAN else "delta") if question.orphans else UNSET,
        )
        for row in page.rows
    ]
    body = Deltas(rows, page.next_cursor, page.has_more, page.complete, gaps, page.why_empty)
    return Reply(body, headers_of(page.complete, gaps))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/deltas",
        operation_id="listDeltas",
        tag="deltas",
        summary="Changes of a book in a range",
        description=(
            "Every change of a market's book received from start_time up to, not including, end_time. A range is "
            "never refused for a gap: `complete` and `gaps` say what is missing."
        ),
        credits="2 a page",
        question=DeltasQuestion,
        reply=Deltas,
        answer=answer,
        codes=("market_not_found",),
        first_generation=True,
    ),
)
