"""The venue's answers to our commands, and the ends of subscriptions that they tell.

Owns what an ``ok``, an ``unsubscribed`` and an error do to a conn and its books. Sans-IO; never judges a sequence
number and never reads a book.
"""

from collections.abc import Callable
from typing import Any

from book.records import Reason
from book.wire.commands import DELETE_MARKETS, ORDERBOOK, Unsubscribe, Update
from book.wire.messages import Message, Ok, Unsubscribed, VenueError
from collector.asks import UNKNOWN_SUBSCRIPTION
from collector.conns import Conn
from collector.links import Link
from collector.spans import Spans

TERMINAL = frozenset({10, 25})
"""The venue's errors that end a subscription."""

Note = tuple[str, dict[str, Any]]


class Answers:
    """Take answers; ``tell`` takes notes, ``end_conn`` ends a conn, ``missing`` asks again for books given up."""

    def __init__(
        self,
        spans: Spans,
        tell: Callable[[Note], None],
        end_conn: Callable[..., None],
        missing: Callable[[Link], None],
    ) -> None:
        self._spans = spans
        self._tell = tell
        self._end_conn = end_conn
        self._missing = missing

    def acknowledged(self, link: Link, conn: Conn, message: Ok, ts_us: int) -> None:
        """Take an ``ok``: markets that we left are closed here."""
        command = link.asks.acknowledged(message.command_id)
        if not isinstance(command, Update) or command.action != DELETE_MARKETS or conn.channel != ORDERBOOK:
            return
        for ticker in command.tickers:
            market = self._spans.market(ticker)
            self._spans.unsubscribed(conn, market, ts_us, conn.tracker.last, self._why_left(link, market, ts_us))

    def unsubscribed(self, link: Link, conn: Conn, message: Unsubscribed, ts_us: int, now_ns: int) -> None:
        """Take the end of a subscription that we asked for."""
        link.asks.acknowledged(message.command_id)
        for market in self._spans.live_on(conn).tolist():
            self._spans.unsubscribed(conn, market, ts_us, conn.tracker.last, self._why_left(link, market, ts_us))
        self._end_conn(conn, ts_us, ts_us, Reason.UNSUBSCRIBED)
        self._missing(link)
        link.asks.gone(conn.channel, now_ns)

    def _why_left(self, link: Link, market: int, ts_us: int) -> Reason:
        """Return why a span ends where the venue stops sending a market because we asked it to.

        One that is still wanted was left only to be subscribed anew: what is missed until then is a gap.
        """
        if self._spans.names[market] in link.asks.roster.wanted:
            return Reason.CHANNEL_ERROR
        return Reason.MARKET_CLOSED if ts_us >= self._spans.state[market]["close_us"] else Reason.UNSUBSCRIBED

    def venue_error(self, link: Link, conn: Conn, message: VenueError, ts_us: int, now_ns: int) -> None:
        """Take an error of a subscription."""
        if message.code not in TERMINAL:
            self.refused(link, message, ts_us, now_ns)
            return
        self._tell(("venue_error", {"code": message.code, "text": message.text, "conn": conn.id}))
        self._broken(link, conn, ts_us, now_ns)

    def refused(self, link: Link, error: VenueError, ts_us: int, now_ns: int) -> None:
        """Take an error of a command, or of the connection."""
        self._tell(("venue_error", {"code": error.code, "text": error.text}))
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
        self._end_conn(conn, last_us, ts_us, Reason.CHANNEL_ERROR, conn.order_seq)
        self._missing(link)
        link.asks.gone(conn.channel, now_ns)


def ends(message: Message) -> bool:
    """Say whether a message ends its subscription, whatever its number."""
    return isinstance(message, Unsubscribed) or (isinstance(message, VenueError) and message.code in TERMINAL)
