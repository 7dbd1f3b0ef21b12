"""Waits: doubling, capped, jittered in the upper half, begun anew."""

import random

from ops.backoff import Backoff


def test_waits_double_up_to_the_cap_within_the_upper_half() -> None:
    backoff = Backoff(random.Random(4), first_s=0.2, most_s=30.0)
    for number in range(400):
        longest_s = min(30.0, 0.2 * 2**number)
        assert longest_s / 2 <= backoff.next_s() <= longest_s


def test_waits_differ_between_two_that_failed_at_the_same_moment() -> None:
    first, second = (Backoff(random.Random(seed)) for seed in (1, 2))
    assert [first.next_s() for _ in range(5)] != [second.next_s() for _ in range(5)]


def test_after_a_success_waits_begin_anew() -> None:
    backoff = Backoff(random.Random(4), first_s=0.2)
    for _ in range(9):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.2
