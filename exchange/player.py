"""Plays a source on the clock: each step when its time has come, in order, never early.

Owns the waiting. Between batches it lets the connections write; a source that is late is played as fast as it can be.
"""

import asyncio
from collections.abc import Callable, Sequence

from exchange.source import Source
from exchange.steps import Step

_BATCH = 500
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.004, 0.25
"""Steps of a few milliseconds go out together: one write a connection carries them all."""
_RATE_AFTER_S = 0.05


class Player:
    """Plays ``source`` into ``apply``, a batch of steps at a time.

    ``now_us`` is the clock shown, which may run at another rate than ``steady_s``, the machine's, in seconds.
    """

    def __init__(
        self, source: Source, apply: Callable[[Sequence[Step]], None], now_us: Callable[[], int],
        steady_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self._source = source
        self._apply = apply
        self._now_us = now_us
        self._steady_s = steady_s
        self._began = (now_us(), steady_s())

    @property
    def is_done(self) -> bool:
        """Whether every step has been played."""
        return self._source.next_us() is None

    def prime(self) -> None:
        """Play what is due already, before anybody is connected."""
        due_us = self._now_us()
        while self._play_due(due_us):
            pass

    async def run(self) -> None:
        """Play until the source ends."""
        while not self.is_done:
            is_late = self._play_due(self._now_us())
            await asyncio.sleep(0.0 if is_late else self._wait_s())

    def _play_due(self, due_us: int) -> bool:
        """Play a batch of what is due; return whether it was a full one."""
        steps = self._source.advance(due_us, _BATCH)
        self._apply(steps)
        return len(steps) >= _BATCH

    def _wait_s(self) -> float:
        """Return the machine seconds until the next step is due, by the rate that the clock has shown so far."""
        next_us = self._source.next_us()
        if next_us is None:
            return 0.0
        now_us, now_s = self._now_us(), self._steady_s()
        passed_us, passed_s = now_us - self._began[0], now_s - self._began[1]
        if passed_s < _RATE_AFTER_S or passed_us <= 0:
            return _SHORTEST_WAIT_S
        return min(max((next_us - now_us) * passed_s / passed_us, _SHORTEST_WAIT_S), _LONGEST_WAIT_S)
