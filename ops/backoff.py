"""How long to wait before the next attempt.

Owns the one formula: exponential, capped, jittered. Sleeps nowhere.
"""

import random


class Backoff:
    """Waits that double from ``first_s`` to ``most_s`` seconds, each drawn from the upper half of its range."""

    def __init__(self, rng: random.Random, *, first_s: float = 0.2, most_s: float = 30.0) -> None:
        self._rng = rng
        self._first_s = first_s
        self._most_s = most_s
        self._failures = 0

    def next_s(self) -> float:
        """Return the seconds to wait after one more failure."""
        longest_s: float = min(self._most_s, self._first_s * 2 ** min(self._failures, 16))
        self._failures += 1
        return longest_s * (0.5 + self._rng.random() / 2)

    def reset(self) -> None:
        """Begin anew: an attempt has held."""
        self._failures = 0
