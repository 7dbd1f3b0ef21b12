"""The clocks of a simulated run: machine time, the wall clock with its steps, and the time shown.

Owns how machine time maps to the time shown, and a stamper that keeps what it gave. Never schedules anything.
"""

import numpy as np
import numpy.typing as npt

from book.records import HOUR_US
from collector.clock import Stamper

NS = 1_000_000_000
START_US = 1_786_384_800_000_000  # 2026-08-10T18:00:00Z, on an hour
MACHINE_US = 1_000_000_000  # the machine's microsecond at which START_US is shown

Ints = npt.NDArray[np.int64]


class Shown:
    """Every ``hour_us`` of machine time show one hour.

    The first half of each runs at the machine's pace, so that records stand microseconds apart; the second half runs
    fast enough to end on the hour. ``even`` runs at one pace throughout.
    """

    def __init__(self, hour_us: int, *, even: bool = False) -> None:
        self.hour_us = hour_us
        self.even = even
        self._half = hour_us // 2
        self._pace, rest = divmod(HOUR_US - self._half, hour_us - self._half)
        assert not rest
        assert not HOUR_US % hour_us

    def __call__(self, machine_us: Ints) -> Ints:
        """Return the time shown at machine microseconds."""
        hours, rest = np.divmod(machine_us - MACHINE_US, self.hour_us)
        if self.even:
            inside = rest * (HOUR_US // self.hour_us)
        else:
            inside = np.where(rest < self._half, rest, self._half + (rest - self._half) * self._pace)
        shown: Ints = START_US + hours * HOUR_US + inside
        return shown

    def at(self, machine_us: int) -> int:
        """Return the time shown at one machine microsecond."""
        return int(self(np.array([machine_us], np.int64))[0])


class WatchedStamper(Stamper):
    """A stamper that keeps its last answer and whether the last observation was a step."""

    def __init__(self, wall_us: int, mono_ns: int, show: Shown, floor_us: int) -> None:
        super().__init__(wall_us, mono_ns, show, floor_us=floor_us)
        self.given: Ints = np.empty(0, np.int64)
        self.stepped = False

    def stamp(self, mono_ns: Ints) -> Ints:
        """Stamp, and keep the stamps."""
        self.given = super().stamp(mono_ns)
        return self.given

    def observe(self, wall_us: int, mono_ns: int) -> bool:
        """Observe, and keep the verdict."""
        self.stepped = super().observe(wall_us, mono_ns)
        return self.stepped

    def ahead_us(self) -> int:
        """Return how far the machine time that is shown stands ahead of monotonic time."""
        return self._offset_us
