"""When markets are looked up by name."""

from collector.appointments import AFTER_US, FIRST_WAIT_US, LONGEST_WAIT_US, Appointments


def test_a_market_is_looked_up_once_soon_after_it_changes() -> None:
    plan = Appointments()
    plan.expect("A", 1000)
    plan.expect("B", 500)
    assert plan.due(500 + AFTER_US - 1, 9) == []
    assert plan.due(1000 + AFTER_US, 9) == ["B", "A"]
    assert plan.due(1 << 60, 9) == []
    assert len(plan) == 0


def test_the_last_word_counts() -> None:
    plan = Appointments()
    plan.expect("A", 1000)
    plan.expect("A", 9000)
    plan.expect("B", 10)
    plan.cancel("B")
    assert plan.due(9000 + AFTER_US - 1, 9) == []
    assert plan.due(9000 + AFTER_US, 9) == ["A"]


def test_a_market_is_put_off_longer_each_time_up_to_a_day() -> None:
    plan, now_us, waits = Appointments(), 0, []
    for _ in range(20):
        plan.put_off("A", now_us)
        wait_us = next(step for step in range(0, LONGEST_WAIT_US + 1, FIRST_WAIT_US // 2) if plan.due(now_us + step, 1))
        waits.append(wait_us)
        now_us += wait_us
    assert waits[:4] == [FIRST_WAIT_US, 2 * FIRST_WAIT_US, 4 * FIRST_WAIT_US, 8 * FIRST_WAIT_US]
    assert max(waits) == waits[-1] == LONGEST_WAIT_US
    plan.expect("A", now_us)
    plan.due(now_us + AFTER_US, 1)
    plan.put_off("A", now_us)
    assert plan.due(now_us + FIRST_WAIT_US, 1) == ["A"]


def test_at_once_does_not_overtake_an_appointment() -> None:
    plan = Appointments()
    plan.put_off("A", 0)
    plan.at_once("A", 5)
    plan.at_once("B", 5)
    assert plan.due(5, 9) == ["B"]


def test_no_more_than_asked_for_are_taken() -> None:
    plan = Appointments()
    for number in range(10):
        plan.at_once(f"M{number}", number)
    assert plan.due(99, 3) == ["M0", "M1", "M2"]
    assert len(plan.due(99, 99)) == 7


def test_what_is_held_does_not_grow_with_changes_of_plan() -> None:
    plan = Appointments()
    for number in range(100_000):
        plan.expect(f"M{number % 10}", number)
    assert len(plan) == 10
    assert len(plan._heap) <= 2 * 10 + 1000 + 1
