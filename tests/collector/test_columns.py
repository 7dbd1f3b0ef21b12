"""Columns of a batch by subscription."""

import numpy as np

from collector import columns


def test_messages_are_picked_by_subscription_in_order() -> None:
    sids = np.array([3, 1, 3, 3, 1, 2], np.int64)
    found = {sid: places.tolist() for sid, places in columns.by_sid(sids, 1, 6)}
    assert found == {1: [1, 4], 2: [5], 3: [2, 3]}
    assert list(columns.by_sid(sids, 4, 4)) == []
    assert [(sid, places.tolist()) for sid, places in columns.by_sid(sids, 2, 4)] == [(3, [2, 3])]


def test_values_are_picked_by_place() -> None:
    values = list("abcdef")
    assert columns.picked(values, np.array([2, 3, 4])) == ["c", "d", "e"]
    assert columns.picked(values, np.array([0, 5])) == ["a", "f"]
