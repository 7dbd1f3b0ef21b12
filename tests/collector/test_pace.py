"""The bucket of tokens against a venue that counts as it says it does."""

import random

import pytest

from book.wire.answers import Budget
from collector.pace import BASIC, COST, SHARE, Pace


class Venue:
    """A bucket that refuses what it does not hold."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.tokens = budget.capacity
        self.at_s = 0.0

    def allows(self, now_s: float, cost: float = COST) -> bool:
        self.tokens = min(self.budget.capacity, self.tokens + (now_s - self.at_s) * self.budget.refill_rate)
        self.at_s = now_s
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True


@pytest.mark.parametrize("budget", [BASIC, Budget(4000, 4000), Budget(30, 10)])
def test_a_venue_that_counts_as_it_says_never_refuses(budget: Budget) -> None:
    rng, pace, venue, now_s = random.Random(7), Pace(budget), Venue(budget), 0.0
    if budget.capacity * SHARE < COST:
        venue.tokens += COST
    for _ in range(2000):
        now_s += pace.take(now_s)
        assert venue.allows(now_s)
        now_s += rng.choice((0.0, 0.0, 0.0, 0.01, 1.0))


def test_many_requests_go_at_our_share_of_the_rate() -> None:
    pace, now_s = Pace(BASIC), 0.0
    for _ in range(1000):
        now_s += pace.take(now_s)
    assert now_s == pytest.approx((1000 * COST - BASIC.capacity * SHARE) / (BASIC.refill_rate * SHARE))


def test_requests_booked_together_are_sent_one_after_the_other() -> None:
    pace = Pace(Budget(100, 10 / SHARE))
    waits = [pace.take(5.0) for _ in range(4)]
    assert waits == pytest.approx([0.0, 10 / 80, 20 / 80, 30 / 80])


def test_after_a_refusal_the_next_waits_until_it_fits_and_longer_each_time_but_not_for_ever() -> None:
    pace, now_s = Pace(BASIC), 0.0
    waits = []
    for _ in range(12):
        waits.append(pace.take(now_s))
        now_s += waits[-1]
        pace.refused(now_s)
    fits_s = COST / (BASIC.refill_rate * SHARE)
    assert waits[:5] == pytest.approx([0.0, fits_s, 2 * fits_s, 4 * fits_s, 8 * fits_s])
    assert max(waits) == pytest.approx(32 * fits_s)
    now_s += 60
    pace.answered()
    pace.refused(now_s)
    assert pace.take(now_s) == pytest.approx(fits_s)


def test_a_bucket_that_others_empty_is_not_hammered() -> None:
    """Half of the tokens go to another program: a good part of ours is refused, and the rest gets through."""
    pace, venue, now_s, refused, sent = Pace(BASIC), Venue(BASIC), 0.0, 0, 0
    other_s = 0.0
    while now_s < 120:
        now_s += pace.take(now_s)
        while other_s < now_s:
            venue.allows(other_s)
            other_s += COST / (BASIC.refill_rate / 2)
        sent += 1
        if venue.allows(now_s):
            pace.answered()
        else:
            refused += 1
            pace.refused(now_s)
    assert sent > 900
    assert refused / sent < 0.4


def test_another_budget_counts_from_now_on() -> None:
    pace = Pace(BASIC)
    pace.set_budget(Budget(1000, 10 / SHARE))
    assert [pace.take(0.0), pace.take(0.0)] == pytest.approx([0.0, 10 / 800])
