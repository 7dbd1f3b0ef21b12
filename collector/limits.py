"""What a session is told: its bounds, and what the venue says of itself.

Owns nothing but these values. Never changes.
"""

from typing import NamedTuple


class Limits(NamedTuple):
    """Time-outs in machine seconds; bounds on markets of one subscription and on connections for books.

    ``combos``: whether the lifecycle messages of combinations are subscribed.
    """

    silence_s: float = 2.5
    watchdog_s: float = 15.0
    audit_every_s: float = 900.0
    most_markets: int = 1000
    connections: int = 20
    combos: bool = False


class VenueStatus(NamedTuple):
    """What the venue says of itself: whether all of it pauses, and which of its exchange shards have halted."""

    paused: bool = False
    halted: frozenset[int] = frozenset()
