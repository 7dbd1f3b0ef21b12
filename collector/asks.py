"""What is asked of the venue on one connection: subscriptions, missing books, audits.

Owns the commands in flight, their pace and the recovery ladder. Sans-IO: time is passed in, commands come out as
messages to encode. Never judges what the venue answered about a book.
"""

import random
from collections.abc import Callable, Iterable

from book.wire.commands import (
    ADD_MARKETS,
    DELETE_MARKETS,
    GET_SNAPSHOT,
    ORDERBOOK,
    Command,
    Subscribe,
    Unsubscribe,
    Update,
)
from collector.roster import Roster
from collector.rota import NS, Rota
from collector.stage import Sent, Stage

CHUNK = 500
COMMANDS_AT_ONCE = 8
COMMANDS_A_S = 10.0
LEAST_COMMANDS_A_S = 0.5
FASTER_EACH_S = 0.02
"""How fast the pace of commands comes back after the venue found it too fast, in commands a second, each second."""
FIRST_WAIT_NS = NS
LONGEST_WAIT_NS = 30 * NS
ANSWER_WITHIN_NS = 10 * NS
BULK_WAIT_NS = 5 * NS
CALM_NS = 120 * NS
SHORT_LIFE_NS = NS
AGAIN_NS = NS // 4
PROBES = 3
PATIENCE_DOUBLINGS = 7
UNANSWERED_MOST = 3
VAIN_MOST = 2
"""So many subscriptions in a row without a book that was asked for: the connection is of no use."""
LATER_S = 5.0
"""What beginning a subscription anew is reckoned to cost each of its markets, in seconds without a book."""
UNKNOWN_SUBSCRIPTION, FULL, TOO_MANY = 7, 26, 27
"""Error numbers of the venue that are acted on."""


class Asks:
    """The asking side of one connection; tickers in, commands out."""

    def __init__(
        self,
        rng: random.Random,
        *,
        most_markets: int,
        audit_every_s: float,
        channels: tuple[str, ...] = (),
        muted: Callable[[str], bool] = lambda _: False,
        vain: int = 0,
    ) -> None:
        """``channels`` are those without a list of markets.

        ``muted`` says which markets are known to give no answer; ``vain`` how many connections before this one were
        given up without a book.
        """
        self._rng = rng
        self.most = most_markets
        self.muted = muted
        self._chunk = CHUNK
        self._next_id = 1
        self._quiet_until_ns = self._refused_ns = 0
        self._refusals = 0
        self._pace, self._allowed = COMMANDS_A_S, float(COMMANDS_AT_ONCE)
        self._ticked_ns = 0
        self._silent_ns: int | None = None  # since when books are asked for and none has come
        self._probed = False
        self._left = 0
        self._vain = vain
        self._later_s = 0.0
        self._unanswered = 0
        self._channels: dict[str, int] = dict.fromkeys(channels, 0)
        self._began_ns: dict[str, int] = {}
        self._short_lives: dict[str, int] = {}
        self._subscribe_ns = 0
        self.roster = Roster(Rota(rng, audit_every_s))
        self.stage = Stage.NONE
        self.sid = 0
        self.sent: dict[int, Sent] = {}
        self.late: dict[int, Command] = {}
        self.gave_up: list[int] = []
        self.out: list[Command] = []
        self.hopeless = False
        self.audits_asked = self.refused_as_too_many = 0

    @property
    def waits_for_channels(self) -> bool:
        """Say whether a channel without a list does not stand yet."""
        asked = (sent.command for sent in self.sent.values())
        return bool(self._channels) or any(_opens_other(command) for command in asked)

    @property
    def vain(self) -> int:
        """How many connections in a row were given up without a book, this one included once it is."""
        return self._vain + self.hopeless

    def open(self, now_ns: int) -> None:
        """Ask for the channels that need no list; the books follow when markets are wanted."""
        self._open_channels(now_ns)

    def number_from(self, first: int) -> None:
        """Give the next commands ids from ``first`` on."""
        self._next_id = first

    def want(self, tickers: Iterable[str], *, later: bool = False) -> None:
        """Want the books of more markets; ``later``: only from the next subscription on."""
        for ticker in tickers:
            self.roster.want(ticker, later=later)

    def drop(self, ticker: str) -> None:
        """Want a market's book no longer."""
        self.roster.drop(ticker)

    def lost(self, tickers: Iterable[str]) -> None:
        """Note that these markets' books are unknown from now on: ask for them at the next tick."""
        for ticker in tickers:
            self.roster.lost(ticker)

    def outlived(self, tickers: Iterable[str]) -> None:
        """Note that a newer subscription had these markets and has ended: they need one that is newer still."""
        for ticker in tickers:
            self.roster.postpone(ticker)

    def got(self, ticker: str, now_ns: int, *, asked: bool) -> None:
        """Note that a full book of a market has arrived; ``asked`` where it answers a command."""
        self._silent_ns, self._probed = None, False
        if asked:
            self._left = self._vain = 0
        self.roster.got(ticker)
        if ticker in self.roster.wanted:
            self.roster.rota.known(ticker, now_ns)

    def give_up(self) -> list[str]:
        """Return, and want no longer, the markets for which the subscription has no room."""
        return self.roster.give_up(self.most)

    def excuse(self) -> None:
        """Note that what is awaited may not be answered, and nobody is to blame."""
        self._silent_ns = None

    def stalled(self, span_ns: int) -> None:
        """Note that nothing could be heard for a while: what is awaited gets that much more time."""
        for sent in self.sent.values():
            sent.at_ns += span_ns
        if self._silent_ns is not None:
            self._silent_ns += span_ns

    def subscribed(self, command_id: int | None, channel: str, sid: int, now_ns: int) -> None:
        """Note that a subscription stands."""
        self._answered(command_id)
        self._began_ns[channel] = now_ns
        if channel == ORDERBOOK:
            self.stage, self.sid = Stage.LIVE, sid
            self.roster.confirm(list(self.roster.adding))

    def gone(self, channel: str, now_ns: int) -> None:
        """Note that a subscription has ended: subscribe anew, at once unless short lives follow each other."""
        lived_ns = now_ns - self._began_ns.get(channel, now_ns)
        short = 0 if lived_ns > SHORT_LIFE_NS else self._short_lives.get(channel, 0) + 1
        self._short_lives[channel] = short
        again_ns = now_ns + (self._jittered(min(LONGEST_WAIT_NS, AGAIN_NS << min(short, 10))) if short > 1 else 0)
        if channel == ORDERBOOK:
            self._restart(again_ns)
        else:
            self._channels[channel] = again_ns

    def leave(self, now_ns: int, sid: int | None = None) -> bool:
        """End a subscription, the book's without ``sid``, to begin another; False where that is under way."""
        if sid is None or sid == self.sid:
            if self.stage is not Stage.LIVE:
                return False
            self.stage, sid = Stage.LEAVING, self.sid
        elif any(isinstance(sent.command, Unsubscribe) and sid in sent.command.sids for sent in self.sent.values()):
            return False
        self._send(Unsubscribe(self._id(), (sid,)), now_ns)
        return True

    def acknowledged(self, command_id: int | None) -> Command | None:
        """Take an ``ok`` or ``unsubscribed`` and return the command that it answers."""
        command = self._answered(command_id)
        self._unanswered = 0
        if isinstance(command, Update) and command.action == ADD_MARKETS:
            self.roster.confirm(command.tickers)
        elif isinstance(command, Update) and command.action == DELETE_MARKETS:
            self.roster.deleted(command.tickers)
        elif isinstance(command, Subscribe):
            self.hopeless = True  # merged into a subscription that we know nothing of
        return command

    def refused(self, command_id: int | None, code: int, now_ns: int) -> Command | None:
        """Adapt to an error and return the command that it answers.

        26: the subscription is full, so fewer are added at a time until its bound is known. Others are waited out.
        """
        command = self._answered(command_id)
        adding = command.tickers if isinstance(command, Subscribe | Update) else None
        self._undo(command, now_ns)
        if code == FULL and adding and len(adding) > 1:
            self._chunk = min(self._chunk, (len(adding) + 1) // 2)
        elif code == FULL and adding and len(self.roster):
            self.most, self._chunk = len(self.roster), CHUNK
        elif code == TOO_MANY or not (code == UNKNOWN_SUBSCRIPTION or _opens_other(command)):
            self._hush(now_ns)
        if code == TOO_MANY:
            self.refused_as_too_many += 1
            self._pace, self._allowed = max(LEAST_COMMANDS_A_S, self._pace / 2), 0.0
        return command

    def expire(self, number: int, now_ns: int) -> None:
        """Take back what a command had assumed that was not answered in time."""
        command = self.sent.pop(number).command
        if isinstance(command, Subscribe | Unsubscribe):
            self.hopeless = True
        elif isinstance(command, Update) and command.action != GET_SNAPSHOT:
            self._undo(command, now_ns)
            self.late[number] = command  # an answer that comes yet says when the venue did it
            self._unanswered += 1

    def told(self, command: Command, now_ns: int) -> None:
        """Take a command as sent that another has decided on: what was recorded is played again."""
        match command:
            case Subscribe() if not _opens_other(command):
                self.stage = Stage.SUBSCRIBING
                self.roster.adding.update(command.tickers or ())
            case Unsubscribe() if self.sid in command.sids:
                self.stage = Stage.LEAVING
            case Update(action="add_markets"):
                self.roster.adding.update(command.tickers)
            case Update(action="delete_markets"):
                self.roster.leaving.update(command.tickers)
        self.sent[command.id] = Sent(command, now_ns)

    def tick(self, now_ns: int, *, patient: bool = False) -> None:
        """Ask for what is due: new markets first, then missing books, then audits; see whether hope is lost.

        ``patient``: that books do not come is no reason to give the subscription up.
        """
        elapsed_s, self._ticked_ns = (now_ns - (self._ticked_ns or now_ns)) / NS, now_ns
        self._allowed = min(self._allowed + self._pace * elapsed_s, COMMANDS_AT_ONCE)
        self._expire(now_ns)
        if now_ns < self._quiet_until_ns or self.hopeless:
            return
        self._pace = min(self._pace + FASTER_EACH_S * elapsed_s, COMMANDS_A_S)
        budget = int(self._allowed) - self._open_channels(now_ns)
        if self.stage is Stage.NONE and self.roster.fresh and now_ns >= self._subscribe_ns:
            self._subscribe(now_ns)
        elif self.stage is Stage.LIVE:
            if budget > 0:
                budget -= self._change(DELETE_MARKETS, self.roster.take_unwanted(CHUNK), now_ns)
                budget -= self._add(budget, now_ns)
                budget -= self._ask_missing(now_ns, budget)
                due = self.roster.rota.take(now_ns, budget * CHUNK, self.muted)
                self.audits_asked += len(due)
                self._change(GET_SNAPSHOT, due, now_ns)
            self._weigh(elapsed_s, now_ns)
            if not patient:
                self._climb(now_ns)

    def _jittered(self, longest_ns: int) -> int:
        return int(longest_ns * (0.5 + self._rng.random() / 2))

    def _hush(self, now_ns: int) -> None:
        """Send nothing for a while, the longer the more refusals follow each other."""
        self._refusals = 1 if now_ns - self._refused_ns > CALM_NS else min(self._refusals + 1, 6)
        self._refused_ns = now_ns
        self._quiet_until_ns = now_ns + self._jittered(NS << self._refusals)

    def _restart(self, again_ns: int) -> None:
        """Forget the book subscription and all that was asked of it."""
        self.stage = Stage.NONE
        self._subscribe_ns = again_ns
        self._silent_ns, self._probed = None, False
        self._later_s = 0.0
        self.roster.clear()
        self.sent = {number: sent for number, sent in self.sent.items() if isinstance(sent.command, Subscribe)}
        self.late.clear()

    def _undo(self, command: Command | None, now_ns: int) -> None:
        """Take back what a command that was not carried out had assumed."""
        match command:
            case Unsubscribe():
                self.stage = Stage.LIVE if self.stage is Stage.LEAVING and self.sid in command.sids else self.stage
            case Subscribe() if _opens_other(command):
                self._channels |= dict.fromkeys(command.channels, now_ns + self._jittered(LONGEST_WAIT_NS))
            case Subscribe():
                self._restart(now_ns + self._jittered(AGAIN_NS))
            case Update(action="add_markets"):
                self.roster.not_added(command.tickers)
            case Update(action="delete_markets"):
                self.roster.not_deleted(command.tickers)
            case Update():
                self._silent_ns = None  # refused is answered

    def _open_channels(self, now_ns: int) -> int:
        due = [channel for channel, at_ns in self._channels.items() if at_ns <= now_ns]
        for channel in due:
            del self._channels[channel]
            self._send(Subscribe(self._id(), (channel,), skip_ticker_ack=True), now_ns)
        return len(due)

    def _subscribe(self, now_ns: int) -> None:
        self.stage = Stage.SUBSCRIBING
        tickers = self.roster.take_fresh(min(self._chunk, self.most), now_ns, BULK_WAIT_NS)
        self._send(Subscribe(self._id(), (ORDERBOOK,), tuple(tickers), skip_ticker_ack=True), now_ns)

    def _add(self, budget: int, now_ns: int) -> int:
        most = min(self.most - len(self.roster), budget * self._chunk)
        return self._change(ADD_MARKETS, self.roster.take_fresh(most, now_ns, BULK_WAIT_NS), now_ns, self._chunk)

    def _ask_missing(self, now_ns: int, budget: int) -> int:
        due = self.roster.due(budget * CHUNK, now_ns, self.muted, self._wait_ns)
        return self._change(GET_SNAPSHOT, due, now_ns)

    def _wait_ns(self, tries: int) -> int:
        return int(min(LONGEST_WAIT_NS, FIRST_WAIT_NS << min(tries, 10)) * (0.75 + self._rng.random() / 4))

    def _change(self, action: str, tickers: list[str], now_ns: int, chunk: int = CHUNK) -> int:
        """Send a change of the book subscription in chunks; return how many commands it took."""
        chunks = [tickers[start : start + chunk] for start in range(0, len(tickers), chunk)]
        for one in chunks:
            self._send(Update(self._id(), (self.sid,), action, tuple(one)), now_ns)
        if chunks and action == GET_SNAPSHOT and self._silent_ns is None:
            self._silent_ns = now_ns
        return len(chunks)

    def _weigh(self, elapsed_s: float, now_ns: int) -> None:
        """Subscribe anew once the markets that wait for it have missed more than the others would."""
        self._later_s = self._later_s + len(self.roster.later) * elapsed_s if self.roster.later else 0.0
        if self._later_s > LATER_S * len(self.roster):
            self.leave(now_ns)

    def _climb(self, now_ns: int) -> None:
        """Next rung: books were asked for and the venue sends none at all, so subscribe anew, at last connect anew.

        One market without an answer is not enough: others, known to be answered, are asked first.
        """
        patience_ns = ANSWER_WITHIN_NS << min(self._left + self._vain, PATIENCE_DOUBLINGS)
        if self._silent_ns is None or now_ns - self._silent_ns < patience_ns:
            return
        rota = self.roster.rota
        if len(rota) and not self._probed:
            self._probed, self._silent_ns = True, now_ns
            probes = [ticker for ticker in rota.latest(PROBES) if not self.muted(ticker)]
            if not probes:
                self.excuse()
            for ticker in probes:
                rota.asked(ticker, now_ns)
            self._change(GET_SNAPSHOT, probes, now_ns)
        else:
            self._left += 1
            if self._left >= VAIN_MOST:
                self.hopeless = True
            else:
                self.leave(now_ns)

    def _expire(self, now_ns: int) -> None:
        """Last rung: a subscribe or unsubscribe without an answer means the connection is of no use."""
        late = [number for number, sent in self.sent.items() if now_ns - sent.at_ns >= ANSWER_WITHIN_NS]
        for number in late:
            self.gave_up.append(number)
            self.expire(number, now_ns)
        if self._unanswered >= UNANSWERED_MOST:
            self._unanswered = 0
            self.leave(now_ns)

    def _answered(self, command_id: int | None) -> Command | None:
        if command_id is None:
            return None
        sent = self.sent.pop(command_id, None)
        return sent.command if sent else self.late.pop(command_id, None)

    def _send(self, command: Command, now_ns: int) -> None:
        self.sent[command.id] = Sent(command, now_ns)
        self.out.append(command)
        self._allowed -= 1.0

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


def _opens_other(command: Command | None) -> bool:
    """Say whether a command opens channels other than the books, which do not wait for them."""
    return isinstance(command, Subscribe) and ORDERBOOK not in command.channels
