"""The control interface, for tests and rehearsals: what was sent, what is true, and faults on demand.

Owns the paths under ``/control`` and their documents. Answers on the machine itself only, without a key.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec

from book.wire.commands import ORDERBOOK
from exchange.asgi import Handler, Reply, Request, Router
from exchange.errors import RefusedError
from exchange.faults import GAP, RESET, SILENT_LOSS, STALL, Fault
from exchange.sendlog import Frame
from exchange.venue import Venue
from exchange.ws import WsServer

LOOPBACK = frozenset({"127.0.0.1", "::1"})
_LINES_A_TURN = 2_000


class FaultOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A fault to make. ``wait_s``: how long the answer may wait for a gap or a loss to have happened."""

    kind: str
    count: int = 1
    seconds: float | None = None
    ticker: str | None = None
    port: int | None = None
    sid: int | None = None
    channel: str = ORDERBOOK
    wait_s: float = 5.0


class SnapshotOrder(msgspec.Struct, forbid_unknown_fields=True):
    """A market whose book is to be sent unasked."""

    ticker: str


class ControlInterface:
    """Answers over ``venue`` and its connections; ``source_done`` says whether the source has ended."""

    def __init__(self, venue: Venue, ws: WsServer, source_done: Callable[[], bool]) -> None:
        self._venue = venue
        self._ws = ws
        self._source_done = source_done

    def register(self, router: Router) -> None:
        """Add the paths."""
        for method, pattern, handler in (
            ("GET", "/control/state", self._state),
            ("GET", "/control/log", self._log),
            ("GET", "/control/book", self._book),
            ("GET", "/control/faults", self._faults),
            ("POST", "/control/fault", self._fault),
            ("POST", "/control/snapshot", self._snapshot),
        ):
            router.add(method, pattern, _local(handler))

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
                "frames": venue.log.sent,
                "first_n": venue.log.sent - len(venue.log) + 1,
                "steps": venue.steps,
                "refused": venue.refused,
                "markets": len(venue.registry.markets),
                "source_done": self._source_done(),
                "now_us": venue.now_us(),
            }
        )

    async def _log(self, request: Request) -> Reply:
        port, sid, limit = (request.whole(name, None, 0, 2**60) for name in ("port", "sid", "limit"))
        ticker, after = request.one("ticker"), request.whole("after", 0, 0, 2**60) or 0

        def keep(frame: Frame) -> bool:
            return (
                (port is None or frame.port == port)
                and (sid is None or frame.sid == sid)
                and (ticker is None or frame.ticker == ticker)
            )

        lines = self._lines(after, 10_000 if limit is None else limit, keep)
        return Reply(stream=lines, content_type=b"application/x-ndjson")

    async def _lines(self, after: int, limit: int, keep: Callable[[Frame], bool]) -> AsyncIterator[bytes]:
        """Yield up to ``limit`` lines in parts, letting the venue go on between them."""
        part: list[bytes] = []
        found = 0
        for seen, frame in enumerate(self._venue.log.after(after)):
            if found == limit:
                break
            if keep(frame):
                found += 1
                part.append(msgspec.json.encode(_line(frame)))
            if seen % _LINES_A_TURN == _LINES_A_TURN - 1:
                if part:
                    yield b"\n".join(part) + b"\n"
                    part = []
                await asyncio.sleep(0)
        if part:
            yield b"\n".join(part) + b"\n"

    async def _book(self, request: Request) -> Reply:
        port, sid, seq = (request.whole(name, None, 0, 2**60) for name in ("port", "sid", "seq"))
        if port is None or sid is None or seq is None:
            raise RefusedError(400, "bad_request", "port, sid and seq are required")
        frame = self._venue.log.find(port, sid, seq)
        ticker = request.one("ticker") or frame.ticker
        if ticker is None:
            raise RefusedError(400, "bad_request", "that frame names no market; give a ticker")
        book = self._venue.truth.at(ticker, frame.change_no)
        return Reply(
            {
                "ticker": ticker,
                "levels": book.levels(),
                "digest": book.digest(),
                "change_no": frame.change_no,
                "sent_us": frame.sent_us,
                "sent_ns": frame.sent_ns,
            }
        )

    async def _faults(self, _: Request) -> Reply:
        return Reply({"faults": [_shown(fault) for fault in self._venue.faults.all]})

    async def _fault(self, request: Request) -> Reply:
        order = _decoded(request.body, FaultOrder)
        if order.kind == GAP:
            if order.count < 1:
                raise RefusedError(400, "bad_request", "count is below 1")
            fault = self._venue.ask_gap(order.count, port=order.port, sid=order.sid, channel=order.channel)
            if not fault.left:
                raise RefusedError(404, "not_found", "no subscription matches")
        elif order.kind == SILENT_LOSS:
            fault = self._venue.ask_silent_loss(ticker=order.ticker, port=order.port)
        elif order.kind == STALL:
            if order.seconds is None or not 0 < order.seconds <= 3600:
                raise RefusedError(400, "bad_request", "seconds is not above 0 and at most 3600")
            fault = self._at_once(order, self._stall_one)
        elif order.kind == RESET:
            fault = self._at_once(order, self._reset_one)
        else:
            raise RefusedError(400, "bad_request", "kind is none of gap, silent_loss, stall, reset")
        await self._until_done(fault, order.wait_s)
        return Reply(_shown(fault))

    def _at_once(self, order: FaultOrder, act: Callable[[Fault, int, float], None]) -> Fault:
        """Carry out a fault on the connections that the order names."""
        ports = [port for port in self._ws.connections if order.port in (None, port)]
        if not ports:
            raise RefusedError(404, "not_found", "no connection matches")
        fault = self._venue.faults.ask(order.kind, len(ports), port=order.port)
        for port in ports:
            act(fault, port, order.seconds or 0.0)
        return fault

    def _stall_one(self, fault: Fault, port: int, seconds: float) -> None:
        until_ns = self._venue.now_ns() + round(seconds * 1e9)
        self._ws.connections[port].hold(seconds)
        self._venue.faults.has_happened(fault, port=port, until_ns=until_ns)

    def _reset_one(self, fault: Fault, port: int, _: float) -> None:
        self._ws.connections[port].reset()
        self._venue.faults.has_happened(fault, port=port)

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


def _local(handler: Handler) -> Handler:
    async def check(request: Request) -> Reply:
        if request.client_host not in LOOPBACK:
            raise RefusedError(403, "forbidden", "the control interface answers on the machine itself only")
        return await handler(request)

    return check


def _line(frame: Frame) -> dict[str, Any]:
    return {
        "n": frame.n,
        "port": frame.port,
        "sid": frame.sid,
        "seq": frame.seq,
        "type": frame.kind,
        "ticker": frame.ticker,
        "sent_us": frame.sent_us,
        "sent_ns": frame.sent_ns,
        "frame": frame.data.decode(),
    }


def _shown(fault: Fault) -> dict[str, Any]:
    return {
        "kind": fault.kind,
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
