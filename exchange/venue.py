"""The venue itself: steps in, true books, documents and frames out.

Owns the order in which a step takes effect: first the truth, then what subscribers are told of it; and the steps held
back while their part of the exchange stands still. Sans-IO: a shell brings connections and batches of steps.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence

from book.errors import NegativeLevelError
from book.wire import lifecycle
from exchange.config import ExchangeConfig
from exchange.faults import Faults
from exchange.halts import Halts
from exchange.hub import Hub
from exchange.orders import SILENT_LOSS
from exchange.registry import Registry
from exchange.sendlog import SendLog
from exchange.session import Limits, Session
from exchange.source import Source
from exchange.steps import BookSet, Changed, Listed, Milestone, Step, Traded
from exchange.subscription import Outlet
from exchange.truth import Truth

_log = logging.getLogger(__name__)
_HELD_MOST = 500_000
_SWEPT_A_BATCH = 4
_CHANGES_A_FRAME = 4
"""Changes remembered for each frame remembered, where nobody subscribes to most markets."""


class Venue:
    """One exchange without its sockets. ``now_us`` is the clock shown, ``now_ns`` and ``steady_s`` the machine's."""

    def __init__(
        self, config: ExchangeConfig, source: Source, now_us: Callable[[], int], now_ns: Callable[[], int],
        steady_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self.source = source
        self.now_us = now_us
        self.now_ns = now_ns
        self.log = SendLog(config.log_frames)
        self.truth = Truth(self._floor_no)
        self.registry = Registry(config.trades_kept)
        self.faults = Faults(now_us, now_ns)
        self.halts = Halts(self.faults, self.registry.index_of)
        self.hub = Hub(self.registry, self.truth, now_us, legacy=config.legacy)
        self.sessions: dict[int, Session] = {}
        self.steps = 0
        self.refused = 0
        """Steps that are not played: changes that would take a level below zero, and those of too long a halt."""
        self._kept_changes = _CHANGES_A_FRAME * config.log_frames
        self.limits = Limits(config.queue_frames, config.max_markets, config.max_commands_per_s, config.snapshot_ok)
        self._steady_s = steady_s
        self._touched: dict[str, None] = {}
        self._held: deque[Step] = deque()

    def connect(self, outlet: Outlet) -> Session:
        """Begin a connection."""
        self.log.open_port(outlet.port)
        session = Session(outlet, self.hub, self.faults, self.limits, lambda: int(self._steady_s()), self.halts)
        self.sessions[outlet.port] = session
        return session

    def disconnect(self, session: Session) -> None:
        """End a connection."""
        session.close()
        if self.sessions.get(session.port) is session:
            del self.sessions[session.port]

    def play(self, steps: Sequence[Step]) -> None:
        """Let steps happen, but for those of markets that stand still, and tell what they did to the summary lines."""
        self.truth.mark(self.now_us())
        indexes = self.halts.indexes
        for step in steps:
            if indexes and _index_of(self.registry, step) in indexes:
                self._hold(step)
            else:
                self.apply(step)
        self.settle()
        self.truth.sweep(_SWEPT_A_BATCH)

    def _hold(self, step: Step) -> None:
        if len(self._held) < _HELD_MOST:
            self._held.append(step)
        else:
            self.refused += 1

    def follow_halts(self) -> None:
        """Let go on what no longer stands still, and stop what does from now on."""
        self.source.halt(self.halts.indexes)
        held, self._held = self._held, deque()
        self.play(held)
        for session in self.sessions.values():
            session.resume()

    def apply(self, step: Step) -> None:
        """Let one step happen."""
        self.steps += 1
        if isinstance(step, Changed):
            self._change(step)
        elif isinstance(step, Traded):
            self.registry.trade(step)
            self.hub.send_trade(step)
            self._touched[step.ticker] = None
        elif isinstance(step, BookSet):
            self.truth.reset(step.ticker, step.levels)
            self.hub.send_book(step.ticker)
            self._touched[step.ticker] = None
        elif isinstance(step, Milestone):
            self.registry.milestone(step)
            if step.message is not None:
                self.hub.send_lifecycle(step.ticker, step.message)
        else:
            self._list(step)

    def settle(self) -> None:
        """Tell what a batch of steps did to the summary lines."""
        touched, self._touched = self._touched, {}
        for ticker in touched:
            if self.hub.has_ticker_readers(ticker):
                self.hub.send_ticker(ticker)

    def _change(self, step: Changed) -> None:
        try:
            self.truth.change(step.ticker, step.side, step.price_e4, step.change_e2)
        except NegativeLevelError as error:
            self.refused += 1
            _log.warning("a change of %s is not played: %s", step.ticker, error)
            return
        lost: set[int] = set()
        if self.faults.is_waiting(SILENT_LOSS):
            lost = self._lose_silently(step)
        self.hub.send_change(step, lost)
        self._touched[step.ticker] = None

    def _lose_silently(self, step: Changed) -> set[int]:
        """Return the ports that are not told of a change."""
        followers = self.hub.followers(step.ticker)
        for follower in followers:
            fault = self.faults.take(
                SILENT_LOSS, port=follower.port, sid=follower.sid, channels=(follower.channel,), tickers=(step.ticker,)
            )
            if fault is not None:
                order = fault.order
                self.faults.has_happened(
                    fault, port=order.port, ticker=step.ticker, change_no=self.truth.change_no,
                    change=(step.side, step.price_e4, step.change_e2),
                )  # fmt: skip
                wanted = [f for f in followers if order.wants(port=f.port, sid=f.sid, channels=(f.channel,))]
                return {f.port for f in wanted}
        return set()

    def _list(self, step: Listed) -> None:
        ticker = step.market.ticker
        is_new_event = self.registry.list_market(step)
        self.truth.reset(ticker, step.levels)
        if step.announce:
            if is_new_event:
                self.hub.send_lifecycle(None, lifecycle.event_created(step.event), "event_lifecycle")
            self.hub.send_lifecycle(ticker, lifecycle.created(step.market))
        if step.levels:
            self.hub.send_book(ticker)

    def _floor_no(self) -> int:
        return max(self.log.floor_no, self.truth.change_no - self._kept_changes)


def _index_of(registry: Registry, step: Step) -> int:
    if isinstance(step, Listed):
        return int(step.market.raw.get("exchange_index", 0))
    return registry.index_of(step.ticker)
