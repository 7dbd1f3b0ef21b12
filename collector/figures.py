"""What a session has to say of itself in numbers, for metrics and health.

Owns the form only.
"""

from typing import NamedTuple

from book.wire.messages import Delta, Lifecycle, Ok, Snapshot, Subscribed, Ticker, Trade, Unsubscribed, VenueError
from collector.links import Slot

KINDS: dict[type, str] = {
    Snapshot: "snapshot", Delta: "delta", Trade: "trade", Ticker: "ticker", Lifecycle: "lifecycle", Ok: "ok",
    Subscribed: "subscribed", Unsubscribed: "unsubscribed", VenueError: "error",
}  # fmt: skip
"""Kinds of message as they are counted."""


class Figures(NamedTuple):
    """Totals since the process began, and how things stand.

    ``messages`` by kind; ``verdicts`` on sequence numbers other than in order; ``closes`` by reason; ``reconnects``
    are connections on a slot that had had one before. ``listed`` markets are to be recorded, ``live`` ones have a known
    book, ``waiting`` ones have none at the moment, ``without_room`` ones have no connection or wait for a new
    subscription. ``up`` says of each slot that should stand whether its subscriptions do.
    """

    messages: dict[str, int]
    verdicts: dict[str, int]
    closes: dict[str, int]
    audits_equal: int
    audits_unequal: int
    audits_asked: int
    reconnects: int
    commands_refused: int
    listed: int
    live: int
    waiting: int
    without_room: int
    up: dict[Slot, bool]
