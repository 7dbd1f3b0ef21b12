"""The markets of one shard, from the listing to their being forgotten.

Owns which are wanted when and on which connection, and tells the links so. Decides nothing about books: when a market
is over its span is ended by Spans.
"""

from collections.abc import Mapping

from book.records import DAY_US, HOUR_US
from collector.intake import Intake
from collector.links import Link, Slot
from collector.raw import Tap
from collector.seating import Seating
from collector.spans import NEVER_US, Spans
from collector.timers import Timers, Times

CLOSED_GRACE_US = HOUR_US
FORGOTTEN_AFTER_US = HOUR_US
KEPT_US = 8 * DAY_US
"""How long a recorded market waits for its end to be told."""


class Markets:
    """When each market is recorded, and where; ``halted`` are the exchange shards of which nothing is answered."""

    def __init__(self, seating: Seating, spans: Spans, intake: Intake, links: Mapping[int, Link]) -> None:
        self._spans = spans
        self._intake = intake
        self._links = links
        self.seating = seating
        self.timers = Timers()
        self.over: dict[str, None] = {}
        """Markets that the listing says are over, which takes effect with the next tick."""
        self.halted: frozenset[int] = frozenset()
        self.tap: Tap | None = None

    def list_market(self, ticker: str, open_us: int | None, close_us: int | None, exchange_index: int) -> None:
        """See Session.list_market."""
        number = self._spans.numbers.get(ticker)
        if ticker in self._intake.over or (number is not None and self._spans.state[number]["finished"]):
            return
        times = Times(open_us or 0, NEVER_US if close_us is None else close_us, exchange_index)
        if self.timers.set(ticker, times):
            self._spans.want(ticker, times.close_us)
            if self.tap is not None:
                self.tap.timed(ticker, times.close_us)

    def finish(self, ticker: str) -> None:
        """See Session.finish_market."""
        if ticker in self._spans.numbers:
            self.over[ticker] = None

    def muted(self, ticker: str) -> bool:
        """Say whether a market's exchange shard has halted, so that nothing is answered about it."""
        times = self.timers.times.get(ticker)
        return times is not None and times.exchange_index in self.halted

    def open_and_close(self, now_us: int) -> None:
        """Want the markets that have opened, and let those go that closed a while ago."""
        for ticker in self.timers.opening(now_us):
            self.seating.want(ticker)
        for ticker in self.timers.ending(now_us - CLOSED_GRACE_US - 1):
            close_us = int(self._spans.state[self._spans.numbers[ticker]]["close_us"])
            if close_us + CLOSED_GRACE_US >= now_us:
                self.timers.reschedule(ticker, close_us)
            else:
                self._unlist(ticker, now_us)

    def take_endings(self, ts_us: int, now_us: int) -> None:
        """Drop markets that are over, and expect the end of others when it is now said to be; ``ts_us`` is a stamp."""
        for ticker in self.over:
            if self.tap is not None:
                self.tap.over(ticker, ts_us)
            self._spans.determined(self._spans.numbers[ticker], ts_us)
        for ticker in (*self._intake.finished, *self.over):
            self._unlist(ticker, now_us)
        self.over.clear()
        for close_us, ticker in self._intake.rescheduled:
            self.timers.reschedule(ticker, close_us)
        self._intake.finished, self._intake.rescheduled = [], []

    def _unlist(self, ticker: str, now_us: int) -> None:
        self.timers.forget(ticker)
        self.seating.drop(ticker)
        self._spans.unwant(ticker, now_us)
        for link in self._links.values():
            if ticker in link.asks.roster.wanted:
                link.asks.drop(ticker)
                if self.tap is not None:
                    self.tap.dropped(link.id, (ticker,))

    def place(self, now_ns: int) -> None:
        """Give markets their connections, and take back what a subscription has no room for."""
        for link in self._links.values():
            seat = self.seating.seats.get(link.slot)
            if seat is not None and seat.link == link.id and link.asks.most < seat.most:
                self.seating.learned(link.slot, link.asks.most, now_ns)
                given = link.asks.give_up()
                for ticker in given:
                    self.seating.unplace(ticker)
                if self.tap is not None:
                    self.tap.dropped(link.id, given)
        if not self.seating.homeless and not self.seating.seats:
            return
        for ticker, slot in self.seating.place(now_ns, self._spans.last_conn, self._book_conn):
            link_id = self.seating.seats[slot].link
            if link_id is not None:
                link = self._links[link_id]
                book = link.book
                link.asks.want((ticker,), later=book is not None and book.id < self._spans.last_conn(ticker))
                if self.tap is not None:
                    self.tap.wanted(link_id, (ticker,))

    def _book_conn(self, slot: Slot) -> int | None:
        link_id = self.seating.seats[slot].link
        book = self._links[link_id].book if link_id is not None else None
        return None if book is None else book.id

    def forget(self, now_us: int) -> None:
        """Forget the markets that nothing can reach any more; no row may wait to be taken."""
        expected = [link.asks.roster for link in self._links.values()]
        found = [
            ticker
            for ticker in self._spans.forgettable(now_us, FORGOTTEN_AFTER_US, KEPT_US)
            if not any(roster.expects(ticker) for roster in expected)
        ]
        if found:
            if self.tap is not None:
                self.tap.forgotten(found)
            self._spans.forget(found)
