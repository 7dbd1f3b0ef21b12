"""Where a recording's times lie on the clock.

Owns the one line that maps recorded time to clock time: as it is on a rehearsal clock, moved and stretched otherwise.
"""

import msgspec


class Timeline(msgspec.Struct, frozen=True):
    """Maps ``origin_us`` of the recording to ``start_us`` of the clock, at ``speed_milli`` thousandths of its pace."""

    origin_us: int = 0
    start_us: int = 0
    speed_milli: int = 1000

    def at(self, recorded_us: int) -> int:
        """Return the clock time of a recorded time."""
        return self.start_us + (recorded_us - self.origin_us) * 1000 // self.speed_milli

    def maybe(self, recorded_us: int | None) -> int | None:
        """Return the clock time of a recorded time, None for none."""
        return None if recorded_us is None else self.at(recorded_us)
