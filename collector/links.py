"""Links: one websocket connection each, with what was heard on it.

Owns the state of a connection as the session sees it. Sans-IO.
"""

from dataclasses import dataclass, field
from enum import Enum

from book.records import Reason
from book.wire.commands import ORDERBOOK
from book.wire.messages import Message
from collector.asks import Asks
from collector.conns import Conn

EARLY_MOST = 10_000


class Mark(Enum):
    """Things that happen on a link between frames, in their order of arrival."""

    PONG = "pong"
    OVERFLOW = "overflow"
    """Frames were dropped here for want of room in our queue."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The link is over, for this reason."""

    reason: Reason


Payload = bytes | Mark | Ended
Item = tuple[int, int, Payload]
"""Link number, monotonic nanoseconds of arrival, what arrived."""


@dataclass(slots=True)
class Link:
    """One connection; ``port`` is its local port, ``heard_ns`` and ``heard_us`` the last thing heard on it."""

    id: int
    port: int
    asks: Asks
    heard_ns: int
    heard_us: int
    queued_us: int | None = None
    conns: dict[int, Conn] = field(default_factory=dict)
    early: dict[int, list[Message]] = field(default_factory=dict)
    early_count: int = 0

    @property
    def book(self) -> Conn | None:
        """The living book subscription, None where there is none."""
        return next((conn for conn in self.conns.values() if conn.up and conn.channel == ORDERBOOK), None)

    def keep_early(self, sid: int, message: Message) -> bool:
        """Keep a message whose subscription has not been acknowledged yet; False where there is no room."""
        if self.early_count >= EARLY_MOST:
            return False
        self.early.setdefault(sid, []).append(message)
        self.early_count += 1
        return True
