"""Owns POST /trades: every trade of a market in a range."""

from typing import Literal

from msgspec import Struct

from book.records import Side
from server.encode import Cents, Contracts, cents, contracts
from server.endpoint import Cursor, Endpoint, Limit, Reply, Ticker
from server.endpoints.ranges import Complete, Gaps, NextCursor, WhyEmpty, gap_of, headers_of, refuse_empty
from server.instants import EndTime, Stamp, StartTime, iso, iso_or_none
from server.questions import Questions

_ONE_DOLLAR_E4 = 10_000


class TradesQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A market and a range of receive times, half-open."""

    market_ticker: Ticker
    start_time: StartTime
    end_time: EndTime
    limit: Limit = 100
    cursor: Cursor | None = None


class TradeRow(Struct, frozen=True):
    """A trade; what the venue did not say is null."""

    trade_id: str
    market_ticker: str
    yes_price: Cents
    no_price: Cents
    count: Contracts
    taker_side: Literal["yes", "no"] | None
    block: bool | None
    ts: Stamp
    ts_exchange: Stamp | None


class Trades(Struct, frozen=True):
    """A page of trades."""

    data: list[TradeRow]
    next_cursor: NextCursor
    has_more: bool
    complete: Complete
    gaps: Gaps
    why_empty: WhyEmpty


def answer(questions: Questions, question: TradesQuestion) -> Reply:
    """Answer with one page."""
    refuse_empty(question.start_time, question.end_time)
    page = questions.trades(
        question.market_ticker, question.start_time, question.end_time, question.limit, question.cursor
    )
    gaps = [gap_of(gap) for gap in page.gaps]
    rows = [
        TradeRow(
            row.trade_id,
            row.ticker,
            cents(row.yes_price_e4),
            cents(_ONE_DOLLAR_E4 - row.yes_price_e4),
            contracts(row.qty_e2),
            None if row.taker_side is None else ("no" if row.taker_side == Side.NO else "yes"),
            row.block,
            iso(row.ts_us),
            iso_or_none(row.ts_exch_us),
        )
        for row in page.rows
    ]
    body = Trades(rows, page.next_cursor, page.has_more, page.complete, gaps, page.why_empty)
    return Reply(body, headers_of(page.complete, gaps))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/trades",
        operation_id="listTrades",
        tag="trades",
        summary="Trades of a market in a range",
        description=(
            "Every trade of a market received from start_time up to, not including, end_time. A range is never "
            "refused for a gap: `complete` and `gaps` say what is missing. Trades of a gap are asked for afterwards: "
            "they follow at the end of the range in which the exchange stamped them, and the gap is `filled`; a filled "
            "gap counts as complete."
        ),
        credits="2 a page",
        question=TradesQuestion,
        reply=Trades,
        answer=answer,
        codes=("market_not_found",),
        first_generation=True,
    ),
)
