"""Faults as they are ordered, over the control interface and in scenario files.

Owns the fields of an order, what each kind of fault needs, and the test whether an order is about a connection, a
subscription or a market. Carries nothing out.
"""

from collections.abc import Collection

import msgspec

from book.wire.commands import CHANNELS, COMBO_LIFECYCLE, LIFECYCLE, ORDERBOOK, TICKER, TRADE
from exchange.errors import OrderError
from exchange.universe import EXCHANGE_INDEXES, STRUCTURES

NOW, SNAPSHOT, SUBSCRIBE, HANDSHAKE, ROLLOVER = "now", "snapshot", "subscribe", "handshake", "rollover"
PHASES = (NOW, SNAPSHOT, SUBSCRIBE, HANDSHAKE, ROLLOVER)
ROLES = {
    "books": frozenset({ORDERBOOK}),
    "tape": frozenset({TRADE, TICKER}),
    "lifecycle": frozenset({LIFECYCLE, COMBO_LIFECYCLE}),
}
"""What a connection carries, by the name of its task."""

GAP, DUPLICATE, SILENT_LOSS = "gap", "duplicate", "silent_loss"
OVERFLOW_ERROR, CHANNEL_ERROR = "overflow_error", "channel_error"
STALL, HALF_OPEN, RESET, CLOSE, LATE_PONG = "stall", "half_open", "reset", "close", "late_pong"
SLOW_HANDSHAKE, UNAUTHORIZED, TOO_MANY = "slow_handshake", "unauthorized", "too_many"
MARKET_LIMIT, TOO_FAST = "market_limit", "too_fast"
EMPTY_SNAPSHOT, PRICE_STRUCTURE, REACTIVATE = "empty_snapshot", "price_structure", "reactivate"
PAUSE, HALT, BURST = "pause", "halt", "burst"

_NEEDS: dict[str, tuple[str, ...]] = {
    GAP: (),
    DUPLICATE: (),
    SILENT_LOSS: (),
    OVERFLOW_ERROR: (),
    CHANNEL_ERROR: (),
    STALL: ("seconds",),
    HALF_OPEN: (),
    RESET: (),
    CLOSE: ("code",),
    LATE_PONG: ("seconds",),
    SLOW_HANDSHAKE: ("seconds",),
    UNAUTHORIZED: (),
    TOO_MANY: (),
    MARKET_LIMIT: (),
    TOO_FAST: (),
    EMPTY_SNAPSHOT: (),
    PRICE_STRUCTURE: (),
    REACTIVATE: (),
    PAUSE: ("seconds",),
    HALT: ("exchange_index", "seconds"),
    BURST: ("messages_per_s", "seconds"),
}
KINDS = tuple(_NEEDS)
HANDSHAKE_KINDS = frozenset({SLOW_HANDSHAKE, UNAUTHORIZED, TOO_MANY})
WAITING_KINDS = HANDSHAKE_KINDS | {SILENT_LOSS, LATE_PONG, MARKET_LIMIT, TOO_FAST}
"""Kinds that bite at the next occasion of their own: a change, a pong, a handshake, a command."""
LOSING_KINDS = frozenset({GAP, SILENT_LOSS, HALF_OPEN, RESET, CLOSE, OVERFLOW_ERROR, CHANNEL_ERROR, HALT, PAUSE})
"""Kinds that keep something from a client."""
_SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
_LONGEST_S = 3_600.0
_LONGEST_HANDSHAKE_S = 100.0


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault to make. ``seconds`` are machine time, ``at_us`` the clock shown; None of a field is any, or none.

    ``wait_s``: how long the answer to the order may wait until the fault has happened.
    """

    kind: str
    when: str = NOW
    at_us: int | None = None
    offset_us: int = 0
    skip: int = 0
    port: int | None = None
    sid: int | None = None
    channel: str | None = None
    role: str | None = None
    ticker: str | None = None
    exchange_index: int | None = None
    count: int = 1
    seconds: float | None = None
    code: int | None = None
    reason: str = ""
    limit: int | None = None
    structure: str | None = None
    messages_per_s: int | None = None
    trading_only: bool = False
    wait_s: float = 5.0

    def checked(self) -> "Order":
        """Return the order itself. Raises OrderError, with the field, for one that makes no sense."""
        self._check_names()
        for field in _NEEDS[self.kind]:
            if getattr(self, field) is None:
                raise OrderError(field, f"{self.kind} needs it")
        for field, low, high in (
            ("count", 1, 1_000_000), ("skip", 0, 1_000_000), ("limit", 0, 1_000_000), ("wait_s", 0, 600),
            ("messages_per_s", 0, 1_000_000), ("exchange_index", 0, len(EXCHANGE_INDEXES) - 1),
        ):  # fmt: skip
            value = getattr(self, field)
            if value is not None and not low <= value <= high:
                raise OrderError(field, f"{value} is not from {low} to {high}")
        longest_s = _LONGEST_HANDSHAKE_S if self.kind == SLOW_HANDSHAKE else _LONGEST_S
        low_s = 0.0 if self.kind == REACTIVATE else 0.001
        if self.seconds is not None and not low_s <= self.seconds <= longest_s:
            raise OrderError("seconds", f"{self.seconds} is not from {low_s} to {longest_s:.0f}")
        if self.code is not None and self.code not in _SENDABLE_CODES and not 3000 <= self.code <= 4999:
            raise OrderError("code", f"{self.code} is no close code that can be sent")
        return self

    def _check_names(self) -> None:
        for field, known in (
            ("kind", KINDS), ("when", PHASES), ("channel", CHANNELS), ("role", ROLES), ("structure", STRUCTURES),
        ):  # fmt: skip
            value = getattr(self, field)
            if value is not None and value not in known:
                raise OrderError(field, f"{value!r} is none of {', '.join(sorted(known))}")
        if self.at_us is not None and self.when != NOW:
            raise OrderError("at_us", f"it does not go with when = {self.when!r}")
        if self.kind in HANDSHAKE_KINDS and self.when in {SNAPSHOT, SUBSCRIBE}:
            raise OrderError("when", f"{self.kind} is about handshakes")

    def wants(
        self, *, port: int | None = None, sid: int | None = None, channels: Collection[str] = (),
        tickers: Collection[str] | None = None,
    ) -> bool:  # fmt: skip
        """Say whether the order is about this: each thing that it names is there. ``tickers`` None is every market."""
        return (
            self.port in (None, port)
            and self.sid in (None, sid)
            and (self.channel is None or self.channel in channels)
            and (self.role is None or not ROLES[self.role].isdisjoint(channels))
            and (self.ticker is None or tickers is None or self.ticker in tickers)
        )
