"""The words of the log: sides, kinds of record, reasons of a close.

Owns the numbers that stand on disk for them. Never decides when a record is written.
"""

from enum import IntEnum, StrEnum

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

Level = tuple[int, int, int]
"""A level of a book: side, price_e4, qty_e2."""


class Side(IntEnum):
    """The side as the venue quotes it; a YES ask at p is a NO bid at 10,000 - p."""

    YES = 0
    NO = 1


class Kind(IntEnum):
    """What a row of the log is; the numbers are the sort order at equal stamp, conn and seq."""

    SNAPSHOT = 0
    """The venue's full book."""
    DELTA = 1
    """A signed change of one level, applied to a known book."""
    CHECKPOINT = 2
    """Our full book after the record of the same seq."""
    CLOSE = 3
    """From here the book is unknown."""
    ORPHAN = 4
    """A change received while the book was unknown: kept, never summed."""


class Reason(StrEnum):
    """Why a span ended, or why a stretch is unknown."""

    SEQ_GAP = "seq_gap"
    DISCONNECT = "disconnect"
    STALL = "stall"
    OVERFLOW = "overflow"
    CHANNEL_ERROR = "channel_error"
    AUDIT_MISMATCH = "audit_mismatch"
    NEGATIVE_LEVEL = "negative_level"
    UNREPRESENTABLE = "unrepresentable"
    CLOCK_STEP = "clock_step"
    VENUE_PAUSE = "venue_pause"
    MOVED = "moved"
    UNSUBSCRIBED = "unsubscribed"
    MARKET_CLOSED = "market_closed"
    CRASH = "crash"
    SHUTDOWN = "shutdown"
    LATE_START = "late_start"
    SHARD_SWITCH = "shard_switch"
    """From here another recorder's log is published: the succession of changes is not claimed."""


OPENS_NO_GAP = frozenset({Reason.MOVED, Reason.UNSUBSCRIBED, Reason.MARKET_CLOSED})
"""Closes after which nothing is missing: the market is followed elsewhere, unwanted, or over."""
