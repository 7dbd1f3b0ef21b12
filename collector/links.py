"""Links: one websocket connection each, with what was heard on it, and the slots that links fill.

Owns the state of a connection as the session sees it, and what a connection is for. Sans-IO.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from book.records import Reason
from book.wire.commands import COMBO_LIFECYCLE, LIFECYCLE, ORDERBOOK, TICKER, TRADE
from book.wire.messages import Message
from collector.asks import Asks
from collector.conns import Conn
from collector.stage import Stage

EARLY_MOST = 10_000


class Role(Enum):
    """What a connection carries."""

    BOOKS = "books"
    TAPE = "tape"
    """The trades and tickers of all markets."""
    LIFECYCLE = "lifecycle"
    WHOLE = "whole"
    """Books, trades and lifecycle on one: what came over a single connection, such as a capture."""


def channels_of(role: Role, *, combos: bool) -> tuple[str, ...]:
    """Return the channels without a list of markets that a connection subscribes; ``combos``: those of combinations."""
    lifecycle = (LIFECYCLE, COMBO_LIFECYCLE) if combos else (LIFECYCLE,)
    return {Role.BOOKS: (), Role.TAPE: (TRADE, TICKER), Role.LIFECYCLE: lifecycle, Role.WHOLE: (TRADE, LIFECYCLE)}[role]


class Slot(NamedTuple):
    """A place for one connection; ``number`` counts within its role from 0."""

    number: int
    role: Role


WHOLE = Slot(0, Role.WHOLE)


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
    """One connection; ``port`` is its local port, ``heard_ns`` and ``heard_us`` the last thing heard on it.

    ``pong_ns`` is when the last pong came, None before the first.
    """

    id: int
    port: int
    asks: Asks
    heard_ns: int
    heard_us: int
    pong_ns: int | None = None
    queued_us: int | None = None
    conns: dict[int, Conn] = field(default_factory=dict)
    early: dict[int, list[Message]] = field(default_factory=dict)
    early_count: int = 0
    slot: Slot = WHOLE

    @property
    def book(self) -> Conn | None:
        """The living book subscription, None where there is none."""
        return next((conn for conn in self.conns.values() if conn.up and conn.channel == ORDERBOOK), None)

    @property
    def stands(self) -> bool:
        """Say whether everything that it carries is subscribed."""
        books = self.asks.stage is Stage.LIVE or not self.asks.roster.wanted
        return books and not self.asks.waits_for_channels

    def keep_early(self, sid: int, message: Message) -> bool:
        """Keep a message whose subscription has not been acknowledged yet; False where there is no room."""
        if self.early_count >= EARLY_MOST:
            return False
        self.early.setdefault(sid, []).append(message)
        self.early_count += 1
        return True
