"""The control interface, for tests and rehearsals: the state of the exchange, and faults on demand.

Owns the paths under ``/control`` that change something, and their documents. Answers on the machine itself only,
without a key.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from exchange.asgi import Reply, Request, Router, local
from exchange.errors import OrderError, RefusedError
from exchange.faults import Fault
from exchange.injector import Injector
from exchange.orders import Order
from exchange.venue import Venue
from exchange.ws import WsServer


class SnapshotOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A market whose book is to be sent unasked."""

    ticker: str


class ControlInterface:
    """Answers over ``venue`` and its connections; ``source_done`` says whether the source has ended."""

    def __init__(self, venue: Venue, ws: WsServer, injector: Injector, source_done: Callable[[], bool]) -> None:
        self._venue = venue
        self._ws = ws
        self._injector = injector
        self._source_done = source_done

    def register(self, router: Router) -> None:
        """Add the paths."""
        for method, pattern, handler in (
            ("GET", "/control/state", self._state),
            ("GET", "/control/faults", self._faults),
            ("GET", "/control/faults/{id}", self._fault),
            ("DELETE", "/control/faults/{id}", self._cancel),
            ("POST", "/control/fault", self._order),
            ("POST", "/control/snapshot", self._snapshot),
        ):
            router.add(method, pattern, local(handler))

    async def _state(self, _: Request) -> Reply:
        venue = self._venue
        connections = [
            {
                "port": session.port,
                "sids": {subscription.channel: sid for sid, subscription in session.subscriptions.items()},
                "backlog": self._ws.connections[session.port].backlog(),
            }
            for session in venue.sessions.values()
            if session.port in self._ws.connections
        ]
        return Reply(
            {
                "connections": connections,
                "ended": [past._asdict() for past in self._ws.ended],
                "frames": venue.log.sent,
                "first_n": venue.log.sent - len(venue.log) + 1,
                "steps": venue.steps,
                "refused": venue.refused,
                "markets": len(venue.registry.markets),
                "source_done": self._source_done(),
                "now_us": venue.now_us(),
                "is_closed": venue.halts.is_closed,
                "halted": sorted(venue.halts.indexes),
            }
        )

    async def _faults(self, _: Request) -> Reply:
        return Reply({"faults": [_shown(fault) for fault in self._venue.faults.all.values()]})

    async def _fault(self, request: Request) -> Reply:
        return Reply(_shown(self._named(request)))

    async def _order(self, request: Request) -> Reply:
        order = _decoded(request.body, Order)
        try:
            fault = self._injector.order(order)
        except OrderError as error:
            raise RefusedError(400, "bad_request", str(error)) from error
        await self._until_done(fault, order.wait_s)
        return Reply(_shown(fault))

    async def _cancel(self, request: Request) -> Reply:
        fault = self._named(request)
        self._venue.faults.cancel(fault)
        return Reply(_shown(fault))

    def _named(self, request: Request) -> Fault:
        text = request.path_values["id"]
        return self._venue.faults.find(int(text) if text.isascii() and text.isdigit() else 0)

    async def _until_done(self, fault: Fault, wait_s: float) -> None:
        if fault.left > 0:
            done = asyncio.Event()
            fault.on_done = done.set
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), wait_s)

    async def _snapshot(self, request: Request) -> Reply:
        ticker = _decoded(request.body, SnapshotOrder).ticker
        ports = self._venue.hub.book_ports(ticker)
        self._venue.hub.send_book(ticker)
        return Reply({"ticker": ticker, "ports": ports, "change_no": self._venue.truth.change_no})


def _shown(fault: Fault) -> dict[str, Any]:
    return {
        "id": fault.id,
        "kind": fault.order.kind,
        "done": fault.left <= 0,
        "asked_us": fault.asked_us,
        "asked_ns": fault.asked_ns,
        "effects": [msgspec.to_builtins(effect) for effect in fault.effects],
    }


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise RefusedError(400, "bad_request", str(error)) from error
