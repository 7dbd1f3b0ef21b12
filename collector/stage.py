"""Where asking stands: the stage of the book subscription, and a command in flight.

Owns nothing but these values.
"""

from dataclasses import dataclass
from enum import Enum

from book.wire.commands import Command


class Stage(Enum):
    """Where the book subscription stands."""

    NONE = "none"
    SUBSCRIBING = "subscribing"
    LIVE = "live"
    LEAVING = "leaving"


@dataclass(slots=True)
class Sent:
    """A command in flight."""

    command: Command
    at_ns: int
