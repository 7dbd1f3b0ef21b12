"""Messages into records: sequence judged, spans fed, tables filled.

Owns what each kind of message does. Sans-IO; frames come with their stamps, one link's and
one hour's at a time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from book.errors import FrameError
from book.records import Reason
from book.sequence import Verdict
from book.wire.batch import NO_TIME_US, DeltaColumns, TradeColumns, decode_batch
from book.wire.commands import DELETE_MARKETS, LIFECYCLE, ORDERBOOK, Unsubscribe, Update
from book.wire.messages import (
    Delta,
    Lifecycle,
    Message,
    Ok,
    Snapshot,
    Subscribed,
    Ticker,
    Trade,
    Unsubscribed,
    VenueError,
)
from collector import columns
from collector.asks import UNKNOWN_SUBSCRIPTION
from collector.conns import Conn, ConnNumbers
from collector.links import Link
from collector.rows import TableRows
from collector.spans import Spans

TERMINAL = frozenset({10, 25})
"""The venue's errors that end a subscription."""

Ints = npt.NDArray[np.int64]
Note = tuple[str, dict[str, Any]]


class Intake:
    """Feed frames of links to the spans and tables of one shard."""

    def __init__(self, spans: Spans, numbers: ConnNumbers) -> None:
        self._spans = spans
        self._numbers = numbers
        self.trades = TableRows("trades")
        self.lifecycle = TableRows("lifecycle")
        self.quarantine = TableRows("quarantine")
        self.counts: Counter[str] = Counter()
        self.notes: list[Note] = []
        self.changed: dict[str, None] = {}
        self.ended: list[Conn] = []
        self.finished: list[str] = []
        self.rescheduled: list[tuple[int, str]] = []
        self.lifecycles = 0

    def frames(self, link: Link, frames: Sequence[bytes], ts_us: Ints, now_ns: int) -> None:
        """Take frames of one link and one hour with their stamps, shape (n,), in order of arrival."""
        batch = decode_batch(frames)
        deltas, trades = batch.deltas, batch.trades
        delta = trade = 0
        for index, message in batch.others:
            end = int(np.searchsorted(trades.place, index))
            self._trades(link, trades, trade, end, ts_us)
            trade = end
            if not isinstance(message, Trade):
                end = int(np.searchsorted(deltas.place, index))
                self._deltas(link, deltas, delta, end, ts_us)
                delta = end
            stamp = int(ts_us[index])
            if isinstance(message, FrameError):
                self._unreadable(link, message, frames[index], stamp)
            else:
                self._message(link, message, stamp, now_ns)
        self._trades(link, trades, trade, len(trades.place), ts_us)
        self._deltas(link, deltas, delta, len(deltas.place), ts_us)
        self.counts["frames"] += len(frames)

    def end_conn(self, conn: Conn, last_us: int, reveal_us: int, reason: Reason, seq: int | None = None) -> None:
        """End a conn for good; ``seq`` is that of its last valid message, where the last one taken was not valid."""
        if conn.up:
            self._spans.end_conn(conn, last_us, reveal_us, conn.tracker.last if seq is None else seq, reason)
            conn.up = False
            self.ended.append(conn)
            self.notes.append(("conn_ended", {"conn": conn.id, "reason": reason.value}))

    def _deltas(self, link: Link, deltas: DeltaColumns, start: int, end: int, ts_us: Ints) -> None:
        for sid, chosen in columns.by_sid(deltas.sid, start, end):
            conn = link.conns.get(sid)
            if conn is None:
                self._early(link, sid, deltas, chosen)
            elif conn.up and conn.channel == ORDERBOOK:
                self._run(link, conn, deltas, chosen, ts_us)
            else:
                self.counts["after_end"] += len(chosen)

    def _trades(self, link: Link, trades: TradeColumns, start: int, end: int, ts_us: Ints) -> None:
        for sid, chosen in columns.by_sid(trades.sid, start, end):
            conn = link.conns.get(sid)
            if conn is None:
                for i in chosen.tolist():
                    self._keep_early(link, sid, columns.trade_message(trades, i))
            elif conn.up:
                for taken in self._runs(link, conn, trades.seq[chosen], ts_us[trades.place[chosen]]):
                    self.trades.add_all(**columns.trade_rows(trades, chosen[taken], conn.id, ts_us))
            else:
                self.counts["after_end"] += len(chosen)

    def _early(self, link: Link, sid: int, deltas: DeltaColumns, chosen: Ints) -> None:
        for i in chosen.tolist():
            self._keep_early(link, sid, columns.delta_message(deltas, i))

    def _run(self, link: Link, conn: Conn, deltas: DeltaColumns, chosen: Ints, ts_us: Ints) -> None:
        """Take deltas of one conn: runs in order at once, whatever breaks the order by itself."""
        seq, stamps = deltas.seq[chosen], ts_us[deltas.place[chosen]]
        numbers = self._spans.numbers
        tickers = columns.picked(deltas.ticker, chosen)
        try:
            market = np.array([numbers[name] for name in tickers], np.int64)
        except KeyError:  # a market not heard of before
            market = np.array([self._spans.market(name) for name in tickers], np.int64)
        fields = (
            market, stamps, deltas.ts_exch_us[chosen], seq,
            deltas.side[chosen].astype(np.int64), deltas.price_e4[chosen], deltas.change_e2[chosen],
        )  # fmt: skip
        for taken in self._runs(link, conn, seq, stamps):
            self._spans.deltas(conn, *(field[taken] for field in fields))
        self.missing(link)

    def _runs(self, link: Link, conn: Conn, seq: Ints, stamps: Ints) -> Iterator[slice]:
        """Yield what is to be taken of one conn's messages, in order: whole runs, else one by one. Each gives a row."""
        at = 0
        while at < len(seq):
            conn.frame_us = max(conn.frame_us, int(stamps[at]))
            taken = conn.tracker.take_run(seq[at:])
            if not taken and self._in_order(link, conn, int(seq[at]), int(stamps[at])):
                taken = 1
            if taken:
                yield slice(at, at + taken)
                conn.tabled += taken
                conn.order_us, conn.order_seq = int(stamps[at + taken - 1]), conn.tracker.last
            at += max(1, taken)

    def missing(self, *links: Link) -> None:
        """Ask again, on whichever of the links has them, for books that the spans have just given up."""
        if self._spans.given_up:
            names = [self._spans.names[market] for market in self._spans.given_up]
            self._spans.given_up.clear()
            for link in links:
                link.asks.lost(names)

    def _in_order(self, link: Link, conn: Conn, seq: int | None, ts_us: int) -> bool:
        """Judge a sequence number and end the conn's spans where messages are missing; False: drop the message."""
        if seq is None:
            return True
        before = conn.tracker.last
        verdict = conn.tracker.take(seq)
        if verdict is Verdict.IN_ORDER:
            return True
        self.counts[verdict.value] += 1
        if verdict is Verdict.DUPLICATE:
            return False
        if verdict is Verdict.GAP or link.asks.leave(link.heard_ns, conn.sid):
            self.notes.append(
                (
                    "sequence",
                    {"verdict": verdict.value, "conn": conn.id, "channel": conn.channel, "after": before, "got": seq},
                )
            )
        if conn.channel == ORDERBOOK:
            last_us = ts_us if conn.order_us is None else conn.order_us
            self._spans.end_conn(conn, last_us, ts_us, before, Reason.SEQ_GAP)
            self.missing(link)
        return verdict is Verdict.GAP

    def _message(self, link: Link, message: Message, ts_us: int, now_ns: int) -> None:
        """Route a message to its conn, judge its sequence number, and take it."""
        if isinstance(message, Subscribed):
            self._subscribed(link, message, ts_us, now_ns)
            return
        conn = link.conns.get(message.sid) if message.sid is not None else None
        if conn is None:
            self._unrouted(link, message, ts_us, now_ns)
            return
        if not conn.up:
            self.counts["after_end"] += 1
            return
        conn.frame_us = max(conn.frame_us, ts_us)
        seq = None if isinstance(message, Ticker) else message.seq
        if not self._in_order(link, conn, seq, ts_us) and not _ends(message):
            return
        tabled = self._take(link, conn, message, ts_us, now_ns)
        if seq is not None:
            conn.tabled += tabled
            conn.order_us, conn.order_seq = ts_us, conn.tracker.last

    def _take(self, link: Link, conn: Conn, message: Message, ts_us: int, now_ns: int) -> bool:
        """Do what a message says, and say whether it stands in a table with its number."""
        match message:
            case Snapshot():
                return self._snapshot(link, conn, message, ts_us, now_ns)
            case Delta():
                self._delta(link, conn, message, ts_us)
                return True
            case Trade():
                self.trades.add(**columns.trade_row(message, conn.id, ts_us))
                return True
            case Lifecycle():
                self._lifecycle(link, conn, message, ts_us)
                return True
            case Ok():
                self._acknowledged(link, conn, message, ts_us)
            case Unsubscribed():
                self._unsubscribed(link, conn, message, ts_us, now_ns)
            case VenueError():
                self._venue_error(link, conn, message, ts_us, now_ns)
        return False

    def _delta(self, link: Link, conn: Conn, delta: Delta, ts_us: int) -> None:
        exch_us = NO_TIME_US if delta.ts_exch_us is None else delta.ts_exch_us
        level = (delta.side, delta.price_e4, delta.change_e2)
        self._spans.delta(conn, self._spans.market(delta.ticker), ts_us, exch_us, delta.seq, level)
        self.missing(link)

    def _unrouted(self, link: Link, message: Message, ts_us: int, now_ns: int) -> None:
        """Take a message that belongs to no conn: an answer to a command, or what overtook its acknowledgement."""
        sid = message.sid
        if isinstance(message, VenueError) and (sid is None or message.code not in TERMINAL):
            self._refused(link, message, ts_us, now_ns)
        elif sid is None:
            if isinstance(message, Ok):
                link.asks.acknowledged(message.command_id)
        elif not isinstance(message, Ticker):
            self._keep_early(link, sid, message)

    def _keep_early(self, link: Link, sid: int, message: Message) -> None:
        if not link.keep_early(sid, message):
            self.counts["early_dropped"] += 1

    def _refused(self, link: Link, error: VenueError, ts_us: int, now_ns: int) -> None:
        """Take an error of a command, or of the connection."""
        self.notes.append(("venue_error", {"code": error.code, "text": error.text}))
        command = link.asks.refused(error.command_id, error.code, now_ns)
        ended = error.code in TERMINAL or error.code == UNKNOWN_SUBSCRIPTION
        if isinstance(command, Update | Unsubscribe) and ended:
            conn = link.conns.get(command.sids[0])
            if conn is not None and conn.up:
                self._broken(link, conn, ts_us, now_ns)
        elif command is None and error.code in TERMINAL:
            link.asks.hopeless = True  # some subscription has ended, and nothing says which

    def _broken(self, link: Link, conn: Conn, ts_us: int, now_ns: int) -> None:
        """End a subscription that the venue no longer serves, at its last message in order, and subscribe anew."""
        last_us = ts_us if conn.order_us is None else conn.order_us
        self.end_conn(conn, last_us, ts_us, Reason.CHANNEL_ERROR, conn.order_seq)
        self.missing(link)
        link.asks.gone(conn.channel, now_ns)

    def _subscribed(self, link: Link, message: Subscribed, ts_us: int, now_ns: int) -> None:
        if message.sid is None or message.channel is None:
            self.notes.append(("subscribed_without_sid", {"command": message.command_id}))
            link.asks.hopeless = True
            return
        known = link.conns.get(message.sid)
        if known is not None and known.up:
            self.counts["subscribed_twice"] += 1
            link.asks.hopeless |= known.channel != message.channel
            return
        link.asks.subscribed(message.command_id, message.channel, message.sid, now_ns)
        conn = Conn(self._numbers.next(ts_us), link.id, message.sid, message.channel, ts_us)
        link.conns[message.sid] = conn
        self._spans.conns[conn.id] = conn
        self.lifecycles += conn.channel == LIFECYCLE
        self.notes.append(
            ("subscribed", {"conn": conn.id, "sid": conn.sid, "channel": conn.channel, "port": link.port})
        )
        early = link.early.pop(conn.sid, [])
        link.early_count -= len(early)
        for one in early:  # stamped as of now: rows never stand before their conn, nor in an hour that is over
            self._message(link, one, ts_us, now_ns)

    def _snapshot(self, link: Link, conn: Conn, message: Snapshot, ts_us: int, now_ns: int) -> bool:
        if not link.asks.roster.expects(message.ticker):
            self.counts["unasked"] += 1  # no change of this market would follow: its book would stand still unnoticed
            return False
        market = self._spans.market(message.ticker)
        tabled = self._spans.snapshot(conn, market, ts_us, message.seq, message.levels)
        self._spans.given_up.discard(market)
        link.asks.got(message.ticker, now_ns, asked=message.command_id is not None)
        self.counts["snapshots"] += 1
        return tabled

    def _lifecycle(self, link: Link, conn: Conn, message: Lifecycle, ts_us: int) -> None:
        self.lifecycle.add(**columns.lifecycle_row(message, conn.id, ts_us))
        if message.ticker is None:
            return
        self.changed[message.ticker] = None
        market = self._spans.market(message.ticker)
        if message.close_us is not None:
            self._spans.state[market]["close_us"] = message.close_us
            self.rescheduled.append((message.close_us, message.ticker))
        if message.event_type == "determined":
            self._spans.determined(market, ts_us)
            self.finished.append(message.ticker)

    def _acknowledged(self, link: Link, conn: Conn, message: Ok, ts_us: int) -> None:
        command = link.asks.acknowledged(message.command_id)
        if not isinstance(command, Update) or command.action != DELETE_MARKETS or conn.channel != ORDERBOOK:
            return
        for ticker in command.tickers:
            market = self._spans.market(ticker)
            self._spans.unsubscribed(conn, market, ts_us, conn.tracker.last, self._why_left(link, market, ts_us))

    def _unsubscribed(self, link: Link, conn: Conn, message: Unsubscribed, ts_us: int, now_ns: int) -> None:
        link.asks.acknowledged(message.command_id)
        for market in self._spans.live_on(conn).tolist():
            self._spans.unsubscribed(conn, market, ts_us, conn.tracker.last, self._why_left(link, market, ts_us))
        self.end_conn(conn, ts_us, ts_us, Reason.UNSUBSCRIBED)
        self.missing(link)
        link.asks.gone(conn.channel, now_ns)

    def _why_left(self, link: Link, market: int, ts_us: int) -> Reason:
        """Return why a span ends where the venue stops sending a market because we asked it to.

        One that is still wanted was left only to be subscribed anew: what is missed until then is a gap.
        """
        if self._spans.names[market] in link.asks.roster.wanted:
            return Reason.CHANNEL_ERROR
        return Reason.MARKET_CLOSED if ts_us >= self._spans.state[market]["close_us"] else Reason.UNSUBSCRIBED

    def _venue_error(self, link: Link, conn: Conn, message: VenueError, ts_us: int, now_ns: int) -> None:
        if message.code not in TERMINAL:
            self._refused(link, message, ts_us, now_ns)
            return
        self.notes.append(("venue_error", {"code": message.code, "text": message.text, "conn": conn.id}))
        self._broken(link, conn, ts_us, now_ns)

    def _unreadable(self, link: Link, error: FrameError, frame: bytes, ts_us: int) -> None:
        """Keep a frame that cannot be read, and end what it may have changed."""
        conn = link.conns.get(error.sid) if error.sid is not None else None
        self.counts["quarantined"] += 1
        self.quarantine.add(
            ts_recv=ts_us, conn=conn.id if conn else None, ticker=error.ticker, bytes=frame, error=error.error
        )
        self.notes.append(("quarantined", {"error": error.error, "ticker": error.ticker}))
        if conn is None or not conn.up:
            return
        before, last_us = conn.tracker.last, conn.order_us
        conn.frame_us = max(conn.frame_us, ts_us)
        if error.seq is not None and not self._in_order(link, conn, error.seq, ts_us):
            return
        if conn.channel == ORDERBOOK:
            if error.ticker is not None:
                self._spans.unreadable(conn, self._spans.market(error.ticker), ts_us)
            else:
                self._spans.end_conn(conn, ts_us if last_us is None else last_us, ts_us, before, Reason.UNREPRESENTABLE)
            self.missing(link)
        if error.seq is not None:
            conn.order_us, conn.order_seq = ts_us, conn.tracker.last


def _ends(message: Message) -> bool:
    """Say whether a message ends its subscription, whatever its number."""
    return isinstance(message, Unsubscribed) or (isinstance(message, VenueError) and message.code in TERMINAL)
