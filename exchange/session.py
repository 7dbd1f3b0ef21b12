"""The venue's side of one connection: commands in, frames out.

Owns the subscriptions of a connection and the dialect of its commands: one sid a channel from 1 on, a second
subscription merges and is answered by ``ok``, answers take a seq, books come before changes. Sans-IO: bytes are
handed in, frames go to an outlet, time is passed in.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from book.errors import CommandError
from book.wire import encode
from book.wire.commands import (
    DELETE_MARKETS,
    ERRORS,
    GET_SNAPSHOT,
    ORDERBOOK,
    TICKER,
    WITH_MARKETS,
    Command,
    ListSubscriptions,
    Subscribe,
    Unsubscribe,
    Update,
    decode_command,
)
from exchange.faults import Faults
from exchange.halts import Halts
from exchange.hub import Hub, is_global
from exchange.orders import MARKET_LIMIT, SNAPSHOT, SUBSCRIBE, TOO_FAST
from exchange.sendlog import Frame
from exchange.subscription import Outlet, Subscription


class Limits(msgspec.Struct):
    """What one subscription may ask for; None is without a limit. All connections share one, and heed its changes."""

    queue_frames: int
    max_markets: int | None = None
    max_commands_per_s: int | None = None
    snapshot_ok: bool = False


class Session:
    """One connection from ``outlet.port``; ``now_s`` is a steady clock in whole seconds, for the command rate.

    ``halts`` says of a market whether its part of the exchange stands still: then no book is given out.
    """

    def __init__(
        self, outlet: Outlet, hub: Hub, faults: Faults, limits: Limits, now_s: Callable[[], int],
        halts: Halts,
    ) -> None:  # fmt: skip
        self._outlet = outlet
        self._halts = halts
        self._hub = hub
        self._faults = faults
        self._limits = limits
        self._now_s = now_s
        self._next_sid = 1
        self._rates: dict[int, tuple[int, int]] = {}
        self._owed: deque[tuple[Subscription, str, int | None, bool]] = deque()
        self._parked: list[tuple[Subscription, str]] = []
        self.subscriptions: dict[int, Subscription] = {}

    @property
    def port(self) -> int:
        """The client's port."""
        return self._outlet.port

    @property
    def owes_books(self) -> bool:
        """Whether snapshots wait to be made by ``pump``."""
        return bool(self._owed)

    def handle(self, message: bytes | str) -> None:
        """Carry out one command. Snapshots that it asks for are made by ``pump``."""
        try:
            self._carry_out(decode_command(message))
        except CommandError as error:
            self._say("error", encode.error(error.code, error.text, command_id=error.command_id))

    def pump(self, budget: int) -> None:
        """Make up to ``budget`` of the snapshots owed, oldest first."""
        for _ in range(min(budget, len(self._owed))):
            subscription, ticker, command_id, is_first = self._owed.popleft()
            if self._faults.is_armed(SNAPSHOT):
                self._faults.occasion(
                    SNAPSHOT, port=self.port, sid=subscription.sid, channels=(subscription.channel,), tickers=(ticker,)
                )
            if self.subscriptions.get(subscription.sid) is not subscription:
                continue
            if self._halts.is_halted(ticker):
                self._pass_over(subscription, ticker, is_first=is_first)
                continue
            if is_first and ticker not in subscription.waiting:
                continue  # taken away meanwhile
            if is_first:
                subscription.waiting.discard(ticker)
            self._hub.send_snapshot(subscription, ticker, command_id)

    def resume(self) -> None:
        """Owe again the first books that a halt kept back."""
        parked, self._parked = self._parked, []
        self._owed.extend((subscription, ticker, None, True) for subscription, ticker in parked)
        self._outlet.schedule()

    def end(self, subscription: Subscription, code: int) -> int | None:
        """End a subscription by an error of the venue; return the number that its last word takes."""
        self._end(subscription)
        subscription.answer(
            "error", self._hub.change_no, lambda seq: encode.error(code, ERRORS[code], sid=subscription.sid, seq=seq)
        )
        return subscription.seq if subscription.is_sequenced else None

    def channels(self) -> set[str]:
        """Return the channels that the connection carries."""
        return {subscription.channel for subscription in self.subscriptions.values()}

    def close(self) -> None:
        """End every subscription, in silence."""
        for subscription in list(self.subscriptions.values()):
            self._end(subscription)
        self._owed.clear()
        self._parked.clear()

    def _carry_out(self, command: Command) -> None:
        if isinstance(command, Subscribe):
            if self._faults.is_armed(SUBSCRIBE):
                channels = self.channels().union(command.channels)
                self._faults.occasion(SUBSCRIBE, port=self.port, channels=channels, tickers=command.tickers)
            for channel in command.channels:
                self._subscribe(command, channel)
        elif isinstance(command, Update):
            self._update(command)
        elif isinstance(command, Unsubscribe):
            self._unsubscribe(command)
        else:
            self._list(command)

    def _subscribe(self, command: Subscribe, channel: str) -> None:
        present = next((s for s in self.subscriptions.values() if s.channel == channel), None)
        tickers = None if is_global(channel) else command.tickers
        if present is not None:
            self._check_rate(present, command.id)
        self._check_room(channel, present, tickers, command.id)
        if present is not None:
            self._add(present, tickers, command.send_initial_snapshot, lambda: self._ok(present, command.id))
            return
        subscription = Subscription(
            channel, self._next_sid, self._outlet, self._faults, self._limits.queue_frames, self._overflow
        )
        self._next_sid += 1
        subscription.use_yes_price = command.use_yes_price
        subscription.skip_ticker_ack = command.skip_ticker_ack
        self.subscriptions[subscription.sid] = subscription
        self._add(
            subscription,
            tickers,
            command.send_initial_snapshot,
            lambda: self._say("subscribed", encode.subscribed(command.id, channel, subscription.sid)),
        )

    def _update(self, command: Update) -> None:
        subscription = self._find(command.sids[0], command.id)
        self._check_rate(subscription, command.id)
        channel = subscription.channel
        if channel not in WITH_MARKETS or (command.action == GET_SNAPSHOT and channel != ORDERBOOK):
            raise CommandError(13, ERRORS[13], command.id)
        if command.action == GET_SNAPSHOT:
            self._owed.extend((subscription, ticker, command.id, False) for ticker in command.tickers)
            if self._limits.snapshot_ok:
                self._ok(subscription, command.id)
        elif command.action == DELETE_MARKETS:
            self._hub.forget(subscription, subscription.remove(command.tickers))
            self._ok(subscription, command.id)
        else:
            self._check_room(channel, subscription, command.tickers, command.id)
            self._add(
                subscription, command.tickers, command.send_initial_snapshot, lambda: self._ok(subscription, command.id)
            )

    def _unsubscribe(self, command: Unsubscribe) -> None:
        for sid in command.sids:
            try:
                subscription = self._find(sid, command.id)
            except CommandError as error:
                self._say("error", encode.error(error.code, error.text, command_id=command.id))
                continue
            self._end(subscription)
            subscription.answer("unsubscribed", self._hub.change_no, _unsubscribed(command.id, sid))

    def _list(self, command: ListSubscriptions) -> None:
        rows = [(s.channel, s.sid) for s in self.subscriptions.values()]
        self._say("ok", encode.ok_list(command.id, rows))

    def _add(
        self, subscription: Subscription, tickers: tuple[str, ...] | None, wants_first: bool,
        acknowledge: Callable[[], None],
    ) -> None:  # fmt: skip
        """Add markets, acknowledge, and owe the books, or the summary lines, that come with them."""
        if tickers is None and subscription.tickers:
            self._hub.forget(subscription, subscription.tickers)
        was_all = subscription.tickers is None
        new = subscription.add(tickers)
        acknowledge()
        if subscription.tickers is None:
            if not was_all:
                self._hub.watch(subscription, None)
        else:
            self._hub.watch(subscription, new)
        if subscription.channel == ORDERBOOK:
            subscription.waiting.update(new)
            self._owed.extend((subscription, ticker, None, True) for ticker in new)
        elif subscription.channel == TICKER and wants_first:
            for ticker in tickers or ():
                self._hub.send_ticker_to(subscription, ticker)

    def _ok(self, subscription: Subscription, command_id: int) -> None:
        shown = subscription.tickers
        tickers = None if shown is None or subscription.skip_ticker_ack else list(shown)
        subscription.answer(
            "ok", self._hub.change_no, lambda seq: encode.ok(command_id, subscription.sid, seq, tickers)
        )

    def _find(self, sid: int, command_id: int) -> Subscription:
        subscription = self.subscriptions.get(sid)
        if subscription is None:
            raise CommandError(7, ERRORS[7], command_id or None)
        return subscription

    def _check_room(
        self, channel: str, present: Subscription | None, tickers: tuple[str, ...] | None, command_id: int
    ) -> None:
        self._refuse(MARKET_LIMIT, channel, present, tickers, command_id)
        limit = self._limits.max_markets
        if limit is None or tickers is None:
            return
        have = (present.tickers or {}) if present is not None else {}
        if len(have) + sum(ticker not in have for ticker in tickers) > limit:
            raise CommandError(26, ERRORS[26], command_id or None)

    def _refuse(
        self, kind: str, channel: str, present: Subscription | None, tickers: tuple[str, ...] | None, command_id: int
    ) -> None:
        """Raise CommandError where a fault wants this command refused, whatever the limits say."""
        if not self._faults.is_waiting(kind):
            return
        sid = None if present is None else present.sid
        fault = self._faults.take(kind, port=self.port, sid=sid, channels=(channel,), tickers=tickers)
        if fault is not None:
            code = 26 if kind == MARKET_LIMIT else 27
            self._faults.has_happened(fault, port=self.port, sid=sid, code=code, type="error")
            raise CommandError(code, ERRORS[code], command_id or None)

    def _check_rate(self, subscription: Subscription, command_id: int) -> None:
        self._refuse(TOO_FAST, subscription.channel, subscription, None, command_id)
        limit = self._limits.max_commands_per_s
        if limit is None:
            return
        second = self._now_s()
        then, count = self._rates.get(subscription.sid, (second, 0))
        count = count + 1 if then == second else 1
        self._rates[subscription.sid] = (second, count)
        if count > limit:
            raise CommandError(27, ERRORS[27], command_id or None)

    def _overflow(self, subscription: Subscription) -> None:
        """End a subscription whose frames pile up; its last word is error 25."""
        self.end(subscription, 25)

    def _pass_over(self, subscription: Subscription, ticker: str, *, is_first: bool) -> None:
        """Leave a book of a halted market unmade: a first one until trading goes on, one asked for never."""
        if is_first:
            self._parked.append((subscription, ticker))
        else:
            self._halts.unanswered(self.port, subscription.sid, ticker)

    def _end(self, subscription: Subscription) -> None:
        del self.subscriptions[subscription.sid]
        self._hub.forget(subscription, subscription.tickers or ())

    def _say(self, kind: str, data: bytes) -> None:
        """Send a frame that belongs to no subscription's counter."""
        self._outlet.push(Frame(self.port, None, None, kind, None, self._hub.change_no, data))


def _unsubscribed(command_id: int, sid: int) -> Callable[[Any], bytes]:
    return lambda seq: encode.unsubscribed(command_id, sid, seq)
