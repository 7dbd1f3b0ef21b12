"""Deltas, trades and tickers of one batch by link and subscription, taken in the order of arrival as far as is asked.

Owns the grouping only: what is done with them is for the intake. The whole batch is grouped once, so that many links
cost little more than one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from book.wire.batch import DeltaColumns, TickerColumns, TradeColumns

Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class _Sheaf:
    """Messages of one subscription: their indices in the columns, their places in the batch, how many are taken."""

    sid: int
    chosen: Ints
    places: Ints
    taken: int = 0

    def up_to(self, place: int) -> Ints:
        end = int(np.searchsorted(self.places, place)) if self.taken < len(self.places) else self.taken
        found = self.chosen[self.taken : end]
        self.taken = max(self.taken, end)
        return found


class Sheaves:
    """One kind of message of a batch; ``of`` says of each frame which link it came on."""

    def __init__(self, columns: DeltaColumns | TradeColumns | TickerColumns, of: Ints) -> None:
        self._by_link: dict[int, list[_Sheaf]] = {}
        for link, sid, chosen in _groups(of[columns.place], columns.sid):
            self._by_link.setdefault(link, []).append(_Sheaf(sid, chosen, columns.place[chosen]))

    def take(self, link: int, place: int) -> Iterator[tuple[int, Ints]]:
        """Yield what came on a link before a place and is not taken yet: each subscription with indices, ascending."""
        for sheaf in self._by_link.get(link, ()):
            found = sheaf.up_to(place)
            if len(found):
                yield sheaf.sid, found


def _groups(links: Ints, sids: Ints) -> Iterator[tuple[int, int, Ints]]:
    if not len(links):
        return
    if (links == links[0]).all() and (sids == sids[0]).all():
        yield int(links[0]), int(sids[0]), np.arange(len(links))
        return
    order = np.lexsort((sids, links))  # stable: within a subscription messages stay in order
    begins = np.flatnonzero((np.diff(links[order]) != 0) | (np.diff(sids[order]) != 0)) + 1
    for chosen in np.split(order, begins):
        yield int(links[chosen[0]]), int(sids[chosen[0]]), chosen
