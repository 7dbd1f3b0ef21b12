"""What a session hands to the journal for one flush.

Owns nothing but these values. Never written to.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lake.journal.flush import FeedMark, Fill, Lapse


class Taken(NamedTuple):
    """What goes into one flush.

    ``conns`` maps a conn to (last frame heard us, last seq, up, numbers that stand in no table); ``silences`` are
    (conn, from us, to us), half-open; ``close_hours`` the hours in which closes among the rows are stamped; ``at_us``
    the last stamp given; ``feeds`` and ``lapses`` what is new of the firehoses, ``fills`` the lapses filled.
    """

    tables: dict[str, Any]
    conns: dict[int, tuple[int, int, bool, int]]
    silences: list[tuple[int, int, int]]
    close_hours: set[int]
    at_us: int
    feeds: Mapping[str, FeedMark] = {}
    lapses: Sequence[Lapse] = ()
    fills: Sequence[Fill] = ()
