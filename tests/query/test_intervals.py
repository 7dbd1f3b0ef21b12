"""Stretches of time against sets of instants."""

from hypothesis import given
from hypothesis import strategies as st

from query.intervals import Intervals

PARTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)


def instants(parts: list[tuple[int, int]]) -> set[int]:
    return {ts for start, end in parts for ts in range(start, end)}


@given(PARTS, st.integers(-2, 32), st.integers(-2, 32))
def test_intervals_are_sets_of_instants(parts: list[tuple[int, int]], low: int, high: int) -> None:
    found = Intervals(parts)
    want = instants(parts)
    assert instants(list(found)) == want
    edges = [edge for part in found for edge in part]
    assert edges == sorted(set(edges))
    window = set(range(low, high))
    assert instants(found.within(low, high)) == want & window
    assert instants(found.missing(low, high)) == window - want
    for ts in range(-1, 32):
        part = found.holding(ts)
        assert (part is not None) == (ts in want)
        assert part is None or part[0] <= ts < part[1]
    assert found.total_us() == len(want)
