"""A conn's clock of a published hour against a look at every change."""

import random

import numpy as np
import pytest

from query.clocks import FileClock, Past
from query.group import Group


def group(seq: int) -> Group:
    return Group(0, 1, seq, 0, 0, 1, 0, None)


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_is_that_of_a_plain_look(seed: int) -> None:
    rng = random.Random(seed)
    changes: list[tuple[int, int, int]] = []
    seq, ts, exch = 0, 1000, 900
    for _ in range(rng.randint(1, 60)):
        seq, ts = seq + rng.choice([1, 1, 3]), ts + rng.randint(0, 9)
        exch += rng.choice([0, 0, 5, 20, -7])
        changes.append((seq, ts, exch))
    snapshots = sorted(rng.sample(range(seq + 3), min(4, seq)))
    shuffled = rng.sample(changes, len(changes))
    clock = FileClock(*(np.array(column, np.int64) for column in zip(*shuffled, strict=True)), snapshots)
    for asked in range(880, exch + 30):
        past = next((Past(s, t) for s, t, e in changes if e > asked), None)
        assert clock.past(asked) == past
    for snapshot in snapshots:
        assert clock.after(group(snapshot)) == next((e for s, _, e in changes if s > snapshot), None)
    assert clock.after(group(-5)) == changes[0][2], "a snapshot of an earlier hour"
    for upto in range(seq + 2):
        assert clock.greatest(group(upto)) == max((e for s, _, e in changes if s <= upto), default=None)
    assert clock.greatest() == max(e for _, _, e in changes)
