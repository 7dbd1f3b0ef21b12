"""Which rows of an hour's log a close withdraws, for all of them at once.

Owns design section 4: of a close's market and conn, what was logged before it and has a greater seq is void, and so is
a checkpoint logged before it that sorts after it. Closes and orphans are never void. Never drops a row.
"""

from itertools import pairwise

import numpy as np

from book.records import Kind
from lake.journal.batches import Ints
from lake.settling.columns import BookColumns, Mask


def void_rows(logged: BookColumns, early: BookColumns, early_at: Ints) -> Mask:
    """Say for each logged row, given in log order, whether a close logged after it withdraws it.

    ``early`` are closes that are not among the rows, ``early_at`` how many of the rows were logged before each.
    Cost: rows of markets with a close are looked at, about 0.3 us each.
    """
    void = np.zeros(len(logged), bool)
    own = np.flatnonzero(logged.kind == Kind.CLOSE)
    closes = _Closes(logged, own, early, early_at)
    if not len(closes):
        return void
    rows = np.flatnonzero(closes.concern(logged) & (logged.kind <= Kind.CHECKPOINT))
    pair = closes.pair_of(logged.market[rows], logged.conn[rows])
    found = np.searchsorted(closes.key, closes.key_of(pair, 2 * rows), side="right")
    same = (found < len(closes)) & (closes.pair[np.minimum(found, len(closes) - 1)] == pair)
    rows, found = rows[same], found[same]
    after = closes.least_seq[found] < logged.seq[rows]
    after |= (logged.kind[rows] == Kind.CHECKPOINT) & (closes.least_ts[found] < logged.ts_us[rows])
    void[rows[after]] = True
    return void


class _Closes:
    """Closes by market and conn and, within these, by place in the log; each with the least seq and stamp from it on.

    A place is twice a row's number; a close that is not among the rows stands between two of them.
    """

    def __init__(self, logged: BookColumns, own: Ints, early: BookColumns, early_at: Ints) -> None:
        place_of = {name: place for place, name in enumerate(logged.names)}
        places = np.array([place_of.get(name, -1) for name in early.names], np.int64)
        market = np.append(logged.market[own], places[early.market]).astype(np.int64)
        known = market >= 0
        conn = np.append(logged.conn[own], early.conn)[known]
        seq = np.append(logged.seq[own], early.seq)[known]
        ts_us = np.append(logged.ts_us[own], early.ts_us)[known]
        place = np.append(2 * own, 2 * early_at - 1)[known]
        market = market[known]
        self._conns = np.unique(conn)
        self._markets = np.zeros(len(logged.names), bool)
        self._markets[market] = True
        self._places = 2 * len(logged) + 2
        pair = self.pair_of(market, conn)
        order = np.lexsort((place, pair))
        self.pair = pair[order]
        self.key = self.key_of(self.pair, place[order])
        self.least_seq, self.least_ts = seq[order], ts_us[order]
        for at, after in pairwise(range(len(order) - 1, -1, -1)):
            if self.pair[at] == self.pair[after]:
                self.least_seq[after] = min(self.least_seq[after], self.least_seq[at])
                self.least_ts[after] = min(self.least_ts[after], self.least_ts[at])

    def __len__(self) -> int:
        return len(self.pair)

    def concern(self, logged: BookColumns) -> Mask:
        """Say which rows are of a market with a close."""
        concerned: Mask = self._markets[logged.market]
        return concerned

    def pair_of(self, market: Ints, conn: Ints) -> Ints:
        """Return a number for each market and conn, -1 for a conn without a close."""
        place = np.minimum(np.searchsorted(self._conns, conn), len(self._conns) - 1)
        pair: Ints = np.where(self._conns[place] == conn, market.astype(np.int64) * len(self._conns) + place, -1)
        return pair

    def key_of(self, pair: Ints, place: Ints) -> Ints:
        """Return the sort key of a place in the log."""
        key: Ints = pair * self._places + place + 1
        return key
