"""The REST budget of an account: a bucket of tokens that fills by the machine's clock.

Owns the venue's figures for a read: ten tokens a request, two seconds of budget at most.
"""

from collections.abc import Callable

BASIC_TOKENS_PER_S = 200
CAPACITY_S = 2
_COST = 10


class Bucket:
    """A bucket that gets ``tokens_per_s`` and begins full."""

    def __init__(self, tokens_per_s: int, now_ns: Callable[[], int]) -> None:
        self._rate = tokens_per_s
        self._now_ns = now_ns
        self._most = tokens_per_s * CAPACITY_S * 1_000_000_000
        self._billionths = self._most
        self._at_ns = now_ns()

    def take(self) -> bool:
        """Pay for a request; False, and nothing is taken, where there is too little."""
        now_ns = self._now_ns()
        self._billionths = min(self._most, self._billionths + max(now_ns - self._at_ns, 0) * self._rate)
        self._at_ns = now_ns
        if self._billionths < _COST * 1_000_000_000:
            return False
        self._billionths -= _COST * 1_000_000_000
        return True
