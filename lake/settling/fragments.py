"""One market's hour as fragments: stretches in which its book is known, or missing.

Owns the reading of the rule for a whole hour of published rows (query.timeline reads it for a whole life), and which
rows belong to which fragment. Knows no files, counts or books.
"""

from dataclasses import dataclass

from book.records import OPENS_NO_GAP, Kind, Reason
from lake.settling.standing import Stand

CONTINUES = "continues"
_ENDS = frozenset({Reason.MARKET_CLOSED, Reason.UNSUBSCRIBED})


@dataclass(slots=True)
class Fragment:
    """A stretch [from_us, to_us) of a market's hour with its rows [row, end) and its groups [group, group_end).

    ``known``: the book is followed on ``conn``; ``reason`` is its close's, or ``continues`` past the hour. Else it is
    missing since a close on ``conn``, and ``reason`` is that one's. Rows that stand in neither, such as orphans
    before a first snapshot, make a missing stretch of no length without a reason.
    """

    known: bool
    conn: int
    from_us: int
    to_us: int
    reason: str | None
    row: int
    end: int
    group: int
    group_end: int


class Walk:
    """Take a market's groups in published order, then ``finish``."""

    def __init__(self, start_us: int, end_us: int, stand: Stand | None, row: int, group: int) -> None:
        """Begin a market's hour [start_us, end_us) at its first row and group, with what stood before it."""
        self._end_us = end_us
        self._row, self._group = row, group
        self._over = False
        self._open: Fragment | None = None
        self._done: list[Fragment] = []
        if stand is not None:
            self._begin(stand.live, stand.conn, start_us, stand.reason, row, group)

    def take(self, kind: int, ts_us: int, conn: int, reason: str | None, row: int, group: int) -> None:
        """Take the next group: its first row, and its number."""
        if kind == Kind.CLOSE:
            self._close(ts_us, conn, reason or "", row, group)
            return
        if self._open is not None and self._open.known:
            if self._open.conn == conn:
                return
            self._open.reason = Reason.MOVED.value
        self._finish(ts_us, row, group)
        self._begin(True, conn, ts_us, None, row, group)
        self._over = False

    def finish(self, first: tuple[int, int] | None, row: int, group: int) -> list[Fragment]:
        """Return the fragments, which together hold all rows of the market.

        ``row`` and ``group`` follow the market's last ones; ``first`` is the conn and stamp of its first row.
        """
        if self._open is not None:
            if self._open.known:
                self._open.reason = CONTINUES
            self._finish(self._end_us, row, group)
        elif self._done:
            self._done[-1].end, self._done[-1].group_end = row, group
        found = self._done
        begin = (found[0].row, found[0].group) if found else (row, group)
        if first is not None and self._row < begin[0]:
            conn, ts_us = first
            loose = Fragment(False, conn, ts_us, ts_us, None, self._row, begin[0], self._group, begin[1])
            found = [loose, *found]
        return [one for one in found if one.from_us < one.to_us or one.row < one.end]

    def _close(self, ts_us: int, conn: int, reason: str, row: int, group: int) -> None:
        one = self._open
        if one is not None and one.known:
            one.reason = reason
            self._finish(ts_us, row + 1, group + 1)
            row, group = row + 1, group + 1
        elif reason in _ENDS and one is not None:
            self._finish(ts_us, row + 1, group + 1)
        elif one is not None and (one.reason not in OPENS_NO_GAP or reason in OPENS_NO_GAP):
            return
        elif one is not None:
            self._finish(ts_us, row, group)
        if reason in _ENDS:
            self._over |= reason == Reason.MARKET_CLOSED
        elif not self._over:
            self._begin(False, conn, ts_us, reason, row, group)

    def _begin(self, known: bool, conn: int, ts_us: int, reason: str | None, row: int, group: int) -> None:
        if self._done:
            self._done[-1].end, self._done[-1].group_end = row, group
        self._open = Fragment(known, conn, ts_us, ts_us, reason, row, row, group, group)
        self._done.append(self._open)

    def _finish(self, to_us: int, row: int, group: int) -> None:
        """End the open fragment at an instant, before a row and a group; more rows may still fall to it."""
        if self._open is not None:
            self._open.to_us, self._open.end, self._open.group_end = to_us, row, group
            self._open = None
