"""Sequence numbers of one conn."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from book.sequence import SequenceTracker, Verdict


def test_verdicts() -> None:
    tracker = SequenceTracker()
    seen = [tracker.take(seq) for seq in (1, 2, 2, 5, 6, 4)]
    assert seen == [
        Verdict.IN_ORDER,
        Verdict.IN_ORDER,
        Verdict.DUPLICATE,
        Verdict.GAP,
        Verdict.IN_ORDER,
        Verdict.RESET,
    ]
    assert tracker.last == 6


def test_losses_already_accounted_for_are_no_gap() -> None:
    tracker = SequenceTracker(3)
    tracker.expect_any()
    assert tracker.take_run(np.array([9, 10])) == 0
    assert tracker.take(9) is Verdict.IN_ORDER
    assert tracker.take(11) is Verdict.GAP


@given(st.integers(0, 5), st.lists(st.integers(1, 9), max_size=12))
def test_a_run_is_the_messages_one_by_one(last: int, seqs: list[int]) -> None:
    run, one = SequenceTracker(last), SequenceTracker(last)
    taken = run.take_run(np.array(seqs, np.int64))
    for seq in seqs[:taken]:
        assert one.take(seq) is Verdict.IN_ORDER
    assert run.last == one.last
    if taken < len(seqs):
        assert one.take(seqs[taken]) is not Verdict.IN_ORDER
