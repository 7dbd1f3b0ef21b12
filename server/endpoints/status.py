"""Owns GET /status: whether recording and publishing keep up, and how much was lost and compared lately."""

from typing import Annotated

from msgspec import Meta, Struct

from query.status import Window
from server.endpoint import Endpoint, Reply
from server.instants import Stamp, iso_or_none
from server.questions import Questions

Seconds = Annotated[float, Meta(ge=0, description="seconds")]


class StatusQuestion(Struct, forbid_unknown_fields=True, frozen=True):
    """Nothing to choose."""


class Lately(Struct, frozen=True):
    """Sums over the published hours that began in a time up to now."""

    hours: Annotated[int, Meta(ge=0, description="published hours summed here")]
    hours_left_out: Annotated[int, Meta(ge=0, description="published hours not summed yet; ask again")]
    gaps: Annotated[int, Meta(ge=0, description="stretches that began in them, each of one market not being known")]
    audits: Annotated[int, Meta(ge=0, description="comparisons of a book with the venue's own")]
    mismatches: Annotated[int, Meta(ge=0, description="comparisons that found a difference, and withdrew the book")]


class Status(Struct, frozen=True):
    """How the service does; figures are a few seconds old at most."""

    recording: Annotated[bool, Meta(description="whether records have come lately")]
    lag: Annotated[Seconds | None, Meta(description="seconds since known_until")]
    known_until: Annotated[Stamp | None, Meta(description="up to here the newest books are known")]
    hours_published: Annotated[int, Meta(ge=0)]
    last_published_hour: Annotated[Stamp | None, Meta(description="the first instant of the latest published hour")]
    unpublished_hours: Annotated[int, Meta(ge=0, description="recorded hours that have ended and are not published")]
    publish_lateness: Annotated[
        Seconds, Meta(description="seconds since the end of the oldest of them; 0 where there is none")
    ]
    last_24_hours: Lately
    last_30_days: Lately


class StatusReply(Struct, frozen=True):
    """The state of the service."""

    data: Status


def answer(questions: Questions, _: StatusQuestion) -> Reply:
    """Answer with all of it."""
    found = questions.status()
    body = Status(
        recording=found.recording,
        lag=None if found.lag_us is None else found.lag_us / 1_000_000,
        known_until=iso_or_none(found.known_until_us),
        hours_published=found.hours_published,
        last_published_hour=iso_or_none(found.last_published_us),
        unpublished_hours=found.unpublished_hours,
        publish_lateness=found.publish_lateness_us / 1_000_000,
        last_24_hours=_lately(found.day),
        last_30_days=_lately(found.month),
    )
    return Reply(StatusReply(body))


def _lately(window: Window) -> Lately:
    return Lately(window.hours, window.left_out, window.gaps, window.audits, window.mismatches)


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/status",
        operation_id="getStatus",
        tag="service",
        summary="Does it record, and does it publish?",
        description=(
            "Whether records come in, how far the published hours reach, and the gaps and audits of published hours."
        ),
        credits="0",
        question=StatusQuestion,
        reply=StatusReply,
        answer=answer,
    ),
)
