"""Messages into records: sequence judged, spans fed, tables filled.

Owns what each kind of message does. Sans-IO; frames come with their stamps, of any links and one hour at a time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from book.errors import FrameError
from book.records import Reason
from book.sequence import Verdict
from book.wire.batch import NO_TIME_US, Batch, DeltaColumns, decode_batch
from book.wire.commands import LIFECYCLE, ORDERBOOK, TICKER
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
from book.wire.rest import TradeDoc
from collector import columns
from collector.answers import TERMINAL, Answers, Note, ends
from collector.conns import Conn, ConnNumbers
from collector.feeds import Feeds
from collector.figures import KINDS
from collector.links import Link
from collector.metadata import Metadata
from collector.rows import TableRows
from collector.sheaves import Sheaves
from collector.spans import Spans
from lake.journal.flush import Fill

Ints = npt.NDArray[np.int64]


class Intake:
    """Feed frames of links to the spans and tables of one shard."""

    def __init__(self, spans: Spans, numbers: ConnNumbers, metadata: Metadata, *, combos: bool = False) -> None:
        self._spans = spans
        self.numbers = numbers
        self._metadata = metadata
        self.feeds = Feeds(combos=combos)
        self.trades = TableRows("trades")
        self.tickers = TableRows("tickers")
        self.lifecycle = TableRows("lifecycle")
        self.fills: list[Fill] = []
        self._learned: list[tuple[Sequence[TradeDoc], Fill]] = []
        self.quarantine = TableRows("quarantine")
        self.counts: Counter[str] = Counter()
        self.notes: list[Note] = []
        self.changed: dict[str, None] = {}
        self.ended: list[Conn] = []
        self.finished: list[str] = []
        self.rescheduled: list[tuple[int, str]] = []
        self.lifecycles = 0
        self.messages: Counter[str] = Counter()
        self.over: dict[str, int] = {}
        """Tickers that a message said are over, with its stamp, oldest first."""
        self._answers = Answers(spans, self.notes.append, self.end_conn, self.missing)
        self._links: Sequence[Link] = ()
        self._ts_us = np.zeros(0, np.int64)
        self._place = 0
        self._begin(decode_batch(()), self._ts_us)

    def frames(self, links: Sequence[Link], of: Ints, frames: Sequence[bytes], ts_us: Ints, now_ns: int) -> None:
        """Take frames of one hour with their stamps, in order of arrival; ``of`` says which of the links each came on.

        ``of`` and ``ts_us`` have shape (n,). Each link's frames are taken in order; between links the order is kept
        where it matters: where a market's book passes from one to the other, or is over.
        """
        batch = decode_batch(frames)
        self._links, self._ts_us = links, ts_us
        self._begin(batch, of)
        for index, message in batch.others:
            self._place = index
            number, stamp = int(of[index]), int(ts_us[index])
            if isinstance(message, Ticker):
                self._catch_up_tickers(number)
            else:
                self._catch_up(number)
            if isinstance(message, FrameError):
                self._unreadable(links[number], message, frames[index], stamp)
            else:
                self.messages[KINDS[type(message)]] += 1
                self._message(links[number], message, stamp, now_ns)
        self._place = len(frames)
        for number in range(len(links)):
            self._catch_up(number)
        self.counts["frames"] += len(frames)

    def learn(self, trades: Sequence[TradeDoc], fill: Fill) -> None:
        """Take trades that were missed, and the lapse that they fill; they are stamped with what arrives next."""
        self._learned.append((trades, fill))

    def take_learned(self, ts_us: int) -> None:
        """Turn what was learned into rows: both are acknowledged by one flush."""
        learned, self._learned = self._learned, []
        for trades, fill in learned:
            for trade in trades:
                self.trades.add(**columns.learned_row(trade, fill.conn, ts_us))
            self.fills.append(fill)

    def end_conn(self, conn: Conn, last_us: int, reveal_us: int, reason: Reason, seq: int | None = None) -> None:
        """End a conn for good; ``seq`` is that of its last valid message, where the last one taken was not valid."""
        if conn.up:
            self._spans.end_conn(conn, last_us, reveal_us, conn.tracker.last if seq is None else seq, reason)
            conn.up = False
            self.feeds.over(conn, last_us, reason)
            self.ended.append(conn)
            self.notes.append(("conn_ended", {"conn": conn.id, "reason": reason.value}))

    def _begin(self, batch: Batch, of: Ints) -> None:
        self._deltas, self._delta_sheaves = batch.deltas, Sheaves(batch.deltas, of)
        self._trades, self._trade_sheaves = batch.trades, Sheaves(batch.trades, of)
        self._tickers, self._ticker_sheaves = batch.tickers, Sheaves(batch.tickers, of)

    def _catch_up(self, number: int) -> None:
        """Take the deltas, trades and tickers of a link that came before the message that is taken now."""
        link = self._links[number]
        for sid, chosen in self._trade_sheaves.take(number, self._place):
            self._some_trades(link, sid, chosen)
        self._catch_up_tickers(number)
        for sid, chosen in self._delta_sheaves.take(number, self._place):
            self._some_deltas(link, sid, chosen)

    def _catch_up_tickers(self, number: int) -> None:
        for sid, chosen in self._ticker_sheaves.take(number, self._place):
            self._some_tickers(self._links[number], sid, chosen)

    def _catch_up_owner(self, market: int) -> None:
        """Take what the conn that has a market now has said before the message that is taken now."""
        conn = self._spans.conns.get(int(self._spans.state[market]["owner"]))
        for number, link in enumerate(self._links):
            if conn is not None and link.id == conn.link:
                self._catch_up(number)

    def _some_deltas(self, link: Link, sid: int, chosen: Ints) -> None:
        conn = link.conns.get(sid)
        self.messages["delta"] += len(chosen)
        if conn is None:
            self._early(link, sid, self._deltas, chosen)
        elif conn.up and conn.channel == ORDERBOOK:
            self._run(link, conn, self._deltas, chosen, self._ts_us)
        else:
            self.counts["after_end"] += len(chosen)

    def _some_trades(self, link: Link, sid: int, chosen: Ints) -> None:
        conn, trades, ts_us = link.conns.get(sid), self._trades, self._ts_us
        self.messages["trade"] += len(chosen)
        if conn is None:
            for i in chosen.tolist():
                self._keep_early(link, sid, columns.trade_message(trades, i))
        elif conn.up:
            for taken in self._runs(link, conn, trades.seq[chosen], ts_us[trades.place[chosen]]):
                self.trades.add_all(**columns.trade_rows(trades, chosen[taken], conn.id, ts_us))
        else:
            self.counts["after_end"] += len(chosen)

    def _some_tickers(self, link: Link, sid: int, chosen: Ints) -> None:
        """Take tickers; those before the acknowledgement of their subscription are left out, as is what came before."""
        conn, tickers, ts_us = link.conns.get(sid), self._tickers, self._ts_us
        self.messages["ticker"] += len(chosen)
        if conn is not None and conn.up:
            self.tickers.add_all(**columns.ticker_rows(tickers, chosen, conn.id, ts_us))
            conn.order_us = int(ts_us[tickers.place[chosen[-1]]])
            conn.frame_us = max(conn.frame_us, conn.order_us)

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
        before, resynced = conn.tracker.last, conn.tracker.resync
        verdict = conn.tracker.take(seq)
        if verdict is Verdict.IN_ORDER:
            if resynced:
                self.feeds.resumed(conn, ts_us)
            return True
        self.counts[verdict.value] += 1
        if verdict is Verdict.DUPLICATE:
            return False
        if verdict is Verdict.GAP or link.asks.leave(link.heard_ns, conn.sid):
            told = {"verdict": verdict.value, "conn": conn.id, "channel": conn.channel, "after": before, "got": seq}
            self.notes.append(("sequence", told))
        if conn.channel == ORDERBOOK:
            last_us = ts_us if conn.order_us is None else conn.order_us
            self._spans.end_conn(conn, last_us, ts_us, before, Reason.SEQ_GAP)
            self.missing(link)
        elif verdict is Verdict.GAP:
            self.feeds.lost(conn, ts_us, Reason.SEQ_GAP)
        else:
            self.feeds.broken(conn, Reason.SEQ_GAP)
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
        if not self._in_order(link, conn, seq, ts_us) and not ends(message):
            return
        tabled = self._take(link, conn, message, ts_us, now_ns)
        if seq is not None:
            conn.tabled += tabled
            conn.order_us, conn.order_seq = ts_us, conn.tracker.last
        elif isinstance(message, Trade | Ticker | Lifecycle):
            conn.order_us = ts_us

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
            case Ticker():
                self.tickers.add(**columns.ticker_row(message, conn.id, ts_us))
                return True
            case Lifecycle():
                self._lifecycle(link, conn, message, ts_us)
                return True
            case Ok():
                self._answers.acknowledged(link, conn, message, ts_us)
            case Unsubscribed():
                self._answers.unsubscribed(link, conn, message, ts_us, now_ns)
            case VenueError():
                self._answers.venue_error(link, conn, message, ts_us, now_ns)
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
            self._answers.refused(link, message, ts_us, now_ns)
        elif sid is None:
            if isinstance(message, Ok):
                link.asks.acknowledged(message.command_id)
        elif not isinstance(message, Ticker):
            self._keep_early(link, sid, message)

    def _keep_early(self, link: Link, sid: int, message: Message) -> None:
        if not link.keep_early(sid, message):
            self.counts["early_dropped"] += 1

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
        conn = Conn(self.numbers.next(ts_us), link.id, message.sid, message.channel, ts_us)
        link.conns[message.sid] = conn
        self._spans.conns[conn.id] = conn
        self.lifecycles += conn.channel == LIFECYCLE
        self.feeds.subscribed(conn, ts_us)
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
        if self._spans.state[market]["owner"] != conn.id:
            self._catch_up_owner(market)
        tabled = self._spans.snapshot(conn, market, ts_us, message.seq, message.levels)
        self._spans.given_up.discard(market)
        link.asks.got(message.ticker, now_ns, asked=message.command_id is not None)
        self.counts["snapshots"] += 1
        return tabled

    def _lifecycle(self, link: Link, conn: Conn, message: Lifecycle, ts_us: int) -> None:
        self.lifecycle.add(**columns.lifecycle_row(message, conn.id, ts_us))
        self._metadata.heard(message, ts_us)
        if message.ticker is None:
            return
        self.changed[message.ticker] = None
        market = self._spans.numbers.get(message.ticker)
        if message.close_us is not None and market is not None:
            self._spans.state[market]["close_us"] = message.close_us
            self.rescheduled.append((message.close_us, message.ticker))
        if message.event_type == "determined":
            self.over[message.ticker] = ts_us
            self.finished.append(message.ticker)
            if market is not None:
                self._catch_up_owner(market)
                self._spans.determined(market, ts_us)

    def _unreadable(self, link: Link, error: FrameError, frame: bytes, ts_us: int) -> None:
        """Keep a frame that cannot be read, and end what it may have changed."""
        conn = link.conns.get(error.sid) if error.sid is not None else None
        self.counts["quarantined"] += 1
        self.messages["quarantined"] += 1
        self.quarantine.add(
            ts_recv=ts_us, conn=conn.id if conn else None, ticker=error.ticker, bytes=frame, error=error.error
        )
        self.notes.append(("quarantined", {"error": error.error, "ticker": error.ticker}))
        if conn is None:
            for one in link.conns.values():  # it may have been a message that no number will show to be missing
                if one.up and one.channel == TICKER:
                    self.feeds.missed(one, ts_us, ts_us + 1, Reason.UNREPRESENTABLE)
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
        if conn.channel == TICKER:
            self.feeds.missed(conn, ts_us, ts_us + 1, Reason.UNREPRESENTABLE)
        elif conn.channel != ORDERBOOK:
            self.feeds.lost(conn, ts_us, Reason.UNREPRESENTABLE)
        if error.seq is not None:
            conn.order_us, conn.order_seq = ts_us, conn.tracker.last
