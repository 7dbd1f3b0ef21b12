"""What one hour's changes of a conn show of the exchange's clock.

Owns the three questions that a conn's clock is asked, of an hour's folder and of an hour's file alike; changes are
deltas and orphans, in seq order. Never decides what an answer means for a book (query.exchange_clock).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from query.group import Group
from query.rows import Numbers

_STEP_BYTES = 24
_OBJECT_BYTES = 600


class Past(NamedTuple):
    """A change whose ts_exch is past an instant: its seq and when it was received."""

    seq: int
    ts_us: int


class ConnClock(Protocol):
    """One conn in one hour."""

    def after(self, snapshot: Group) -> int | None:
        """Return the first ts_exch shown after a snapshot of this hour or an earlier one."""

    def past(self, ts_us: int) -> Past | None:
        """Return the first change whose ts_exch is past an instant."""

    def greatest(self, close: Group | None = None) -> int | None:
        """Return the greatest ts_exch shown, by changes up to the seq of a close where one is given."""


class FileClock:
    """A conn in a published hour: where its greatest ts_exch grew, and what followed each of its snapshots."""

    def __init__(self, seq: Numbers, ts_us: Numbers, exch_us: Numbers, snapshots: Sequence[int]) -> None:
        """Take the conn's changes that have a ts_exch, in any order, and the seqs of its snapshots of the hour."""
        by_seq = np.argsort(seq, kind="stable")
        seq, ts_us, exch_us = seq[by_seq], ts_us[by_seq], exch_us[by_seq]
        reached = np.maximum.accumulate(exch_us)
        grew = np.flatnonzero(np.append(True, np.diff(reached) > 0))
        self._seq, self._ts_us, self._reached = seq[grew], ts_us[grew], reached[grew]
        self._first_us = int(exch_us[0])
        places = np.searchsorted(seq, np.array(snapshots, np.int64), side="right").tolist()
        self._after = {
            snapshot: int(exch_us[place]) if place < len(exch_us) else None
            for snapshot, place in zip(snapshots, places, strict=True)
        }
        self.size_bytes = _OBJECT_BYTES + _STEP_BYTES * len(grew) + 100 * len(self._after)

    def after(self, snapshot: Group) -> int | None:
        """Return the first ts_exch shown after a snapshot."""
        return self._after.get(snapshot.seq, self._first_us)

    def past(self, ts_us: int) -> Past | None:
        """Return the first change past an instant."""
        place = int(np.searchsorted(self._reached, ts_us, side="right"))
        return Past(int(self._seq[place]), int(self._ts_us[place])) if place < len(self._reached) else None

    def greatest(self, close: Group | None = None) -> int | None:
        """Return the greatest ts_exch shown."""
        if close is None:
            return int(self._reached[-1])
        place = int(np.searchsorted(self._seq, close.seq, side="right"))
        return int(self._reached[place - 1]) if place else None
