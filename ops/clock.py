"""Owns what time it is: the machine's clock, or a rehearsal's that shows another day at another rate.

Stamps, hours and publishing follow the shown time. Signatures, timeouts and flushes go by the machine's clock and
never come here. All times are integer microseconds since the Unix epoch, UTC.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")
_FASTEST = 10_000


def machine_us() -> int:
    """Read the machine's wall clock, in microseconds."""
    return time.time_ns() // 1000


class RehearsalClock(msgspec.Struct, frozen=True):
    """A line through (``anchor_us``, ``shown_us``) with slope ``rate_num / rate_den``, in exact integers.

    ``anchor_us`` is machine time, ``shown_us`` what the clock shows at that moment. Before the anchor it shows
    earlier times by the same line.
    """

    shown_us: int
    rate_num: int
    rate_den: int
    anchor_us: int

    @classmethod
    def parse(cls, text: str) -> "RehearsalClock":
        """Parse ``2026-08-10T22:00:00Z@20@1795555000.0``: shown time, rate, anchor in machine Unix seconds.

        A shown time without a zone is UTC; rate and anchor have at most six decimals. Raises ValueError with the
        part that is wrong.
        """
        parts = text.split("@")
        if len(parts) != 3:
            raise ValueError("it needs three parts: SHOWN@RATE@ANCHOR")
        try:
            shown = datetime.fromisoformat(parts[0])
        except ValueError:
            raise ValueError(f"the shown time {parts[0]!r} is not an ISO 8601 time") from None
        if shown.tzinfo is None:
            shown = shown.replace(tzinfo=UTC)
        for name, part in (("rate", parts[1]), ("anchor", parts[2])):
            if not _NUMBER.fullmatch(part):
                raise ValueError(f"the {name} {part!r} is not a number of at most six decimals")
        rate = Fraction(parts[1])
        if not 0 < rate <= _FASTEST:
            raise ValueError(f"the rate {parts[1]} is not above 0 and at most {_FASTEST}")
        shown_us = (shown - _EPOCH) // timedelta(microseconds=1)
        return cls(shown_us, rate.numerator, rate.denominator, int(Fraction(parts[2]) * 1_000_000))

    def show_us(self, machine_us: int) -> int:
        """Return the time shown at ``machine_us``, rounded down to the microsecond."""
        return self.shown_us + (machine_us - self.anchor_us) * self.rate_num // self.rate_den

    def machine_us(self, show_us: int) -> int:
        """Return the first machine microsecond at which ``show_us`` or a later time is shown."""
        return self.anchor_us - (self.shown_us - show_us) * self.rate_den // self.rate_num


class Clock:
    """The clock of a process: shows machine time, or that of ``rehearsal`` where one is given.

    ``read_machine_us`` is the machine's clock, passed in by tests.
    """

    def __init__(
        self, rehearsal: RehearsalClock | None = None, read_machine_us: Callable[[], int] = machine_us
    ) -> None:
        self._rehearsal = rehearsal
        self._read_machine_us = read_machine_us

    @property
    def rehearsal(self) -> RehearsalClock | None:
        """The rehearsal that this clock shows, or None for machine time."""
        return self._rehearsal

    @property
    def rate(self) -> Fraction:
        """Shown seconds a machine second: 1 without a rehearsal."""
        return Fraction(self._rehearsal.rate_num, self._rehearsal.rate_den) if self._rehearsal else Fraction(1)

    def now_us(self) -> int:
        """Return the time shown now, in microseconds."""
        return self.show_us(self._read_machine_us())

    def show_us(self, machine_us: int) -> int:
        """Return the time shown at ``machine_us``, rounded down to the microsecond."""
        return self._rehearsal.show_us(machine_us) if self._rehearsal else machine_us

    def machine_us(self, show_us: int) -> int:
        """Return the first machine microsecond at which ``show_us`` or a later time is shown."""
        return self._rehearsal.machine_us(show_us) if self._rehearsal else show_us

    def wait_s(self, show_us: int) -> float:
        """Return the machine seconds from now until ``show_us`` is shown; 0.0 where it has been."""
        return max(0, self.machine_us(show_us) - self._read_machine_us()) / 1_000_000
