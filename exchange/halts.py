"""What stands still: the whole exchange in a pause, or single parts of it, and until when.

Owns the state of trading and its two documents, status and schedule. What it means for steps, books and handshakes is
for those who ask.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from book.wire.rest import time_text
from exchange.faults import Fault, Faults
from exchange.universe import EXCHANGE_INDEXES

_EVERY_INDEX = frozenset(range(len(EXCHANGE_INDEXES)))
_HOURS = [{"open_time": "00:00", "close_time": "00:00"}]
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WINDOWS_KEPT = 100


class Halt(msgspec.Struct, eq=False):
    """One stop; ``begin_us`` and ``until_us`` are the clock shown, the latter as estimated when it began.

    ``is_closed``: handshakes are refused and nothing is served, not trading alone.
    """

    fault: Fault
    indexes: frozenset[int]
    is_closed: bool
    is_maintenance: bool
    begin_us: int
    until_us: int


class Halts:
    """The stops that stand now. ``index_of`` tells a market's part of the exchange."""

    def __init__(self, faults: Faults, index_of: Callable[[str], int]) -> None:
        self._faults = faults
        self._index_of = index_of
        self._standing: list[Halt] = []
        self._windows: dict[int, tuple[int, int]] = {}
        self.indexes: frozenset[int] = frozenset()
        """The parts of the exchange in which nobody trades."""

    def begin(self, halt: Halt) -> None:
        """Let something stand still."""
        self._standing.append(halt)
        if halt.is_maintenance:
            self.announce(halt.fault.id, halt.begin_us, halt.until_us)
        self._count()

    def announce(self, number: int, begin_us: int, until_us: int) -> None:
        """Show a pause on the schedule, under its fault's number; again where it is known better."""
        self._windows[number] = (begin_us, until_us)
        if len(self._windows) > _WINDOWS_KEPT:
            del self._windows[next(iter(self._windows))]

    def withdraw(self, number: int) -> None:
        """Take a pause that will not be from the schedule."""
        self._windows.pop(number, None)

    def end(self, halt: Halt) -> None:
        """Let it go on, unless another stop still holds it."""
        self._standing.remove(halt)
        self._count()

    @property
    def is_closed(self) -> bool:
        """Whether nobody is let in."""
        return any(halt.is_closed for halt in self._standing)

    def is_halted(self, ticker: str) -> bool:
        """Say whether a market stands still."""
        return bool(self.indexes) and self._index_of(ticker) in self.indexes

    def unanswered(self, port: int, sid: int, ticker: str) -> None:
        """Write down that a book was asked for and is not given."""
        index = self._index_of(ticker)
        halt = next(halt for halt in self._standing if index in halt.indexes)
        self._faults.note(halt.fault, type="get_snapshot", port=port, sid=sid, ticker=ticker)

    def status(self) -> dict[str, Any]:
        """Return the body of GET /exchange/status."""
        pauses = [halt for halt in self._standing if halt.is_maintenance]
        document = _flags(is_active=not self.is_closed, is_trading=not pauses)
        document["exchange_estimated_resume_time"] = (
            time_text(max(halt.until_us for halt in pauses)) if pauses else None
        )
        document["exchange_index_statuses"] = [
            {"exchange_index": index, "description": description}
            | _flags(is_active=not self.is_closed, is_trading=index not in self.indexes)
            for index, description in enumerate(EXCHANGE_INDEXES)
        ]
        return document

    def schedule(self) -> dict[str, Any]:
        """Return the body of GET /exchange/schedule; the windows are those of pauses, to come, begun and over."""
        hours = dict.fromkeys(_DAYS, _HOURS)
        always = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2099-01-01T00:00:00Z"}
        windows = [
            {"start_datetime": time_text(begin_us), "end_datetime": time_text(until_us)}
            for begin_us, until_us in self._windows.values()
        ]
        return {"schedule": {"standard_hours": [always | hours], "maintenance_windows": windows}}

    def _count(self) -> None:
        self.indexes = frozenset().union(*(halt.indexes for halt in self._standing))


def everywhere() -> frozenset[int]:
    """Return every part of the exchange."""
    return _EVERY_INDEX


def _flags(*, is_active: bool, is_trading: bool) -> dict[str, Any]:
    return {
        "exchange_active": is_active,
        "trading_active": is_trading and is_active,
        "intra_exchange_transfers_active": is_active,
    }
