"""What the venue's REST interface says of itself: refusals, limits, the state and schedule of the exchange.

Owns the field names of these. What is missing or of another kind is None or nothing: a recorder does without it. Never
decides what follows from an answer. Times are microseconds since the Unix epoch, UTC.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from book.errors import FrameError
from book.wire.rest import Document, parse_document, parse_time_us

_TOLD_BYTES = 200


class Budget(NamedTuple):
    """A bucket of tokens: how many flow in a second, and how many it holds."""

    refill_rate: float
    capacity: float


class ExchangeState(NamedTuple):
    """Whether the exchange and trading are up; ``halted`` are the exchange indexes of which either is not."""

    exchange_active: bool
    trading_active: bool
    halted: frozenset[int]
    resume_us: int | None
    """When the venue means to be up again, None where it does not say."""


class Window(NamedTuple):
    """A stretch of maintenance, half-open."""

    start_us: int
    end_us: int


def error_text(body: bytes) -> str:
    """Return what a refusal says, in any of the venue's three forms; of another body its beginning."""
    try:
        document = parse_document(body)
    except FrameError:
        return body[:_TOLD_BYTES].decode(errors="replace")
    inner = document.get("error")
    told = inner if isinstance(inner, dict) else document
    words = [told.get(name) for name in ("code", "message", "details")]
    words.append(inner if isinstance(inner, str) else None)
    return ": ".join(str(word) for word in words if word) or body[:_TOLD_BYTES].decode(errors="replace")


def decode_read_budget(document: Mapping[str, Any]) -> Budget | None:
    """Return the bucket for reading of an account's limits, None where the document does not say."""
    read = document.get("read")
    if not isinstance(read, dict):
        return None
    try:
        budget = Budget(float(read["refill_rate"]), float(read["bucket_capacity"]))
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return budget if budget.refill_rate > 0 and budget.capacity > 0 else None


def decode_exchange_state(document: Mapping[str, Any]) -> ExchangeState | None:
    """Return the state of the exchange, None where the document is not one."""
    if not isinstance(document.get("exchange_active"), bool):
        return None
    parts = document.get("exchange_index_statuses")
    halted = {
        part["exchange_index"]
        for part in (parts if isinstance(parts, list) else ())
        if isinstance(part, dict) and isinstance(part.get("exchange_index"), int) and not _is_up(part)
    }
    up = document["exchange_active"], document.get("trading_active") is not False
    return ExchangeState(*up, frozenset(halted), _time(document, "exchange_estimated_resume_time"))


def decode_maintenance(document: Mapping[str, Any]) -> list[Window]:
    """Return the windows of maintenance of a schedule; one that cannot be read is left out."""
    schedule = document.get("schedule")
    windows = schedule.get("maintenance_windows") if isinstance(schedule, dict) else None
    found = []
    for window in windows if isinstance(windows, list) else ():
        start_us, end_us = (
            _time(window, name) if isinstance(window, dict) else None for name in ("start_datetime", "end_datetime")
        )
        if start_us is not None and end_us is not None and start_us < end_us:
            found.append(Window(start_us, end_us))
    return found


def _is_up(part: Document) -> bool:
    return part.get("exchange_active") is not False and part.get("trading_active") is not False


def _time(document: Mapping[str, Any], name: str) -> int | None:
    text = document.get(name)
    try:
        return parse_time_us(text) if isinstance(text, str) and text else None
    except ValueError:
        return None
