"""Owns GET /corrections: what was changed in hours that had been published, and why."""

from typing import Annotated

from msgspec import Meta, Struct

from server.endpoint import Cursor, Endpoint, Limit, Reply
from server.endpoints.ranges import NextCursor
from server.instants import Instant, Stamp, iso
from server.questions import Questions

Since = Annotated[
    Instant, Meta(description="published then or later; as other instants", examples=["2026-08-10T00:00:00Z"])
]


class CorrectionsQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """A time of publication; without it, every correction."""

    since: Since | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


class CorrectionRow(Struct, frozen=True):
    """A change of a published hour; ``market_ticker`` is null where it concerns more than one market."""

    ts: Annotated[Stamp, Meta(description="when the new version was published")]
    hour: Annotated[Stamp, Meta(description="the first instant of the hour")]
    market_ticker: str | None
    reason: Annotated[str, Meta(description="late: records came later; correction: records were withdrawn")]
    detail: str
    old_version: int
    new_version: int


class Corrections(Struct, frozen=True):
    """A page of corrections, by time of publication."""

    data: list[CorrectionRow]
    next_cursor: NextCursor
    has_more: bool


def answer(questions: Questions, question: CorrectionsQuestion) -> Reply:
    """Answer with one page."""
    page = questions.corrections(question.since, question.limit, question.cursor)
    rows = [
        CorrectionRow(
            iso(row.ts_us), iso(row.hour_us), row.ticker, row.reason, row.detail, row.old_version, row.new_version
        )
        for row in page.corrections
    ]
    return Reply(Corrections(rows, page.next_cursor, page.has_more))


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/corrections",
        operation_id="listCorrections",
        tag="coverage",
        summary="What was changed after it was published",
        description=(
            "Every published hour that got a new version, by the time at which it was published, oldest first. "
            "`as_of` on a book still reads the version that stood before."
        ),
        credits="0",
        question=CorrectionsQuestion,
        reply=Corrections,
        answer=answer,
    ),
)
