"""What a close withdraws.

Owns design rule: of a close's market and conn, what was logged before it and has a greater seq is void, and so is a
checkpoint logged before it that sorts after it. Closes are never void. Nothing written is altered: a reader skips.
A published hour is settled: its own closes have withdrawn what they withdraw.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from book.records import Kind
from lake.journal.batches import Ints
from query.group import Group, order

_Key = tuple[int, int, int, int]


class Withdrawals:
    """The closes of one market that can withdraw rows of one stretch of its log."""

    def __init__(self, closes: Iterable[Group]) -> None:
        by_conn: dict[int, list[Group]] = {}
        for close in closes:
            by_conn.setdefault(close.conn, []).append(close)
        self._by_conn = {conn: _Floor(found) for conn, found in by_conn.items()}

    def hides(self, group: Group) -> bool:
        """Say whether a close logged after this group withdraws it."""
        floor = self._by_conn.get(group.conn)
        if floor is None or group.kind == Kind.CLOSE:
            return False
        index = bisect_right(floor.pos, group.pos)
        if index == len(floor.pos):
            return False
        return floor.seq[index] < group.seq or (group.kind == Kind.CHECKPOINT and floor.key[index] < group.key)

    def touches(self, conn: int) -> bool:
        """Say whether any of the closes is of a conn."""
        return conn in self._by_conn

    def hidden(self, conn: int, pos: Ints, seq: Ints) -> NDArray[np.bool_]:
        """Say for each change of a conn, by log position and seq, whether a later close withdraws it."""
        floor = self._by_conn.get(conn)
        if floor is None:
            return np.zeros(len(pos), bool)
        index = np.searchsorted(floor.pos, pos, side="right")
        return np.append(floor.seq, np.iinfo(np.int64).max)[index] < seq


class _Floor:
    """The closes of one conn by log position, each with the least seq and sort key from it onwards."""

    def __init__(self, closes: list[Group]) -> None:
        closes.sort(key=lambda close: close.pos)
        self.pos = [close.pos for close in closes]
        self.seq: list[int] = [close.seq for close in closes]
        self.key: list[_Key] = [close.key for close in closes]
        for index in range(len(closes) - 2, -1, -1):
            self.seq[index] = min(self.seq[index], self.seq[index + 1])
            self.key[index] = min(self.key[index], self.key[index + 1])


class Settled:
    """The groups of one market in one hour: those not withdrawn, in sort order, and what withdraws."""

    def __init__(self, groups: Sequence[Group], closes: Iterable[Group] = ()) -> None:
        """Settle ``groups``; ``closes`` are those that can withdraw them, logged here or later."""
        self.withdrawals = Withdrawals(closes)
        self.groups = sorted((group for group in groups if not self.withdrawals.hides(group)), key=order)
        self.stamps = [group.ts_us for group in self.groups]


UNTOUCHED = Settled(())
"""An hour without a group of the market."""
