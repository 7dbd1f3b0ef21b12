"""How fast the venue may be asked: a bucket of tokens, as the venue itself counts.

Owns the one formula. Sleeps nowhere, and never asks the venue what the bucket holds.
"""

from book.wire.answers import Budget

COST = 10.0
"""Tokens that a request costs, where the venue has no other price for it."""
BASIC = Budget(refill_rate=200.0, capacity=400.0)
"""The smallest account's bucket for reading."""
SHARE = 0.8
"""Our part of it: an account's other programs read too, and clocks differ."""
MOST_DOUBLINGS = 5


class Pace:
    """When the next request may be sent; all times are seconds of one monotonic clock."""

    def __init__(self, budget: Budget = BASIC) -> None:
        self._budget = budget
        self._tokens = budget.capacity * SHARE
        self._at_s = float("-inf")
        self._refusals = 0

    def set_budget(self, budget: Budget) -> None:
        """Go by another bucket from now on."""
        self._budget = budget
        self._tokens = min(self._tokens, budget.capacity * SHARE)

    def take(self, now_s: float) -> float:
        """Book one request and return the seconds to wait before it is sent."""
        self._refill(now_s)
        self._tokens -= COST
        return max(0.0, -self._tokens / (self._budget.refill_rate * SHARE))

    def refused(self, now_s: float) -> None:
        """Note that the venue found the bucket empty.

        The next request waits until one more fits, and twice as long each time that this happens on end.
        """
        self._refill(now_s)
        owed = COST * (2 ** min(self._refusals, MOST_DOUBLINGS) - 1)
        self._tokens = min(self._tokens, -owed)
        self._refusals += 1

    def answered(self) -> None:
        """Note that the venue has answered."""
        self._refusals = 0

    def _refill(self, now_s: float) -> None:
        flown = max(0.0, now_s - self._at_s) * self._budget.refill_rate * SHARE
        self._tokens = min(self._budget.capacity * SHARE, self._tokens + flown)
        self._at_s = max(self._at_s, now_s)
