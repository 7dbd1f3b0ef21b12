"""Owns GET /coverage/{ticker}: when a market's book is known, when not and why, and each audit of it."""

from typing import Annotated

from msgspec import Meta, Struct, field

from query.coverage import EVERY, FeedName
from server.endpoint import Endpoint, Reply, Ticker
from server.endpoints.ranges import Channel, Gap, feeds_of, gap_of
from server.instants import Stamp, iso, iso_or_none
from server.questions import Questions


class CoverageQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A market; or *, and the firehose that is meant, which concerns every market."""

    ticker: Ticker
    channel: Channel | None = None


class Span(Struct, frozen=True):
    """A stretch in which the book is known; ``to`` is its end (exclusive), or how far it is known while it lives."""

    from_: Stamp = field(name="from")
    to: Stamp | None
    conn: Annotated[int | None, Meta(description="the subscription; null for a firehose, where several may follow")]
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
    for channel in feeds_of(None, question.channel):
        return _of_feed(questions, channel)
    found = questions.coverage(question.ticker)
    body = MarketCoverage(
        found.ticker,
        [Span(iso(span.from_us), iso_or_none(span.to_us), span.conn, span.end_reason) for span in found.spans],
        [gap_of(gap) for gap in found.gaps],
        [Audit(iso(audit.ts_us), audit.equal, audit.conn, audit.seq) for audit in found.audits],
    )
    return Reply(CoverageReply(body))


def _of_feed(questions: Questions, channel: FeedName) -> Reply:
    line = questions.feed_coverage(channel)
    ends = {gap.from_us: gap.reason for gap in line.gaps}
    spans = [Span(iso(from_us), iso(to_us), None, ends.get(to_us)) for from_us, to_us in line.known]
    return Reply(CoverageReply(MarketCoverage(EVERY, spans, [gap_of(gap) for gap in line.gaps], [])))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/coverage/{ticker}",
        operation_id="getCoverage",
        tag="coverage",
        summary="What is known of a market",
        description=(
            "The stretches in which its book is known, the gaps with their reasons, and each audit. For ticker * and "
            "`channel` trades, tickers or lifecycle: those of that firehose of the whole exchange. The tickers carry "
            "no numbers: of them only what a connection shows to be missing is known to be."
        ),
        credits="0",
        question=CoverageQuestion,
        reply=CoverageReply,
        answer=answer,
        codes=("market_not_found",),
    ),
)
