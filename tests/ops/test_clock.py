"""Tests of ops.clock."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.clock import Clock, RehearsalClock, machine_us

CLOCKS = st.builds(
    RehearsalClock,
    shown_us=st.integers(0, 2**52),
    rate_num=st.integers(1, 10_000),
    rate_den=st.integers(1, 1_000_000),
    anchor_us=st.integers(0, 2**52),
)
MOMENTS = st.integers(-(2**53), 2**53)


def test_the_documented_example_reads_as_its_three_parts() -> None:
    clock = RehearsalClock.parse("2026-08-10T22:00:00Z@20@1795555000.0")

    assert clock.shown_us == int(datetime(2026, 8, 10, 22, tzinfo=UTC).timestamp()) * 1_000_000
    assert (clock.rate_num, clock.rate_den, clock.anchor_us) == (20, 1, 1_795_555_000_000_000)
    assert clock.show_us(clock.anchor_us) == clock.shown_us
    assert clock.show_us(clock.anchor_us + 1_500_000) == clock.shown_us + 30_000_000


def test_fractions_are_exact() -> None:
    clock = RehearsalClock.parse("2026-08-10T22:00:00.000001@0.1@0.000003")

    assert (clock.rate_num, clock.rate_den, clock.anchor_us) == (1, 10, 3)
    assert clock.shown_us % 1_000_000 == 1
    assert clock.show_us(3 + 10**18 + 9) == clock.shown_us + 10**17


@given(CLOCKS, MOMENTS)
def test_machine_us_is_the_first_moment_that_shows_it(clock: RehearsalClock, show: int) -> None:
    machine = clock.machine_us(show)

    assert clock.show_us(machine) >= show
    assert clock.show_us(machine - 1) < show


@given(CLOCKS, MOMENTS, MOMENTS)
def test_shown_time_never_goes_back(clock: RehearsalClock, a: int, b: int) -> None:
    assert (clock.show_us(a) <= clock.show_us(b)) or a > b


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-08-10T22:00:00Z@20", "three parts"),
        ("yesterday@20@0", "yesterday"),
        ("2026-08-10T22:00:00Z@0@0", "rate"),
        ("2026-08-10T22:00:00Z@10001@0", "rate"),
        ("2026-08-10T22:00:00Z@-1@0", "rate"),
        ("2026-08-10T22:00:00Z@2e1@0", "rate"),
        ("2026-08-10T22:00:00Z@20@now", "anchor"),
        ("2026-08-10T22:00:00Z@20@0.0000001", "anchor"),
    ],
)
def test_a_wrong_part_is_named(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RehearsalClock.parse(text)


def test_a_clock_without_rehearsal_is_the_machines() -> None:
    clock = Clock(read_machine_us=lambda: 77)

    assert (clock.now_us(), clock.show_us(5), clock.machine_us(5), clock.rate) == (77, 5, 5, 1)
    assert Clock().now_us() >= machine_us() - 60_000_000


def test_a_clock_shows_its_rehearsal_and_knows_how_long_to_wait() -> None:
    rehearsal = RehearsalClock(shown_us=1_000, rate_num=20, rate_den=1, anchor_us=500)
    clock = Clock(rehearsal, read_machine_us=lambda: 600)

    assert clock.now_us() == 3_000
    assert clock.rate == Fraction(20)
    assert clock.rehearsal is rehearsal
    assert clock.wait_s(2_999) == 0.0
    assert clock.wait_s(3_000 + 20 * 2_500_000) == 2.5
