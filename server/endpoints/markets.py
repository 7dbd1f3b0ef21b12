"""Owns GET /markets and GET /markets/{ticker}: what is recorded, and how much of it."""

from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Raw, Struct

from book.errors import FrameError
from book.wire.rest import MarketDoc, decode_market, parse_document
from query.markets import MarketFilter, MarketView
from server.endpoint import Cursor, Endpoint, Filter, Limit, Reply, Ticker
from server.endpoints.ranges import NextCursor, refuse_empty
from server.instants import EndTime, Stamp, StartTime, iso, iso_or_none
from server.questions import Questions

RecordedPct = Annotated[float | None, Meta(description="percent of the market's life so far whose book is known")]
Metadata = Annotated[
    Raw | None,
    Meta(description="the venue's whole record, as last told", extra_json_schema={"type": ["object", "null"]}),
]


class MarketsQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """Filters; each that is given narrows the list."""

    status: Filter | None = None
    event_ticker: Filter | None = None
    series_ticker: Filter | None = None
    category: Filter | None = None
    q: Annotated[Filter, Meta(description="looked for in ticker and title, in any case")] | None = None
    recorded_from: StartTime | None = None
    recorded_to: EndTime | None = None
    updated_since: StartTime | None = None
    limit: Limit | None = None
    cursor: Cursor | None = None


class MarketQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A market."""

    ticker: Ticker


class MarketRow(Struct, frozen=True):
    """A market as listed; what the venue never said is null."""

    ticker: str
    title: str | None
    event_ticker: str | None
    series_ticker: str | None
    status: str | None
    category: str | None
    open_time: Stamp | None
    close_time: Stamp | None
    result: str | None
    first_data_at: Stamp | None
    last_data_at: Stamp | None
    recorded_pct: RecordedPct


class MarketDetail(Struct, frozen=True):
    """A market with everything known of it."""

    ticker: str
    title: str | None
    event_ticker: str | None
    series_ticker: str | None
    status: str | None
    category: str | None
    open_time: Stamp | None
    close_time: Stamp | None
    result: str | None
    first_data_at: Stamp | None
    last_data_at: Stamp | None
    recorded_pct: RecordedPct
    rules: str | None
    strike_price: Annotated[Decimal | None, Meta(description="exact; of a range its lower end")]
    discovered_at: Stamp | None
    metadata: Metadata
    snapshot_count: int
    delta_count: int


class Markets(Struct, frozen=True):
    """A page of markets, newest discovered first."""

    data: list[MarketRow]
    next_cursor: NextCursor
    has_more: bool


class MarketReply(Struct, frozen=True):
    """One market."""

    data: MarketDetail


def answer_list(questions: Questions, question: MarketsQuestion) -> Reply:
    """Answer with one page."""
    if question.recorded_from is not None and question.recorded_to is not None:
        refuse_empty(question.recorded_from, question.recorded_to, "recorded_from", "recorded_to")
    chosen = MarketFilter(
        status=question.status,
        event_ticker=question.event_ticker,
        series_ticker=question.series_ticker,
        category=question.category,
        q=question.q,
        recorded_from_us=question.recorded_from,
        recorded_to_us=question.recorded_to,
        updated_since_us=question.updated_since,
    )
    page = questions.markets(chosen, question.limit, question.cursor)
    return Reply(Markets([_row(view) for view in page.markets], page.next_cursor, page.has_more))


def answer_detail(questions: Questions, question: MarketQuestion) -> Reply:
    """Answer with one market."""
    return Reply(MarketReply(_detail(questions.market(question.ticker))))


def _row(view: MarketView) -> MarketRow:
    known = view.market
    return MarketRow(
        ticker=view.ticker,
        title=known.title if known else None,
        event_ticker=known.event_ticker if known else None,
        series_ticker=view.series_ticker,
        status=known.status if known else None,
        category=view.category,
        open_time=iso_or_none(known.open_us) if known else None,
        close_time=iso_or_none(known.close_us) if known else None,
        result=(known.result or None) if known else None,
        first_data_at=iso_or_none(view.stats.first_data_us),
        last_data_at=iso_or_none(view.stats.last_data_us),
        recorded_pct=view.stats.recorded_pct,
    )


def _detail(view: MarketView) -> MarketDetail:
    row = _row(view)
    record = view.record
    doc = None if record is None else _read(record)
    return MarketDetail(
        **{name: getattr(row, name) for name in row.__struct_fields__},
        rules=_rules(doc) if doc else None,
        strike_price=_strike(doc) if doc else None,
        discovered_at=iso(view.market.discovered_us) if view.market else None,
        metadata=Raw(record.encode()) if record is not None else None,
        snapshot_count=view.stats.snapshot_count,
        delta_count=view.stats.delta_count,
    )


def _read(record: str) -> MarketDoc | None:
    try:
        return decode_market(parse_document(record))
    except FrameError:  # the record still stands in the metadata, whole
        return None


def _rules(doc: MarketDoc) -> str | None:
    return "\n\n".join(text for text in (doc.rules_primary, doc.rules_secondary) if text) or None


def _strike(doc: MarketDoc) -> Decimal | None:
    """Return the strike; of a range its lower end, the upper one stands in the metadata."""
    text = doc.floor_strike if doc.floor_strike is not None else doc.cap_strike
    return None if text is None else Decimal(text)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/markets",
        operation_id="listMarkets",
        tag="markets",
        summary="Markets, newest first",
        description="The markets seen, newest discovered first. Without a limit up to 20,000 rows in one answer.",
        credits="1",
        question=MarketsQuestion,
        reply=Markets,
        answer=answer_list,
        first_generation=True,
    ),
    Endpoint(
        method="GET",
        path="/markets/{ticker}",
        operation_id="getMarket",
        tag="markets",
        summary="One market",
        description="A market with its rules, the venue's whole record, and how much of it was recorded.",
        credits="1",
        question=MarketQuestion,
        reply=MarketReply,
        answer=answer_detail,
        codes=("market_not_found",),
        first_generation=True,
    ),
)
