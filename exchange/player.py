"""Plays a source on the clock: each step when its time has come, in order, never early.

Owns the waiting. Between batches it lets the connections write; a source that is late is played as fast as it can be.
"""

import asyncio
from collections.abc import Callable, Iterator

from exchange.steps import Step

_BATCH = 500
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.0005, 0.25
_RATE_AFTER_S = 0.05


class Player:
    """Plays ``steps`` into ``apply``, and calls ``settle`` after each batch.

    ``now_us`` is the clock shown, which may run at another rate than ``steady_s``, the machine's, in seconds.
    """

    def __init__(
        self, steps: Iterator[Step], apply: Callable[[Step], None], settle: Callable[[], None],
        now_us: Callable[[], int], steady_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self._steps = steps
        self._apply = apply
        self._settle = settle
        self._now_us = now_us
        self._steady_s = steady_s
        self._began = (now_us(), steady_s())
        self._next = next(steps, None)

    @property
    def is_done(self) -> bool:
        """Whether every step has been played."""
        return self._next is None

    def prime(self) -> None:
        """Play what is due already, before anybody is connected."""
        due_us = self._now_us()
        while self._play_due(due_us):
            pass
        self._settle()

    async def run(self) -> None:
        """Play until the source ends."""
        while not self.is_done:
            self._play_due(self._now_us())
            self._settle()
            await asyncio.sleep(self._wait_s())

    def _play_due(self, due_us: int) -> bool:
        """Play a batch of what is due; return whether it was a full one."""
        for _ in range(_BATCH):
            step = self._next
            if step is None or step.at_us > due_us:
                return False
            self._apply(step)
            self._next = next(self._steps, None)
        return True

    def _wait_s(self) -> float:
        """Return the machine seconds until the next step is due, by the rate that the clock has shown so far."""
        if self._next is None:
            return 0.0
        now_us, now_s = self._now_us(), self._steady_s()
        left_us = self._next.at_us - now_us
        if left_us <= 0:
            return 0.0
        passed_us, passed_s = now_us - self._began[0], now_s - self._began[1]
        if passed_s < _RATE_AFTER_S or passed_us <= 0:
            return _SHORTEST_WAIT_S
        return min(max(left_us * passed_s / passed_us, _SHORTEST_WAIT_S), _LONGEST_WAIT_S)
