"""The venue itself: steps in, true books, documents and frames out.

Owns the order in which a step takes effect: first the truth, then what subscribers are told of it. Sans-IO: a shell
brings connections and calls ``settle`` after each batch of steps.
"""

import logging
from collections.abc import Callable

from book.errors import NegativeLevelError
from book.wire import lifecycle
from exchange.config import ExchangeConfig
from exchange.faults import GAP, SILENT_LOSS, Fault, Faults
from exchange.hub import Hub
from exchange.registry import Registry
from exchange.sendlog import SendLog
from exchange.session import Limits, Session
from exchange.steps import BookSet, Changed, Listed, Milestone, Step, Traded
from exchange.subscription import Outlet
from exchange.truth import Truth

_log = logging.getLogger(__name__)
_CHANGES_A_FRAME = 4
"""Changes remembered for each frame remembered, where nobody subscribes to most markets."""


class Venue:
    """One exchange without its sockets. ``now_us`` is the clock shown, ``now_ns`` and ``steady_s`` the machine's."""

    def __init__(
        self, config: ExchangeConfig, now_us: Callable[[], int], now_ns: Callable[[], int],
        steady_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self.now_us = now_us
        self.now_ns = now_ns
        self.log = SendLog(config.log_frames)
        self.truth = Truth(self._floor_no)
        self.registry = Registry(config.trades_kept)
        self.faults = Faults(now_us, now_ns)
        self.hub = Hub(self.registry, self.truth, now_us, legacy=config.legacy)
        self.sessions: dict[int, Session] = {}
        self.steps = 0
        self.refused = 0
        """Changes that would have taken a level below zero: the source lost something; they are not played."""
        self._kept_changes = _CHANGES_A_FRAME * config.log_frames
        self._limits = Limits(config.queue_frames, config.max_markets, config.max_commands_per_s, config.snapshot_ok)
        self._steady_s = steady_s
        self._touched: dict[str, None] = {}

    def connect(self, outlet: Outlet) -> Session:
        """Begin a connection."""
        self.log.open_port(outlet.port)
        session = Session(outlet, self.hub, self.faults, self._limits, lambda: int(self._steady_s()))
        self.sessions[outlet.port] = session
        return session

    def disconnect(self, session: Session) -> None:
        """End a connection."""
        session.close()
        if self.sessions.get(session.port) is session:
            del self.sessions[session.port]

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

    def ask_gap(self, count: int, *, port: int | None, sid: int | None, channel: str) -> Fault:
        """Make the matching subscriptions lose their next ``count`` frames each; ``left`` is 0 where none matches."""
        found = [
            subscription
            for session in self.sessions.values()
            for subscription in session.subscriptions.values()
            if port in (None, session.port)
            and (subscription.sid == sid if sid is not None else subscription.channel == channel)
        ]
        fault = self.faults.ask(GAP, count * len(found), port=port)
        for subscription in found:
            subscription.open_gap(fault, count)
        return fault

    def ask_silent_loss(self, *, ticker: str | None, port: int | None) -> Fault:
        """Let the next change that somebody would be told of go untold, to ``port`` or to everybody."""
        return self.faults.ask(SILENT_LOSS, 1, port=port, ticker=ticker)

    def _change(self, step: Changed) -> None:
        try:
            self.truth.change(step.ticker, step.side, step.price_e4, step.change_e2)
        except NegativeLevelError as error:
            self.refused += 1
            _log.warning("a change of %s is not played: %s", step.ticker, error)
            return
        lost: set[int] = set()
        if self.faults.wants_silent:
            lost = self._lose_silently(step)
        self.hub.send_change(step, lost)
        self._touched[step.ticker] = None

    def _lose_silently(self, step: Changed) -> set[int]:
        ports = self.hub.book_ports(step.ticker)
        fault = self.faults.take_silent(step.ticker, ports)
        if fault is None:
            return set()
        change = (step.side, step.price_e4, step.change_e2)
        self.faults.has_happened(fault, port=fault.port, ticker=step.ticker, change=change)
        return set(ports) if fault.port is None else {fault.port}

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
