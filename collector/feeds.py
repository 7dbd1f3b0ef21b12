"""The firehoses of a shard: since when each is known, how far, and the lapses in between.

Owns what is written down of trades, tickers and lifecycle messages as feeds of the whole exchange. Sans-IO. Never
reads a row and never asks for what is missing (collector.fill).

A feed is known while each of its channels is subscribed, up to the last frame heard. What interrupts that is a lapse:
it begins with the last message or frame before it, since what was lost may have had the same stamp, and is told when it
has ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from book.records import Reason
from book.wire.commands import COMBO_LIFECYCLE, LIFECYCLE, TICKER, TRADE
from collector.conns import Conn
from lake.journal.flush import FeedMark, Lapse

FEED_OF = {TRADE: "trades", TICKER: "tickers", LIFECYCLE: "lifecycle", COMBO_LIFECYCLE: "lifecycle"}
"""The table that each channel's messages stand in."""


@dataclass(slots=True)
class _Open:
    """A lapse that has not ended.

    It ends with a new subscription; where ``until_heard`` with the next thing heard, where conns are ``awaited`` with
    the next numbered message of the last of them.
    """

    from_us: int
    reason: Reason
    until_heard: bool = False
    awaited: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Feed:
    """One feed: the conns of its ``channels``, and since when each stands; ``since_us`` None before the first time."""

    channels: tuple[str, ...]
    since_us: int | None = None
    conn: int = 0
    standing: dict[str, Conn] = field(default_factory=dict)
    began_us: dict[str, int] = field(default_factory=dict)
    open: _Open | None = None
    told: FeedMark | None = None

    def stands(self, conn: Conn) -> bool:
        return self.standing.get(conn.channel) is conn

    def after_us(self, conn: Conn) -> int:
        """Return the instant of the conn's last message in order, or the first one after its beginning."""
        return self.began_us[conn.channel] if conn.order_us is None else conn.order_us

    def mark(self) -> FeedMark | None:
        """Return how far it is known, None where it never was."""
        if self.since_us is None:
            return None
        if self.open is not None:
            return FeedMark(self.conn, self.open.from_us - 1, 0, self.since_us, self.open.reason.value)
        known_us = min(conn.frame_us for conn in self.standing.values())
        return FeedMark(self.conn, known_us, 1, self.since_us)


class Feeds:
    """Follow the feeds of one shard; told of every subscription and of whatever interrupts one."""

    def __init__(self, *, combos: bool = False) -> None:
        """Follow trades, tickers and lifecycle messages, with ``combos`` those of combinations too."""
        lifecycle = (LIFECYCLE, COMBO_LIFECYCLE) if combos else (LIFECYCLE,)
        self._feeds = {"trades": _Feed((TRADE,)), "tickers": _Feed((TICKER,)), "lifecycle": _Feed(lifecycle)}
        self._lapses: list[Lapse] = []
        self.ended: list[Lapse] = []
        """Lapses that have ended and are told, for whoever fills them; emptied by that one."""

    def resume(self, marks: Mapping[str, FeedMark]) -> None:
        """Go on from what a log says that ended, by a shutdown or a crash: it lapses until it is subscribed anew."""
        for channel, mark in marks.items():
            feed = self._feeds.get(channel)
            if feed is not None and feed.since_us is None:
                reason = Reason.CRASH if mark.up else Reason(mark.reason)
                feed.since_us, feed.conn = mark.since_us, mark.conn
                feed.open = _Open(mark.lapse_us, reason)

    def subscribed(self, conn: Conn, ts_us: int) -> None:
        """Note that a channel's subscription stands; from after that instant on what is sent is received."""
        feed = self._of(conn)
        if feed is None or conn.channel not in feed.channels:
            return
        before = feed.standing.get(conn.channel)
        if before is not None:
            self._interrupt(feed, before.frame_us, Reason.DISCONNECT)
        feed.standing[conn.channel], feed.began_us[conn.channel] = conn, ts_us + 1
        if len(feed.standing) < len(feed.channels):
            return
        if feed.since_us is None:
            feed.since_us = ts_us + 1
        self._close(feed, ts_us + 1)
        feed.conn = feed.standing[feed.channels[0]].id

    def over(self, conn: Conn, last_us: int, reason: Reason) -> None:
        """Note that a subscription has ended, ``last_us`` being the last instant known on it."""
        feed = self._of(conn)
        if feed is None or not feed.stands(conn):
            return
        from_us = last_us
        if reason is Reason.CHANNEL_ERROR:
            from_us = feed.after_us(conn)
        elif reason is Reason.UNSUBSCRIBED:
            reason = Reason.CHANNEL_ERROR  # we left only to subscribe anew
        del feed.standing[conn.channel]
        self._interrupt(feed, from_us, reason)

    def missed(self, conn: Conn, from_us: int, to_us: int, reason: Reason) -> None:
        """Note that messages in [from_us, to_us) may be missing on a conn that goes on."""
        feed = self._of(conn)
        if feed is None or not feed.stands(conn) or feed.since_us is None or feed.open is not None:
            return
        self._tell(feed, max(from_us, feed.since_us), max(to_us, from_us + 1), reason)

    def lost(self, conn: Conn, ts_us: int, reason: Reason) -> None:
        """Note that messages are missing between the conn's last one in order and one stamped ``ts_us``.

        They may have been stamped as that one is.
        """
        feed = self._of(conn)
        if feed is not None and feed.stands(conn):
            self.missed(conn, feed.after_us(conn), ts_us + 1, reason)

    def broken(self, conn: Conn, reason: Reason) -> None:
        """Note that nothing on a conn can be relied on after its last message in order, until it is subscribed anew."""
        feed = self._of(conn)
        if feed is not None and feed.stands(conn):
            self._interrupt(feed, feed.after_us(conn), reason)

    def overflowed(self, conn: Conn, last_us: int, ts_us: int) -> None:
        """Note that frames of a conn were dropped after an instant, up to another.

        Until its next number is known nothing tells whether more is missing.
        """
        feed = self._of(conn)
        if feed is None or not feed.stands(conn) or feed.since_us is None:
            return
        if conn.channel == TICKER:
            self.missed(conn, last_us, ts_us + 1, Reason.OVERFLOW)
        elif feed.open is None:
            feed.open = _Open(max(last_us, feed.since_us), Reason.OVERFLOW, awaited={conn.id})
        elif feed.open.awaited:
            feed.open.awaited.add(conn.id)

    def resumed(self, conn: Conn, ts_us: int) -> None:
        """Note that a conn's number is known again, by a message in order."""
        feed = self._of(conn)
        if feed is not None and feed.open is not None and conn.id in feed.open.awaited:
            feed.open.awaited.discard(conn.id)
            if not feed.open.awaited:
                self._close(feed, ts_us + 1)

    def stepped(self, last_us: int) -> None:
        """Note that the clock has stepped after an instant: each feed lapses until it is heard again."""
        for feed in self._feeds.values():
            if feed.standing and feed.open is None and feed.since_us is not None:
                feed.open = _Open(last_us, Reason.CLOCK_STEP, until_heard=True)

    def heard(self, conn: Conn, ts_us: int) -> None:
        """Note that something is heard on a conn, of whatever kind."""
        feed = self._of(conn)
        if feed is not None and feed.open is not None and feed.open.until_heard and feed.stands(conn):
            self._close(feed, ts_us)

    def take(self) -> tuple[dict[str, FeedMark], list[Lapse]]:
        """Take the marks that say something new, and the lapses that have ended since the last call."""
        marks: dict[str, FeedMark] = {}
        for channel, feed in self._feeds.items():
            mark = feed.mark()
            if mark is not None and (feed.told is None or mark._replace(known_us=feed.told.known_us) != feed.told):
                marks[channel] = feed.told = mark
        lapses, self._lapses = self._lapses, []
        self.ended += lapses
        return marks, lapses

    def _of(self, conn: Conn) -> _Feed | None:
        channel = FEED_OF.get(conn.channel)
        return None if channel is None else self._feeds[channel]

    def _interrupt(self, feed: _Feed, from_us: int, reason: Reason) -> None:
        """Begin a lapse, or have the one that has begun begin earlier and last until the next subscription."""
        if feed.since_us is None:
            return
        if feed.open is None or from_us < feed.open.from_us:
            feed.open = _Open(max(from_us, feed.since_us), reason)
        feed.open.until_heard = False
        feed.open.awaited.clear()

    def _close(self, feed: _Feed, to_us: int) -> None:
        if feed.open is not None:
            self._tell(feed, feed.open.from_us, max(to_us, feed.open.from_us + 1), feed.open.reason)
            feed.open = None

    def _tell(self, feed: _Feed, from_us: int, to_us: int, reason: Reason) -> None:
        """Write a lapse down; what cannot be read in a row is one."""
        lapse = Lapse(FEED_OF[feed.channels[0]], feed.conn, from_us, to_us, reason.value)
        last = self._lapses[-1] if self._lapses and reason is Reason.UNREPRESENTABLE else None
        if last is not None and last[:2] == lapse[:2] and last.reason == lapse.reason and last.to_us >= from_us:
            self._lapses[-1] = last._replace(to_us=max(last.to_us, to_us))
        else:
            self._lapses.append(lapse)
