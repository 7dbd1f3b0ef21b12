"""Owns POST /orderbook and GET /orderbook/{ticker}: one book at one instant, with what it rests on.

``depth`` cuts what is shown; best prices and the digest are of the whole book.
"""

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

from book.errors import ApiError
from book.ladder import Book
from book.records import Side
from query.point import BookAnswer, Clock, OnGap
from server.encode import Cents, Contracts, cents, contracts, half_cents
from server.endpoint import Depth, Endpoint, Reply, Ticker
from server.endpoints.ranges import Gap, gap_of
from server.instants import AsOf, At, Stamp, iso, iso_or_none
from server.questions import Questions

_ONE_DOLLAR_E4 = 10_000


class OrderbookQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A market and an instant; without one, the newest book that is known."""

    market_ticker: Ticker
    timestamp: At | None = None
    depth: Depth | None = None
    clock: Clock = "received"
    on_gap: OnGap = "error"
    as_of: AsOf | None = None


class OrderbookPathQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """The same question by path and query string."""

    ticker: Ticker
    at: At | None = None
    depth: Depth | None = None
    clock: Clock = "received"
    on_gap: OnGap = "error"
    as_of: AsOf | None = None


class PriceLevel(Struct, frozen=True):
    """What is bid at a price."""

    price: Cents
    quantity: Contracts


class Quality(Struct, frozen=True):
    """What the book rests on, and how far it may be trusted."""

    complete: Annotated[bool, Meta(description="false only where on_gap=last was asked and the book is not known")]
    basis: Literal["checkpoint", "snapshot"]
    basis_at: Stamp
    conn: Annotated[int, Meta(description="subscription that delivered the book; seq counts within it")]
    seq: Annotated[int, Meta(description="the venue's sequence number of the last message applied")]
    last_change_at: Stamp
    known_until: Stamp
    last_audit_at: Annotated[Stamp | None, Meta(description="last time the venue's own book was equal to ours")]
    gap: Gap | None
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{16}$", description="of the whole book, whatever the depth")]


class Orderbook(Struct, frozen=True):
    """One book. Bids of both sides, best first; a YES ask at p is a NO bid at 100 - p."""

    market_ticker: str
    timestamp: Stamp
    snapshot_basis: Stamp
    deltas_applied: Annotated[int, Meta(ge=0)]
    yes: list[PriceLevel]
    no: list[PriceLevel]
    best_yes_bid: Cents | None
    best_yes_ask: Cents | None
    spread: Cents | None
    mid: Cents | None
    quality: Quality


def answer_body(questions: Questions, question: OrderbookQuestion) -> Reply:
    """Answer the question that came in a body."""
    return _answer(questions, question)


def answer_path(questions: Questions, question: OrderbookPathQuestion) -> Reply:
    """Answer the question that came in a path."""
    by_body = OrderbookQuestion(
        question.ticker, question.at, question.depth, question.clock, question.on_gap, question.as_of
    )
    return _answer(questions, by_body)


def _answer(questions: Questions, question: OrderbookQuestion) -> Reply:
    at_us = question.timestamp
    try:
        found = questions.book_at(
            question.market_ticker, at_us, clock=question.clock, on_gap=question.on_gap, as_of_us=question.as_of
        )
    except ApiError as error:
        if error.code != "not_yet_known" or at_us is None:
            raise
        # The instant asked for tells the caller, and Retry-After, how long there is to wait.
        raise ApiError(error.code, error.message, timestamp=int(at_us), **error.fields) from error
    return Reply(render(found, question.depth))


def render(found: BookAnswer, depth: int | None) -> Orderbook:
    """Render a book; ``depth`` levels a side are shown, all without it."""
    best_bid, best_ask, spread, mid = _top(found.book)
    return Orderbook(
        market_ticker=found.ticker,
        timestamp=iso(found.at_us),
        snapshot_basis=iso(found.basis_at_us),
        deltas_applied=found.deltas_applied,
        yes=_side(found.book, Side.YES, depth),
        no=_side(found.book, Side.NO, depth),
        best_yes_bid=best_bid,
        best_yes_ask=best_ask,
        spread=spread,
        mid=mid,
        quality=Quality(
            complete=found.complete,
            basis=found.basis,
            basis_at=iso(found.basis_at_us),
            conn=found.conn,
            seq=found.seq,
            last_change_at=iso(found.last_change_us),
            known_until=iso(found.known_until_us),
            last_audit_at=iso_or_none(found.last_audit_us),
            gap=gap_of(found.gap) if found.gap is not None else None,
            digest=found.digest,
        ),
    )


def _side(book: Book, side: Side, depth: int | None) -> list[PriceLevel]:
    levels = [PriceLevel(cents(price_e4), contracts(qty_e2)) for at, price_e4, qty_e2 in book.levels() if at == side]
    levels.reverse()
    return levels[:depth]


def _top(book: Book) -> tuple[Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
    """Return best YES bid, best YES ask, spread and middle; what an empty side leaves unknown is None."""
    yes, no = book.best(Side.YES), book.best(Side.NO)
    bid_e4 = None if yes is None else yes[0]
    ask_e4 = None if no is None else _ONE_DOLLAR_E4 - no[0]
    bid = None if bid_e4 is None else cents(bid_e4)
    ask = None if ask_e4 is None else cents(ask_e4)
    if bid_e4 is None or ask_e4 is None:
        return bid, ask, None, None
    return bid, ask, cents(ask_e4 - bid_e4), half_cents(ask_e4 + bid_e4)


_CODES = ("market_not_found", "no_data_available", "data_gap", "not_yet_known", "market_closed")
_DESCRIPTION = (
    "The book at an instant (inclusive), or the newest one known. A book that is not known is refused: `data_gap` "
    "with from, to and reason; `not_yet_known` past known_until; `market_closed` after the end; `no_data_available` "
    "before the first data. `on_gap=last` gives the last known book instead, with `complete: false`. "
    "`clock=exchange` takes the instant on the venue's clock. `as_of` answers from the published hours as they stood "
    "at that time, and `no_data_available` with reason `not_published` where there was none yet."
)

ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/orderbook",
        operation_id="getOrderbook",
        tag="orderbook",
        summary="A book at an instant",
        description=_DESCRIPTION,
        credits="5",
        question=OrderbookQuestion,
        reply=Orderbook,
        answer=answer_body,
        codes=_CODES,
        first_generation=True,
    ),
    Endpoint(
        method="GET",
        path="/orderbook/{ticker}",
        operation_id="getOrderbookByTicker",
        tag="orderbook",
        summary="A book at an instant, by path",
        description=_DESCRIPTION,
        credits="5",
        question=OrderbookPathQuestion,
        reply=Orderbook,
        answer=answer_path,
        codes=_CODES,
        first_generation=True,
    ),
)
