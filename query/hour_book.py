"""One hour of one shard's record, as questions see it.

Owns what a question may ask of an hour, be it a folder of the log (query.folder_hour) or published
(query.published_hour). Stamps are in microseconds, row numbers count within the folder or file.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import pyarrow as pa

from query.clocks import ConnClock
from query.group import Group, Tally
from query.rows import BookRows
from query.withdrawal import Settled

FAR_US = 1 << 62
"""Later than every instant."""


class Stretch(NamedTuple):
    """What a base's book needs from an hour.

    ``own`` are the base's own rows, None where they stand in another hour; ``rows`` may count after it. Where they are
    ``exact`` all of them do, save what later closes withdraw, they are in seq order, and conn and kind say nothing.
    """

    own: BookRows | None
    rows: BookRows
    exact: bool


class HourBook(Protocol):
    """One hour. It holds still while a question is answered."""

    hour: int
    """Whole hours since the epoch."""
    version: int
    """Of a published hour, from 1; 0 of a folder."""

    def tickers(self) -> Iterable[str]:
        """Return the markets that it says something of."""

    def holds(self, ticker: str) -> bool:
        """Say whether it says something of a market."""

    def groups(self, ticker: str) -> Sequence[Group]:
        """Return a market's snapshots, checkpoints and closes: of a folder all that were logged, in log order."""

    def settled(self, ticker: str) -> Settled | None:
        """Return a market's groups as they stand by this hour alone; None where closes may withdraw some of them."""

    def tally(self, ticker: str) -> Tally:
        """Return what was received of a market."""

    def last_change_us(self, ticker: str) -> int | None:
        """Return the stamp of a market's last delta; a published hour tells a snapshot's too, and an earlier hour's."""

    def last_audit(self, ticker: str, upto_us: int) -> tuple[int | None, bool]:
        """Return the stamp of a market's last equal audit up to an instant, and whether the hour before may tell it.

        A published hour tells an earlier one's too, since the market was taken up.
        """

    def stretch(self, ticker: str, base: Group, upto_us: int, *, exchange: bool) -> Stretch:
        """Return a base's own rows, where they stand here, and rows among which all are that its book needs from here.

        Those are its conn's deltas stamped from its own stamp up to an instant, inclusive. ``exchange`` asks for
        ts_exch too.
        """

    def changes(self, ticker: str, start_us: int, end_us: int) -> Iterator[tuple[BookRows, int]]:
        """Yield rows, all of a market's deltas and orphans of [start_us, end_us) among them, a part at a time.

        With each part comes an instant that no later part has a row before.
        """

    def trades(self, ticker: str, start_us: int, end_us: int) -> Iterator[tuple[pa.Table, int]]:
        """Yield rows, all of a market's trades of [start_us, end_us) among them, as ``changes`` does."""

    def audits(self, ticker: str) -> pa.Table | None:
        """Return a market's audits."""

    def clock(self, conn: int) -> ConnClock | None:
        """Return what a conn's changes show of the exchange's clock, None where they show nothing."""
