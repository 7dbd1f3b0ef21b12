"""Orders in, faults made: at once, in a phase, at an instant.

Owns when a fault strikes. What it does is for the line's faults, the markets' faults, or whoever meets one that waits.
"""

import asyncio
import time
from collections.abc import Callable

from exchange import orders
from exchange.errors import RefusedError
from exchange.faults import Fault
from exchange.lines import Lines
from exchange.market_faults import MarketFaults
from exchange.orders import Order
from exchange.venue import Venue
from exchange.ws import WsServer

HOUR_US = 3_600_000_000
_RATE_AFTER_S = 0.05
_LONGEST_NAP_S, _SHORTEST_NAP_S = 0.25, 0.0005


class Injector:
    """Makes the faults of ``venue`` and ``ws``; what waits for an instant waits in ``tasks``."""

    def __init__(self, venue: Venue, ws: WsServer, tasks: asyncio.TaskGroup) -> None:
        self._venue = venue
        self._ws = ws
        self._lines = Lines(venue, ws)
        self._markets = MarketFaults(venue, ws, self.rate)
        self._began = (venue.now_us(), time.monotonic())
        self._tasks = tasks
        venue.faults.fire = self._fire

    def rate(self) -> float:
        """Return how fast the clock shown has run by the machine's so far."""
        passed_us, passed_s = self._venue.now_us() - self._began[0], time.monotonic() - self._began[1]
        return passed_us / 1e6 / passed_s if passed_s > _RATE_AFTER_S and passed_us > 0 else 1.0

    def order(self, order: Order) -> Fault:
        """Make a fault, or let it wait for its time.

        Raises OrderError for one that makes no sense, RefusedError 404 where one that is due meets nobody.
        """
        order = order.checked()
        faults = self._venue.faults
        is_now = order.when == orders.NOW and order.at_us is None
        if is_now and self._lines.knows(order.kind) and not self._lines.targets(order, None):
            raise RefusedError(404, "not_found", "no connection or subscription matches")
        self._markets.check(order)
        fault = faults.ask(order, order.count)
        at_us = self._instant(order)
        if is_now:
            self._fire(fault, None)
        elif at_us is not None:
            self._at(fault, at_us)
        else:
            faults.arm(fault)
        return fault

    def _instant(self, order: Order) -> int | None:
        if order.when == orders.ROLLOVER:
            now_us = self._venue.now_us()
            at_us = (now_us // HOUR_US + 1) * HOUR_US + order.offset_us
            return at_us if at_us > now_us else at_us + HOUR_US
        return order.at_us

    def _at(self, fault: Fault, at_us: int) -> None:
        task = self._tasks.create_task(self._wait(fault, at_us))
        order, halts = fault.order, self._venue.halts
        if order.kind == orders.PAUSE:
            halts.announce(fault.id, at_us, at_us + round((order.seconds or 0.0) * self.rate() * 1_000_000))

        def undo() -> None:
            task.cancel()
            halts.withdraw(fault.id)

        fault.undo = undo

    async def _wait(self, fault: Fault, at_us: int) -> None:
        """Wait for an instant of the clock shown, whatever its rate, and strike."""
        while (left_us := at_us - self._venue.now_us()) > 0:
            nap_s = left_us / 1e6 / max(self.rate(), 1.0) * 0.9
            await asyncio.sleep(min(max(nap_s, _SHORTEST_NAP_S), _LONGEST_NAP_S))
        fault.undo = None
        self._fire(fault, None)

    def _fire(self, fault: Fault, port: int | None) -> None:
        """Let a fault strike, or wait for its own occasion; ``port`` is the connection whose phase has come."""
        order = fault.order
        if order.limit is not None and order.kind in _LIMITED:
            self._limit(fault)
        elif order.kind in orders.WAITING_KINDS:
            self._venue.faults.wait(fault)
        elif self._markets.knows(order.kind):
            self._markets.strike(fault)
        elif self._lines.targets(order, port):
            self._lines.strike(fault, port)
        else:
            self._venue.faults.has_failed(fault)

    def _limit(self, fault: Fault) -> None:
        """Set one of the venue's limits, for a time or for good."""
        order = fault.order
        owner, name = _LIMITED[order.kind](self._venue, self._ws)
        before = getattr(owner, name)
        setattr(owner, name, order.limit)
        fault.left = 1
        until_ns = None
        if order.seconds is not None:
            until_ns = self._venue.now_ns() + round(order.seconds * 1e9)
            timer = asyncio.get_running_loop().call_later(order.seconds, setattr, owner, name, before)

            def undo() -> None:
                timer.cancel()
                setattr(owner, name, before)

            fault.undo = undo
        self._venue.faults.has_happened(fault, count=order.limit, until_ns=until_ns)


_LIMITED: dict[str, Callable[[Venue, WsServer], tuple[object, str]]] = {
    orders.MARKET_LIMIT: lambda venue, _: (venue.limits, "max_markets"),
    orders.TOO_FAST: lambda venue, _: (venue.limits, "max_commands_per_s"),
    orders.TOO_MANY: lambda _, ws: (ws, "max_connections"),
}
