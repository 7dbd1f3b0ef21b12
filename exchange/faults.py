"""Faults on demand: what was asked for, what waits for its occasion, and what was done to whom and when.

Owns the memory of faults. Where a fault bites is decided by whoever sends: subscriptions lose frames, the venue loses
changes, connections are held or cut, handshakes are refused.
"""

import logging
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from exchange.errors import RefusedError
from exchange.orders import HANDSHAKE, LOSING_KINDS, SNAPSHOT, SUBSCRIBE, WAITING_KINDS, Order

_log = logging.getLogger(__name__)
_FAULTS_KEPT = 100_000
_EFFECTS_KEPT = 100_000


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a fault did, at the clock's time and the machine's; ``until_ns`` is the machine's too."""

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
    change_no: int | None = None
    until_ns: int | None = None
    count: int | None = None
    code: int | None = None
    frame: str | None = None


class Fault(msgspec.Struct, kw_only=True, eq=False):
    """A fault as ordered; ``left`` of its effects have not happened yet.

    ``on_done`` is called when the last one has, ``undo`` ends what lasts. A fault that stands for a time (``until_ns``,
    machine time) bites as often as there is occasion.
    """

    id: int
    order: Order
    asked_us: int
    asked_ns: int
    left: int
    skip: int = 0
    until_ns: int | None = None
    effects: list[Effect] = msgspec.field(default_factory=list)
    on_done: Callable[[], None] | None = None
    undo: Callable[[], None] | None = None


class Toll(msgspec.Struct, eq=False):
    """What one subscription still owes to a fault: its next ``left`` frames, of ``ticker`` alone where one is named."""

    fault: Fault
    left: int
    ticker: str | None


class Faults:
    """Every fault so far, and those that wait. ``fire`` is told when the phase of one has come, and on which port."""

    def __init__(self, now_us: Callable[[], int], now_ns: Callable[[], int]) -> None:
        self._now_us = now_us
        self._now_ns = now_ns
        self.all: dict[int, Fault] = {}
        self.fire: Callable[[Fault, int | None], None] = _nobody
        self._waiting: dict[str, list[Fault]] = {kind: [] for kind in WAITING_KINDS}
        self._armed: dict[str, list[Fault]] = {phase: [] for phase in (SNAPSHOT, SUBSCRIBE, HANDSHAKE)}

    def ask(self, order: Order, left: int) -> Fault:
        """Remember a fault. Raises RefusedError 429 where too many are remembered already."""
        if len(self.all) >= _FAULTS_KEPT:
            raise RefusedError(429, "too_many_faults", f"{_FAULTS_KEPT} faults are remembered; start anew")
        number = len(self.all) + 1
        fault = Fault(
            id=number, order=order, asked_us=self._now_us(), asked_ns=self._now_ns(), left=left, skip=order.skip
        )
        self.all[number] = fault
        return fault

    def arm(self, fault: Fault) -> None:
        """Let a fault wait for the phase that its order names."""
        self._armed[fault.order.when].append(fault)

    def wait(self, fault: Fault) -> None:
        """Let a fault bite at the next occasions of its kind."""
        if fault.order.seconds is not None and fault.order.kind in _STANDING:
            fault.until_ns = self._now_ns() + round(fault.order.seconds * 1e9)
            self._is_done(fault)
        self._waiting[fault.order.kind].append(fault)

    def occasion(
        self, phase: str, *, port: int | None = None, sid: int | None = None, channels: Collection[str] = (),
        tickers: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        """Fire what waits for this phase and is about this."""
        for fault in tuple(self._armed[phase]):
            order = fault.order
            if not order.wants(port=port, sid=sid, channels=channels, tickers=tickers):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            self._armed[phase].remove(fault)
            self.fire(fault, port)

    def is_armed(self, phase: str) -> bool:
        """Whether anything waits for a phase."""
        return bool(self._armed[phase])

    def is_waiting(self, kind: str) -> bool:
        """Whether a fault of a kind waits."""
        return bool(self._waiting[kind])

    def take(
        self, kind: str, *, port: int | None = None, sid: int | None = None, channels: Collection[str] = (),
        tickers: Collection[str] | None = None,
    ) -> Fault | None:  # fmt: skip
        """Return the oldest fault of a kind that bites here, None for none; what it does is then written down."""
        waiting = self._waiting[kind]
        for fault in tuple(waiting):
            if fault.until_ns is not None and self._now_ns() >= fault.until_ns:
                waiting.remove(fault)
            elif fault.order.wants(port=port, sid=sid, channels=channels, tickers=tickers):
                if fault.until_ns is None and fault.left <= 1:
                    waiting.remove(fault)
                return fault
        return None

    def has_happened(self, fault: Fault, *, change: tuple[int, int, int] | None = None, **what: Any) -> None:
        """Write down one effect of a fault (fields of Effect); ``change`` is side, price_e4 and signed size."""
        self.note(fault, change=change, **what)
        fault.left -= 1
        if fault.left <= 0:
            self._is_done(fault)

    def note(self, fault: Fault, *, change: tuple[int, int, int] | None = None, **what: Any) -> None:
        """Write down an effect that was not waited for."""
        side, price_e4, change_e2 = change or (None, None, None)
        if len(fault.effects) >= _EFFECTS_KEPT:
            _log.warning("fault %d has more effects than are remembered", fault.id)
            return
        document = {"at_us": self._now_us(), "at_ns": self._now_ns(), **what}
        document |= {"side": side, "price_e4": price_e4, "change_e2": change_e2}
        fault.effects.append(msgspec.convert(document, Effect))

    def has_failed(self, fault: Fault) -> None:
        """Write down that nobody was there for a fault whose time had come."""
        _log.warning("fault %d, %s, met nobody", fault.id, fault.order.kind)
        self._is_done(fault)

    def find(self, number: int) -> Fault:
        """Return a fault. Raises RefusedError 404."""
        if number not in self.all:
            raise RefusedError(404, "not_found", f"there is no fault {number}")
        return self.all[number]

    def cancel(self, fault: Fault) -> None:
        """End a fault: what has not happened does not, what lasts is over."""
        for list_of in (*self._waiting.values(), *self._armed.values()):
            if fault in list_of:
                list_of.remove(fault)
        undo, fault.undo = fault.undo, None
        if undo is not None:
            undo()
        self._is_done(fault)

    def losses(self) -> list[tuple[Fault, Effect]]:
        """Return what faults kept from clients, in order of time. Cost: all effects are sorted."""
        found = [(f, effect) for f in self.all.values() if f.order.kind in LOSING_KINDS for effect in f.effects]
        return sorted(found, key=lambda row: row[1].at_ns)

    def _is_done(self, fault: Fault) -> None:
        fault.left = 0
        on_done, fault.on_done = fault.on_done, None
        if on_done is not None:
            on_done()


_STANDING = frozenset({"unauthorized", "too_many", "market_limit", "too_fast"})
"""Kinds that with ``seconds`` bite for that long instead of a number of times."""


def _nobody(fault: Fault, _: int | None) -> None:
    raise RuntimeError(f"nobody carries out faults, asked for {fault.order.kind}")
