"""Conns: one subscription on one connection each, never reused.

Owns their numbers and what was heard on each. Never sends anything.
"""

from dataclasses import dataclass, field

from book.sequence import SequenceTracker
from book.wire.batch import NO_TIME_US

SHARDS = 1024


@dataclass(slots=True)
class Conn:
    """One subscription; stamps in microseconds.

    ``frame_us`` is the last frame of any kind heard on its connection, ``order_us`` its last message in order and
    ``order_seq`` that one's number,
    ``exch_us`` the greatest exchange time seen on it, ``ended`` the instants at which spans on it have ended,
    ``tabled`` how many of its numbered messages stand in a table, ``day_us`` the last midnight of which all its books
    are written.
    """

    id: int
    link: int
    sid: int
    channel: str
    frame_us: int
    tracker: SequenceTracker = field(default_factory=SequenceTracker)
    order_us: int | None = None
    order_seq: int = 0
    exch_us: int = NO_TIME_US
    up: bool = True
    ended: dict[int, int] = field(default_factory=dict)
    tabled: int = 0
    day_us: int = -1

    @property
    def apart(self) -> int:
        """How many sequence numbers up to the last one stand in no table."""
        return self.tracker.last - self.tabled

    def forget_ended(self) -> None:
        """Forget spans that ended before the last message in order: nothing closes this conn earlier than that."""
        if self.order_us is not None:
            self.ended = {market: at_us for market, at_us in self.ended.items() if at_us > self.order_us}


class ConnNumbers:
    """Give out conn numbers: connect time in Unix milliseconds x 1,024 + shard, only ever growing."""

    def __init__(self, shard: int, last: int = 0) -> None:
        self._shard = shard
        self.last = last

    def next(self, now_us: int) -> int:
        """Return a number above every earlier one of this shard."""
        millis = max(now_us // 1000, self.last // SHARDS + 1)
        self.last = millis * SHARDS + self._shard
        return self.last
