"""Faults of connections, subscriptions and handshakes, carried out.

Owns what each kind does to whom it is about. What it did is written down with the fault.
"""

import asyncio
from collections.abc import Callable

from book.wire.commands import ORDERBOOK
from exchange import orders
from exchange.connection import VenueConnection
from exchange.faults import Fault
from exchange.orders import Order
from exchange.session import Session
from exchange.subscription import Subscription
from exchange.venue import Venue
from exchange.ws import WsServer

_ERROR_CODES = {orders.OVERFLOW_ERROR: 25, orders.CHANNEL_ERROR: 10}


class Lines:
    """Carries out faults on the connections of ``ws`` and their subscriptions at ``venue``."""

    def __init__(self, venue: Venue, ws: WsServer) -> None:
        self._venue = venue
        self._ws = ws
        self._acts: dict[str, Callable[[Fault, VenueConnection], None]] = {
            orders.STALL: self._stall,
            orders.HALF_OPEN: self._half_open,
            orders.RESET: self._reset,
            orders.CLOSE: self._close,
        }

    def targets(self, order: Order, port: int | None) -> int:
        """Return how many connections, or subscriptions, an order is about now; ``port`` narrows it."""
        if order.kind in self._acts:
            return len(self._connections(order, port))
        return len(self._subscriptions(order, port))

    def knows(self, kind: str) -> bool:
        """Say whether a kind of fault is about connections or subscriptions that stand."""
        return kind in self._acts or kind in {orders.GAP, orders.DUPLICATE, *_ERROR_CODES}

    def strike(self, fault: Fault, port: int | None) -> None:
        """Carry out a fault on everybody it is about."""
        order = fault.order
        if order.kind in self._acts:
            found = self._connections(order, port)
            fault.left = len(found)
            for connection in found:
                self._acts[order.kind](fault, connection)
            return
        subscriptions = self._subscriptions(order, port)
        fault.left = len(subscriptions)
        if order.kind in _ERROR_CODES:
            for session, subscription in subscriptions:
                number = session.end(subscription, _ERROR_CODES[order.kind])
                self._venue.faults.has_happened(
                    fault, port=session.port, sid=subscription.sid, seq=number, type="error",
                    code=_ERROR_CODES[order.kind],
                )  # fmt: skip
            return
        fault.left *= order.count
        for _, subscription in subscriptions:
            subscription.owe(fault)

    def _connections(self, order: Order, port: int | None) -> list[VenueConnection]:
        """Return whom an order is about; a phase has named the one already."""
        if port is not None:
            return [self._ws.connections[port]] if port in self._ws.connections else []
        found = []
        for number, connection in self._ws.connections.items():
            session = self._venue.sessions.get(number)
            if session is not None and order.wants(
                port=number, sid=order.sid, channels=session.channels(), tickers=_tickers(session)
            ):
                found.append(connection)
        return found

    def _subscriptions(self, order: Order, port: int | None) -> list[tuple[Session, Subscription]]:
        is_any = order.channel is None and order.role is None and order.sid is None
        return [
            (session, subscription)
            for session in self._venue.sessions.values()
            for subscription in tuple(session.subscriptions.values())
            if port in (None, session.port)
            and (not is_any or subscription.channel == ORDERBOOK)
            and order.wants(
                port=session.port, sid=subscription.sid, channels=(subscription.channel,), tickers=subscription.tickers
            )
        ]

    def _until_ns(self, fault: Fault) -> int | None:
        seconds = fault.order.seconds
        return None if seconds is None else self._venue.now_ns() + round(seconds * 1e9)

    def _stall(self, fault: Fault, connection: VenueConnection) -> None:
        connection.hold(fault.order.seconds or 0.0)
        _also(fault, connection.let_go)
        self._venue.faults.has_happened(fault, port=connection.port, until_ns=self._until_ns(fault))

    def _half_open(self, fault: Fault, connection: VenueConnection) -> None:
        before = connection.lost
        connection.die()

        def end() -> None:
            if not connection.transport.is_closing():
                connection.reset()

        def note(_: object) -> None:
            self._venue.faults.note(fault, type="end", port=connection.port, count=connection.lost - before)

        connection.connection_lost_waiter.add_done_callback(note)
        _also(fault, end)
        if fault.order.seconds is not None:
            asyncio.get_running_loop().call_later(fault.order.seconds, end)
        self._venue.faults.has_happened(fault, port=connection.port, until_ns=self._until_ns(fault))

    def _reset(self, fault: Fault, connection: VenueConnection) -> None:
        waited = connection.backlog()
        connection.reset()
        self._venue.faults.has_happened(fault, port=connection.port, count=waited)

    def _close(self, fault: Fault, connection: VenueConnection) -> None:
        order = fault.order
        waited = connection.backlog()
        self._ws.close(connection, order.code or 1001, order.reason)
        self._venue.faults.has_happened(fault, port=connection.port, code=order.code, count=waited)


def _also(fault: Fault, act: Callable[[], None]) -> None:
    """Let the end of a fault end this too."""
    before = fault.undo

    def both() -> None:
        if before is not None:
            before()
        act()

    fault.undo = both


def _tickers(session: Session) -> set[str] | None:
    """Return the markets that a connection has asked for by name, None where it follows all of them."""
    named: set[str] = set()
    for subscription in session.subscriptions.values():
        if subscription.tickers is None:
            return None
        named.update(subscription.tickers)
    return named
