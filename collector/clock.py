"""The stamp of receipt: monotonic time carried on the wall clock, never back, steps told apart from drift.

Owns ts_recv. Reads no clock itself: readings of the machine's clocks are passed in.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

STEP_US = 250_000
SLEW_PPM = 500

Stamps = npt.NDArray[np.int64]


class Stamper:
    """Turn monotonic readings into stamps in microseconds.

    Between two observations of the wall clock stamps follow monotonic time. An observation slews them at most 500 ppm
    towards the wall clock. A difference of more than 250 ms is a step: forward, stamps jump to the wall clock;
    backward, they go on and are slewed; either is reported once, and again only when the difference changes by 250 ms.
    ``show`` turns machine microseconds into the time shown (a rehearsal's, or the same), later ones never earlier.
    ``floor_us`` is the least stamp that may be given: where the clock stands before it, as after a restart behind a
    backward step, stamps go on from it.
    """

    def __init__(
        self, wall_us: int, mono_ns: int, show: Callable[[Stamps], Stamps] = lambda stamps: stamps, *, floor_us: int = 0
    ) -> None:
        self._show = show
        ahead_us = self._ahead_us(wall_us, floor_us)
        self._offset_us = wall_us - mono_ns // 1000 + ahead_us
        self._mono_us = mono_ns // 1000
        self._seen_us = -ahead_us
        self._floor_us = floor_us
        self.last_us = floor_us

    def _ahead_us(self, wall_us: int, floor_us: int) -> int:
        """Return the least number of machine microseconds after ``wall_us`` at which the floor is shown."""

        def reaches(ahead_us: int) -> bool:
            return bool(self._show(np.array([wall_us + ahead_us], np.int64))[0] >= floor_us)

        below, above = -1, 0
        while not reaches(above):
            below, above = above, 2 * above + 1
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (below, middle) if reaches(middle) else (middle, above)
        return above

    @property
    def offset_us(self) -> int:
        """How far stamps stand ahead of the wall clock as last observed, in machine microseconds."""
        return -self._seen_us

    def stamp(self, mono_ns: Stamps) -> Stamps:
        """Return the stamps of ascending monotonic readings; shape (n,), never below an earlier stamp."""
        shown = self._show(mono_ns // 1000 + self._offset_us)
        np.maximum(shown, max(self.last_us, self._floor_us), out=shown)
        if len(shown):
            self.last_us = int(shown[-1])
        return shown

    def stamp_one(self, mono_ns: int) -> int:
        """Return the stamp of one reading, as ``stamp`` does."""
        return int(self.stamp(np.array([mono_ns], np.int64))[0])

    def peek(self, mono_ns: int) -> int:
        """Return what the stamp of a reading would be, without holding later stamps above it."""
        shown = self._show(np.array([mono_ns // 1000 + self._offset_us], np.int64))
        return max(int(shown[0]), self.last_us, self._floor_us)

    def claim(self) -> int:
        """Return the last stamp given and let none of the later ones equal it: up to it everything is told."""
        self._floor_us = self.last_us + 1
        return self.last_us

    def observe(self, wall_us: int, mono_ns: int) -> bool:
        """Compare with the wall clock and slew towards it; say whether the clock has stepped.

        After a step every later stamp is above all earlier ones.
        """
        mono_us = mono_ns // 1000
        elapsed_us, self._mono_us = max(0, mono_us - self._mono_us), mono_us
        difference_us = wall_us - (mono_us + self._offset_us)
        stepped = abs(difference_us - self._seen_us) > STEP_US
        if stepped:
            self.last_us += 1
            if difference_us > STEP_US:
                self._offset_us += difference_us
                difference_us = 0
        else:
            most_us = elapsed_us * SLEW_PPM // 1_000_000
            slewed_us = max(-most_us, min(most_us, difference_us))
            self._offset_us += slewed_us
            difference_us -= slewed_us
        self._seen_us = difference_us if stepped or abs(self._seen_us) > 0 else 0
        return stepped
