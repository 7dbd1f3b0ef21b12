"""Sequence numbers of one conn, over all its sequenced messages.

Owns the judgement in order, gap, duplicate or reset. Never decides what a gap means for a market.
"""

from enum import Enum

import numpy as np
import numpy.typing as npt


class Verdict(Enum):
    """What a sequence number says about the messages before it."""

    IN_ORDER = "in_order"
    GAP = "gap"
    DUPLICATE = "duplicate"
    RESET = "reset"


class SequenceTracker:
    """Follow the counter of one subscription; ``last`` is the number of the last message taken, 0 before the first."""

    __slots__ = ("last", "resync")

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self.resync = False

    def expect_any(self) -> None:
        """Take the next number as it comes: messages were dropped on our side and are accounted for already."""
        self.resync = True

    def take(self, seq: int) -> Verdict:
        """Judge the next number and, unless it is a duplicate or goes back, move on to it."""
        if seq == self.last + 1 or (self.resync and seq > self.last):
            self.last = seq
            self.resync = False
            return Verdict.IN_ORDER
        if seq > self.last + 1:
            self.last = seq
            return Verdict.GAP
        return Verdict.DUPLICATE if seq == self.last else Verdict.RESET

    def take_run(self, seqs: npt.NDArray[np.int64]) -> int:
        """Take numbers while each follows the one before and return how many were taken.

        ``seqs`` has shape (n,). Cost: one vectorised comparison.
        """
        if self.resync or not len(seqs):
            return 0
        wrong = np.flatnonzero(seqs != np.arange(self.last + 1, self.last + 1 + len(seqs)))
        taken = int(wrong[0]) if len(wrong) else len(seqs)
        if taken:
            self.last = int(seqs[taken - 1])
        return taken
