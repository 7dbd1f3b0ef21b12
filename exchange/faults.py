"""Faults on demand: what was asked for, and what it did to whom and when.

Owns the memory of faults. Where a fault bites is decided by whoever sends: subscriptions lose frames, the venue loses
changes, connections are held or reset.
"""

from collections.abc import Callable

import msgspec

GAP, SILENT_LOSS, STALL, RESET = "gap", "silent_loss", "stall", "reset"


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a fault did, at the clock's time and the machine's."""

    at_us: int
    at_ns: int
    port: int | None = None
    sid: int | None = None
    seq: int | None = None
    type: str | None = None
    ticker: str | None = None
    side: int | None = None
    price_e4: int | None = None
    change_e2: int | None = None
    until_ns: int | None = None


class Fault(msgspec.Struct, kw_only=True):
    """A fault as asked for; ``left`` of its effects have not happened yet. ``port`` and ``ticker`` None is any.

    ``on_done`` is called when the last one has.
    """

    kind: str
    asked_us: int
    asked_ns: int
    left: int
    port: int | None = None
    ticker: str | None = None
    effects: list[Effect] = msgspec.field(default_factory=list)
    on_done: Callable[[], None] | None = None


class Faults:
    """Every fault so far, and the silent losses that wait for their change."""

    def __init__(self, now_us: Callable[[], int], now_ns: Callable[[], int]) -> None:
        self._now_us = now_us
        self._now_ns = now_ns
        self.all: list[Fault] = []
        self._waiting: list[Fault] = []

    def ask(self, kind: str, left: int, *, port: int | None = None, ticker: str | None = None) -> Fault:
        """Remember a fault; a silent loss then waits for its change."""
        fault = Fault(kind=kind, asked_us=self._now_us(), asked_ns=self._now_ns(), left=left, port=port, ticker=ticker)
        self.all.append(fault)
        if kind == SILENT_LOSS:
            self._waiting.append(fault)
        return fault

    def has_happened(
        self,
        fault: Fault,
        *,
        port: int | None = None,
        sid: int | None = None,
        seq: int | None = None,
        kind: str | None = None,
        ticker: str | None = None,
        change: tuple[int, int, int] | None = None,
        until_ns: int | None = None,
    ) -> None:
        """Write down one effect of a fault; ``change`` is side, price_e4 and signed size."""
        side, price_e4, change_e2 = change or (None, None, None)
        fault.left -= 1
        fault.effects.append(
            Effect(
                at_us=self._now_us(), at_ns=self._now_ns(), port=port, sid=sid, seq=seq, type=kind, ticker=ticker,
                side=side, price_e4=price_e4, change_e2=change_e2, until_ns=until_ns,
            )
        )  # fmt: skip
        if fault.left <= 0 and fault.on_done is not None:
            fault.on_done()

    def take_silent(self, ticker: str, ports: list[int]) -> Fault | None:
        """Return the oldest silent loss that a change of ``ticker``, due at ``ports``, fulfils; it is then used up."""
        for fault in self._waiting:
            if fault.ticker in (None, ticker) and (fault.port in ports if fault.port is not None else ports):
                self._waiting.remove(fault)
                return fault
        return None

    @property
    def wants_silent(self) -> bool:
        """Whether a silent loss waits."""
        return bool(self._waiting)
