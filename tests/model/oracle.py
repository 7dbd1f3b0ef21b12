"""The brute force: from arrivals alone to what the book was, or that it cannot be known.

Owns a reading of design section 4 of its own, in plain Python, a list of spans a market. It takes nothing of the code
under test but the stamps; it knows no rows, kinds, closes, checkpoints, hours or files.
"""

from dataclasses import dataclass, field

from book.records import Level
from tests.model.venue import Fact

SILENCE_NS = 2_500_000_000
GAP, OVER, UNWANTED = "gap", "over", "unwanted"
ENDS = ("unsubscribed", "channel_error")  # which end a subscription whatever their number


@dataclass
class Span:
    """A stretch in which a market's book is known, from its first book to its end (None: still known)."""

    conn: "Conn"
    from_us: int
    base: dict[tuple[int, int], int]
    book: dict[tuple[int, int], int]
    proved_us: int  # the last instant at which the venue's own book was the same
    entries: list[tuple[int, Level]] = field(default_factory=list)
    since_us: int | None = None  # the first change after the proof
    good_us: int = 0  # the last message about the market that could be read
    ends: list[tuple[int, str]] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return not self.ends

    def end(self, at_us: int, why: str) -> None:
        """End the span; an earlier end than one before it is a second one, a later end changes nothing."""
        if not self.ends or at_us < min(at for at, _ in self.ends):
            self.ends.append((at_us, why))

    def end_at(self, ts_us: int) -> str | None:
        """Return why the book is unknown at an instant, None where it is known."""
        found = [end for end in self.ends if end[0] <= ts_us]
        return max(found, key=lambda end: end[0])[1] if found else None


@dataclass
class Conn:
    """One subscription: its messages are numbered from 1."""

    number: int
    link: int
    heard_us: int
    seq: int = 0
    ordered_us: int | None = None
    up: bool = True
    any_next: bool = False
    silences: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Link:
    """One connection: when something was last heard on it, when the last frame was queued."""

    heard_ns: int
    queued_us: int | None = None
    conns: dict[int, Conn] = field(default_factory=dict)
    early: dict[int, list[Fact]] = field(default_factory=dict)


class Oracle:
    """Feed it arrivals in order; ask it for books."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Span]] = {}
        self.close_us: dict[str, int] = {}
        self.over_us: dict[str, int] = {}
        self.finished: set[str] = set()
        self.unwanted: set[str] = set()
        self.held: set[str] = set()  # markets with a span since the process began
        self.links: dict[int, Link] = {}
        self.conns = 0

    # what happens

    def listed(self, ticker: str, close_us: int | None) -> None:
        self.close_us.pop(ticker, None)
        self.unwanted.discard(ticker)
        if close_us is not None:
            self.close_us[ticker] = close_us

    def dropped(self, ticker: str) -> None:
        """Take note that a market's book is not wanted any longer."""
        self.unwanted.add(ticker)

    def finish(self, ticker: str, ts_us: int) -> None:
        """Take note that the listing has shown a market's result."""
        self._determined(ts_us, ticker)

    def opened(self, link: int, now_ns: int) -> None:
        self.links[link] = Link(now_ns)

    def stepped(self, last_us: int) -> None:
        """Take note that the clock stepped after this stamp."""
        for span in self.all():
            if span.live:
                span.end(last_us + 1, GAP)

    def ended(self, link: int, ts_us: int) -> None:
        """Take note that a connection has ended, which showed at this stamp."""
        gone = self.links.pop(link, None)
        for conn in gone.conns.values() if gone else ():
            if conn.up:
                conn.up = False
                self._cut(conn, conn.heard_us + 1, ts_us)

    def crashed(self) -> None:
        """Take note that the process died after the last thing told here."""
        for link in self.links.values():
            for conn in link.conns.values():
                if conn.up:
                    conn.up = False
                    self._cut(conn, conn.heard_us + 1, conn.heard_us + 1)
        self.links.clear()
        self.finished.clear()
        self.held.clear()

    def overflowed(self, link_id: int, ts_us: int, now_ns: int) -> None:
        link = self.links.get(link_id)
        if link is None:
            return
        self._silence(link, ts_us, now_ns)
        for conn in link.conns.values():
            if conn.up:
                last_us = conn.heard_us if link.queued_us is None else link.queued_us
                self._cut(conn, last_us + 1, ts_us)
                conn.any_next = True
        self._hear(link, ts_us, now_ns)

    def heard(self, link_id: int, ts_us: int, now_ns: int, fact: Fact) -> None:
        """Take a frame or a pong."""
        link = self.links.get(link_id)
        if link is None:
            return
        self._silence(link, ts_us, now_ns)
        if fact.kind == "subscribed":
            self._subscribed(link, link_id, ts_us, fact)
        elif fact.kind != "pong" and fact.sid is not None:
            self._message(link, ts_us, fact)
        if fact.kind != "pong":
            link.queued_us = ts_us
        self._hear(link, ts_us, now_ns)

    # what is known

    def answer(self, ticker: str, ts_us: int) -> dict[tuple[int, int], int] | str:
        """Return the book at an instant, or "no data", "gap", "over", "unwanted", "not yet"."""
        over_us = self.over_us.get(ticker)
        if over_us is not None and over_us <= ts_us:
            return OVER
        span = next((one for one in reversed(self.spans.get(ticker, ())) if one.from_us <= ts_us), None)
        if span is None:
            return "no data"
        why = span.end_at(ts_us)
        if why is not None:
            return why
        if any(from_us < ts_us < to_us for from_us, to_us in span.conn.silences):
            return GAP
        if ts_us > span.conn.heard_us:
            return "not yet"
        book = dict(span.base)
        for at_us, level in span.entries:
            if at_us > ts_us:
                break
            add(book, level)
        return book

    # how

    def all(self) -> list[Span]:
        return [span for spans in self.spans.values() for span in spans]

    def _silence(self, link: Link, ts_us: int, now_ns: int) -> None:
        if now_ns - link.heard_ns > SILENCE_NS:
            for conn in link.conns.values():
                if conn.up:
                    conn.silences.append((conn.heard_us, ts_us))

    def _hear(self, link: Link, ts_us: int, now_ns: int) -> None:
        link.heard_ns = now_ns
        for conn in link.conns.values():
            if conn.up:
                conn.heard_us = ts_us

    def _cut(self, conn: Conn, at_us: int, shown_us: int, why: str = GAP) -> None:
        """End every span of a conn that reaches past an instant, ended later or not."""
        for span in self.all():
            if span.conn is conn:
                span.end(min(at_us, shown_us), why)

    def _subscribed(self, link: Link, link_id: int, ts_us: int, fact: Fact) -> None:
        assert fact.sid is not None
        self.conns += 1
        link.conns[fact.sid] = Conn(self.conns, link_id, ts_us)
        for early in link.early.pop(fact.sid, []):
            self._message(link, ts_us, early)

    def _message(self, link: Link, ts_us: int, fact: Fact) -> None:
        assert fact.sid is not None
        conn = link.conns.get(fact.sid)
        if conn is None and fact.kind != "unreadable":
            link.early.setdefault(fact.sid, []).append(fact)
        elif conn is not None and conn.up:
            conn.heard_us = ts_us
            if self._in_order(conn, ts_us, fact) or fact.kind in ENDS:
                self._take(conn, ts_us, fact)
                conn.ordered_us = ts_us

    def _in_order(self, conn: Conn, ts_us: int, fact: Fact) -> bool:
        """Judge a number: one left out, or one that goes back, ends what was known through the conn."""
        if fact.seq is None:
            return False
        if fact.seq == conn.seq + 1 or (conn.any_next and fact.seq > conn.seq):
            conn.any_next = False
        elif fact.seq == conn.seq:
            return False
        else:
            self._cut(conn, ts_us if conn.ordered_us is None else conn.ordered_us + 1, ts_us)
            if fact.seq < conn.seq:
                return False
        conn.seq = fact.seq
        return True

    def _take(self, conn: Conn, ts_us: int, fact: Fact) -> None:
        if fact.kind == "snapshot":
            self._book(conn, ts_us, fact)
        elif fact.kind == "delta":
            self._change(conn, ts_us, fact)
        elif fact.kind == "unreadable":
            self._unreadable(conn, ts_us, fact.ticker)
        elif fact.kind in ENDS:
            conn.up = False
            asked_for = fact.kind == "unsubscribed"
            for ticker in self.unwanted if asked_for else ():
                self._deleted(conn, ts_us, ticker)
            self._cut(conn, ts_us if asked_for or conn.ordered_us is None else conn.ordered_us + 1, ts_us)
        elif fact.kind == "ok":
            for ticker in fact.tickers:
                self._deleted(conn, ts_us, ticker)
        elif fact.kind == "determined":
            self._determined(ts_us, fact.ticker or "")

    def _live(self, conn: Conn, ticker: str) -> Span | None:
        """Return the span in which a market is known through a conn now."""
        spans = self.spans.get(ticker)
        return spans[-1] if spans and spans[-1].conn is conn and spans[-1].live else None

    def _unreadable(self, conn: Conn, ts_us: int, ticker: str | None) -> None:
        if ticker is None:
            self._cut(conn, ts_us if conn.ordered_us is None else conn.ordered_us + 1, ts_us)
            return
        span = self._live(conn, ticker)
        if span is not None:
            span.end(min(span.good_us + 1, ts_us), GAP)

    def _deleted(self, conn: Conn, ts_us: int, ticker: str) -> None:
        span = self._live(conn, ticker)
        if span is not None:
            span.end(ts_us, OVER if ts_us >= self.close_us.get(ticker, 1 << 62) else UNWANTED)

    def _determined(self, ts_us: int, ticker: str) -> None:
        if ticker in self.finished:
            return
        self.finished.add(ticker)
        if ticker in self.held:
            self.over_us.setdefault(ticker, ts_us)
            if self.spans[ticker][-1].live:
                self.spans[ticker][-1].end(ts_us, OVER)

    def _book(self, conn: Conn, ts_us: int, fact: Fact) -> None:
        ticker = fact.ticker or ""
        if ticker in self.finished:
            return
        spans = self.spans.setdefault(ticker, [])
        last = spans[-1] if spans else None
        book = {(side, price_e4): qty_e2 for side, price_e4, qty_e2 in fact.levels}
        if last is not None and conn.number < last.conn.number:
            return
        if last is not None and last.live:
            if last.conn is not conn:
                last.end(ts_us, UNWANTED)
            elif last.book == book:
                last.proved_us, last.since_us, last.good_us = ts_us, None, ts_us
                return
            elif not book and ts_us >= self.close_us.get(ticker, 1 << 62):
                last.end(ts_us, UNWANTED)  # the venue's cancellation: from here its empty book is the base
            else:
                self._disproved(last, ts_us)
        self.held.add(ticker)
        spans.append(Span(conn, ts_us, book, dict(book), ts_us, good_us=ts_us))

    def _change(self, conn: Conn, ts_us: int, fact: Fact) -> None:
        level = fact.levels[0]
        span = self._live(conn, fact.ticker or "")
        if span is None:
            return
        if span.book.get(level[:2], 0) + level[2] < 0:
            self._disproved(span, ts_us)
            return
        add(span.book, level)
        span.since_us = ts_us if span.since_us is None else span.since_us
        span.good_us = ts_us
        span.entries.append((ts_us, level))

    def _disproved(self, span: Span, ts_us: int) -> None:
        """End a span at its last proof: what was lost since cannot be told."""
        span.end(min(span.proved_us + 1, ts_us, ts_us if span.since_us is None else span.since_us), GAP)


def add(book: dict[tuple[int, int], int], level: Level) -> None:
    """Add a change to a book in place; zero sizes go."""
    side, price_e4, change_e2 = level
    size_e2 = book.get((side, price_e4), 0) + change_e2
    if size_e2:
        book[side, price_e4] = size_e2
    else:
        book.pop((side, price_e4), None)
