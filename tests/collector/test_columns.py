"""Columns of a batch, picked."""

import numpy as np

from collector import columns


def test_values_are_picked_by_place() -> None:
    values = list("abcdef")
    assert columns.picked(values, np.array([2, 3, 4])) == ["c", "d", "e"]
    assert columns.picked(values, np.array([0, 5])) == ["a", "f"]
