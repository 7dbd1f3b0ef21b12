"""Stamps: monotonic, slewed, steps told apart from drift."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.clock import Stamper

START_US = 1_786_000_000_000_000
SECOND_NS = 1_000_000_000


def stamper(**more: object) -> Stamper:
    return Stamper(START_US, 0, **more)


def test_stamps_follow_monotonic_time() -> None:
    assert stamper().stamp(np.array([0, 1_000, 1_500_000])).tolist() == [START_US, START_US + 1, START_US + 1500]


def test_drift_is_slewed_at_most_500_ppm() -> None:
    clock = stamper()
    assert not clock.observe(START_US + 1_000_000 + 200_000, SECOND_NS)
    assert clock.stamp_one(SECOND_NS) == START_US + 1_000_000 + 500
    assert not clock.observe(START_US + 2_000_000 - 100_000, 2 * SECOND_NS)
    assert clock.stamp_one(2 * SECOND_NS) == START_US + 2_000_000


def test_a_forward_step_jumps_and_is_told_once() -> None:
    clock = stamper()
    before = clock.stamp_one(SECOND_NS)
    assert clock.observe(START_US + 3_000_000, SECOND_NS)
    after = clock.stamp_one(SECOND_NS)
    assert (before, after) == (START_US + 1_000_000, START_US + 3_000_000)
    assert not clock.observe(START_US + 3_000_000, SECOND_NS)


def test_a_backward_step_is_told_once_and_stamps_go_on() -> None:
    clock = stamper()
    clock.stamp_one(SECOND_NS)
    assert clock.observe(START_US, SECOND_NS)
    assert clock.offset_us == 1_000_000
    assert clock.stamp_one(SECOND_NS) == START_US + 1_000_001
    assert not clock.observe(START_US + 1_000_000, 2 * SECOND_NS)
    assert clock.offset_us == 1_000_000 - 500
    assert clock.observe(START_US + 500_000, 3 * SECOND_NS)


def test_a_restart_never_goes_back() -> None:
    clock = stamper(floor_us=START_US + 10_000_000)
    assert clock.stamp_one(0) == START_US + 10_000_000
    assert clock.stamp_one(11 * SECOND_NS) == START_US + 21_000_000


def test_a_restart_before_the_last_stamp_goes_on_and_is_no_step() -> None:
    clock = stamper(floor_us=START_US + 10_000_000)
    assert not clock.observe(START_US + 1_000_000, SECOND_NS)
    assert clock.offset_us == 10_000_000 - 500
    assert clock.stamp_one(SECOND_NS) == START_US + 11_000_000 - 500


def test_a_restart_goes_on_in_the_time_shown() -> None:
    clock = Stamper(START_US, 0, lambda stamps: (stamps - START_US) * 20, floor_us=61)
    assert clock.stamp_one(0) == 80
    assert clock.stamp_one(SECOND_NS) == 20_000_080


def test_nothing_is_stamped_as_early_as_what_was_claimed() -> None:
    clock = stamper()
    clock.stamp_one(SECOND_NS)
    claimed = clock.claim()
    assert claimed == START_US + 1_000_000
    assert clock.peek(SECOND_NS) == claimed + 1
    assert clock.stamp(np.array([SECOND_NS, SECOND_NS])).tolist() == [claimed + 1, claimed + 1]


def test_a_rehearsal_is_shown_after_the_machine_is_measured() -> None:
    clock = Stamper(START_US, 0, lambda stamps: (stamps - START_US) * 20)
    assert clock.stamp_one(SECOND_NS) == 20_000_000
    assert not clock.observe(START_US + 1_200_000, SECOND_NS)
    assert clock.observe(START_US + 1_500_000, SECOND_NS)
    assert clock.stamp_one(SECOND_NS) == 30_000_000


@given(st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(-2_000_000, 2_000_000)), max_size=40))
def test_stamps_never_go_back(moves: list[tuple[int, int]]) -> None:
    clock, mono_us, last = stamper(), 0, 0
    for elapsed_us, off_us in moves:
        mono_us += elapsed_us
        stamps = clock.stamp(np.array([(mono_us - elapsed_us // 2) * 1000, mono_us * 1000]))
        assert last <= stamps[0] <= stamps[1]
        last = int(stamps[1])
        if clock.observe(START_US + mono_us + off_us, mono_us * 1000):
            assert clock.peek(mono_us * 1000) > last
