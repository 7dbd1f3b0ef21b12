"""Owns GET /coverage/{ticker}: when a market's book is known, when not and why, and each audit of it."""

from typing import Annotated

from msgspec import Meta, Struct, field

from server.endpoint import Endpoint, Reply, Ticker
from server.endpoints.ranges import Gap, gap_of
from server.instants import Stamp, iso, iso_or_none
from server.questions import Questions


class CoverageQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A market."""

    ticker: Ticker


class Span(Struct, frozen=True):
    """A stretch in which the book is known; ``to`` is its end (exclusive), or how far it is known while it lives."""

    from_: Stamp = field(name="from")
    to: Stamp | None
    conn: int
    end_reason: Annotated[str | None, Meta(description="why it ended; null while it lives")]


class Audit(Struct, frozen=True):
    """A comparison of our book with the venue's own."""

    ts: Stamp
    equal: bool
    conn: int
    seq: int


class MarketCoverage(Struct, frozen=True):
    """What is known of a market, by time."""

    market_ticker: str
    spans: list[Span]
    gaps: list[Gap]
    audits: list[Audit]


class CoverageReply(Struct, frozen=True):
    """The coverage of one market."""

    data: MarketCoverage


def answer(questions: Questions, question: CoverageQuestion) -> Reply:
    """Answer with the whole of it."""
    found = questions.coverage(question.ticker)
    body = MarketCoverage(
        found.ticker,
        [Span(iso(span.from_us), iso_or_none(span.to_us), span.conn, span.end_reason) for span in found.spans],
        [gap_of(gap) for gap in found.gaps],
        [Audit(iso(audit.ts_us), audit.equal, audit.conn, audit.seq) for audit in found.audits],
    )
    return Reply(CoverageReply(body))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/coverage/{ticker}",
        operation_id="getCoverage",
        tag="coverage",
        summary="What is known of a market",
        description="The stretches in which its book is known, the gaps with their reasons, and each audit.",
        credits="0",
        question=CoverageQuestion,
        reply=CoverageReply,
        answer=answer,
        codes=("market_not_found",),
    ),
)
