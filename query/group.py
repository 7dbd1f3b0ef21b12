"""Snapshots, checkpoints and closes: what a book can start from or end at.

Owns their order and where they stand. Never reads a row.
"""

from typing import NamedTuple

POS_HOUR_BITS = 32
"""A position is hour << 32 | row number in that hour's folder or file."""
ROW_MASK = (1 << POS_HOUR_BITS) - 1


class Group(NamedTuple):
    """The rows of one snapshot, checkpoint or close: the first four fields are its sort key."""

    ts_us: int
    conn: int
    seq: int
    kind: int
    pos: int
    """Position of the first row; the others follow it. In a log it grows in the order of writing."""
    rows: int
    exch_us: int
    """ts_exch, NO_INSTANT where null."""
    reason: str | None

    @property
    def key(self) -> tuple[int, int, int, int]:
        """Return (ts_us, conn, seq, kind)."""
        return self[:4]

    @property
    def hour(self) -> int:
        """Return the hour whose folder or file holds the group."""
        return self.pos >> POS_HOUR_BITS

    @property
    def first_row(self) -> int:
        """Return the group's first row number in its hour."""
        return self.pos & ROW_MASK


def order(group: Group) -> tuple[int, int, int, int, str]:
    """Return what groups are sorted by: the key, and the reason of closes that are equal in it."""
    return (*group[:4], group.reason or "")


class Tally(NamedTuple):
    """One market's hour: snapshots and deltas counted, and the stamp of the last received, None where none was.

    A folder counts what was withdrawn too, orphans among the stamps; a published hour only what stands.
    """

    snapshots: int
    deltas: int
    last_us: int | None


NOTHING = Tally(0, 0, None)
