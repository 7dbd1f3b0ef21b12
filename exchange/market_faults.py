"""Faults of markets and of the exchange: an emptied book, another grid, a reactivation, a pause, a halt, a burst.

Owns what each of them does to the venue, and its end. Unlike faults of the line these are true: the books change too.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator

from book.wire import lifecycle
from exchange import orders
from exchange.errors import RefusedError
from exchange.faults import Fault
from exchange.halts import Halt, everywhere
from exchange.orders import Order
from exchange.steps import BookSet, Changed, Milestone, Step
from exchange.universe import STRUCTURES, grid, price_ranges
from exchange.venue import Venue
from exchange.ws import WsServer

PAUSE_CODE = 1001


class MarketFaults:
    """Carries out faults on ``venue``; ``rate`` is how fast the clock shown runs by the machine's."""

    def __init__(self, venue: Venue, ws: WsServer, rate: Callable[[], float]) -> None:
        self._venue = venue
        self._ws = ws
        self._rate = rate
        self._turn = itertools.count()
        self._acts: dict[str, Callable[[Fault], None]] = {
            orders.EMPTY_SNAPSHOT: self._empty,
            orders.PRICE_STRUCTURE: self._reprice,
            orders.REACTIVATE: self._reactivate,
            orders.PAUSE: self._pause,
            orders.HALT: self._halt,
            orders.BURST: self._burst,
        }

    def knows(self, kind: str) -> bool:
        """Say whether a kind of fault is about markets or the exchange."""
        return kind in self._acts

    def check(self, order: Order) -> None:
        """Raise RefusedError 404 where an order is about a market that is not there."""
        if order.kind in {orders.EMPTY_SNAPSHOT, orders.PRICE_STRUCTURE, orders.REACTIVATE}:
            self._market(order)

    def strike(self, fault: Fault) -> None:
        """Carry out a fault."""
        try:
            self._acts[fault.order.kind](fault)
        except RefusedError:
            self._venue.faults.has_failed(fault)

    def _market(self, order: Order) -> str:
        """Return the market that an order names, else an active one, whose book somebody follows if any does."""
        markets = self._venue.registry.markets
        if order.ticker is not None:
            if order.ticker not in markets:
                raise RefusedError(404, "not_found", f"there is no market {order.ticker}")
            return order.ticker
        for names in (self._venue.hub.followed(), list(markets)):
            active = [name for name in names if name in markets and markets[name].doc.status == "active"]
            if active:
                return active[next(self._turn) % len(active)]
        raise RefusedError(404, "not_found", "no market is active")

    def _empty(self, fault: Fault) -> None:
        ticker = self._market(fault.order)
        venue = self._venue
        venue.source.clear(ticker)
        followers = venue.hub.followers(ticker)
        venue.play([BookSet(venue.now_us(), ticker)])
        fault.left = max(len(followers), 1)
        for follower in followers:
            venue.faults.has_happened(
                fault, port=follower.port, sid=follower.sid, seq=follower.seq, ticker=ticker,
                change_no=venue.truth.change_no,
            )  # fmt: skip
        if not followers:
            venue.faults.has_happened(fault, ticker=ticker, change_no=venue.truth.change_no)

    def _reprice(self, fault: Fault) -> None:
        ticker = self._market(fault.order)
        venue = self._venue
        doc = venue.registry.markets[ticker].doc
        names = list(STRUCTURES)
        known = names.index(doc.price_level_structure) if doc.price_level_structure in names else -1
        name = fault.order.structure or names[(known + 1) % len(names)]
        ranges = price_ranges(name)
        venue.source.reprice(ticker, grid(name))
        message = lifecycle.price_level_structure_updated(ticker, name, ranges)
        step = Milestone(venue.now_us(), ticker, message=message, price_level_structure=name, price_ranges=ranges)
        venue.play([step])
        venue.faults.has_happened(fault, ticker=ticker, type=name, change_no=venue.truth.change_no)

    def _reactivate(self, fault: Fault) -> None:
        ticker = self._market(fault.order)
        venue = self._venue
        fault.left = 2
        down = lifecycle.deactivated(ticker)
        venue.source.trade(ticker, is_on=False)
        venue.play([Milestone(venue.now_us(), ticker, status="inactive", message=down)])
        venue.faults.has_happened(fault, ticker=ticker, type="deactivated", change_no=venue.truth.change_no)

        def go_on() -> None:
            venue.source.clear(ticker)
            venue.source.trade(ticker, is_on=True)
            venue.play(list(self._reopening(ticker)))
            venue.faults.has_happened(fault, ticker=ticker, type="activated", change_no=venue.truth.change_no)

        self._later(fault, go_on)

    def _reopening(self, ticker: str) -> Iterator[Step]:
        """Yield what follows a pause of a market: every resting order is cancelled."""
        now_us = self._venue.now_us()
        yield Milestone(now_us, ticker, status="active", message=lifecycle.activated(ticker))
        book = self._venue.truth.book(ticker)
        for side, price_e4, qty_e2 in book.levels() if book is not None else ():
            yield Changed(now_us, ticker, side, price_e4, -qty_e2, now_us)

    def _pause(self, fault: Fault) -> None:
        order = fault.order
        self._stop(fault, everywhere(), is_closed=not order.trading_only, is_maintenance=True)
        if order.trading_only:
            return
        for port, connection in self._ws.connections.items():
            self._ws.close(connection, order.code or PAUSE_CODE, order.reason)
            self._venue.faults.note(fault, port=port, code=order.code or PAUSE_CODE, count=connection.backlog())

    def _halt(self, fault: Fault) -> None:
        indexes = frozenset({fault.order.exchange_index or 0})
        self._stop(fault, indexes, is_closed=False, is_maintenance=False)

    def _stop(self, fault: Fault, indexes: frozenset[int], *, is_closed: bool, is_maintenance: bool) -> None:
        venue, seconds = self._venue, fault.order.seconds or 0.0
        now_us = venue.now_us()
        until_us = now_us + round(seconds * self._rate() * 1_000_000)
        halt = Halt(fault, indexes, is_closed, is_maintenance, now_us, until_us)
        venue.halts.begin(halt)
        venue.source.halt(venue.halts.indexes)
        fault.left = 2
        until_ns = venue.now_ns() + round(seconds * 1e9)
        venue.faults.has_happened(fault, type="begin", until_ns=until_ns, change_no=venue.truth.change_no)

        def go_on() -> None:
            venue.halts.end(halt)
            venue.faults.has_happened(fault, type="end", change_no=venue.truth.change_no)
            venue.follow_halts()

        self._later(fault, go_on)

    def _burst(self, fault: Fault) -> None:
        venue, order = self._venue, fault.order
        seconds = order.seconds or 0.0
        until_us = venue.now_us() + round(seconds * self._rate() * 1_000_000)
        venue.source.set_rate(order.messages_per_s or 0, until_us)
        fault.undo = lambda: venue.source.set_rate(0, 0)
        until_ns = venue.now_ns() + round(seconds * 1e9)
        venue.faults.has_happened(fault, until_ns=until_ns, count=order.messages_per_s)

    def _later(self, fault: Fault, go_on: Callable[[], None]) -> None:
        """End what a fault began when its seconds are over, or when it is cancelled."""

        def end() -> None:
            fault.undo = None
            timer.cancel()
            go_on()

        timer = asyncio.get_running_loop().call_later(fault.order.seconds or 0.0, end)
        fault.undo = end
