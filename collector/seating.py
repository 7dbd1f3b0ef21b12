"""Which market's book is recorded on which connection, and which connections should stand.

Owns the slots, their bounds as the venue shows them, and the choice for each market. Knows no subscriptions, sends
nothing and reads no clock; times are monotonic nanoseconds, passed in. A market is placed once and stays where it is
until its slot is taken away or has no room for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from collector.links import Role, Slot
from collector.rota import NS

PLACED_AT_ONCE = 1000
EMPTY_NS = 60 * NS
"""How long a slot without a market stays."""
BOUND_NS = 60 * NS
LONGEST_BOUND_NS = 900 * NS
"""How long a bound on connections is believed before one more is tried."""
LEARNED_NS = 3600 * NS
"""How long the bound of one subscription is believed."""
TURNED_AWAY_MOST = 3
TOO_MANY_CONNECTIONS = 429
FIXED = (Slot(0, Role.TAPE), Slot(0, Role.LIFECYCLE))


@dataclass(slots=True)
class Seat:
    """A slot for books: its markets, how many it may have, which link fills it, since when it is empty."""

    most: int
    since_ns: int
    link: int | None = None
    links: int = 0
    vain: int = 0
    learned_ns: int | None = None
    members: dict[str, None] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """How many more markets it may have."""
        return max(0, self.most - len(self.members))


class Seating:
    """Slots and the markets on them."""

    def __init__(self, connections: int, most_markets: int) -> None:
        self._most_markets = most_markets
        self._connections = connections
        self._bound = connections
        self._bound_until_ns = 0
        self._bound_for_ns = BOUND_NS
        self._trying = False
        self._turned_away: dict[Slot, int] = {}
        self._now_ns = 0
        self.fixed: dict[Slot, Seat] = {}
        self.seats: dict[Slot, Seat] = {}
        self.homes: dict[str, Slot | None] = {}
        self.homeless: dict[str, None] = {}

    def slots(self) -> list[Slot]:
        """Return which connections should stand, most important first."""
        return [*FIXED, *self.seats]

    def want(self, ticker: str) -> None:
        """Want a market to have a slot; it gets one with the next ``place``."""
        if ticker not in self.homes:
            self.homes[ticker] = None
            self.homeless[ticker] = None

    def drop(self, ticker: str) -> None:
        """Let a market go."""
        slot = self.homes.pop(ticker, None)
        self.homeless.pop(ticker, None)
        if slot is not None:
            self._leave(ticker, slot)

    def opened(self, slot: Slot, link: int, now_ns: int) -> Seat:
        """Note that a connection stands on a slot, and return the seat."""
        self._now_ns = now_ns
        seats = self.seats if slot.role in (Role.BOOKS, Role.WHOLE) else self.fixed
        seat = seats.get(slot)
        if seat is None:
            seat = seats[slot] = Seat(self._most_markets, now_ns)
        if seat.learned_ns is not None and now_ns - seat.learned_ns > LEARNED_NS:
            seat.most, seat.learned_ns = self._most_markets, None
        seat.link, seat.links = link, seat.links + 1
        self._turned_away.pop(slot, None)
        standing = sum(one.link is not None for one in self.seats.values())
        self._bound = max(self._bound, standing)
        if self._trying and standing == self._bound:
            self._bound = min(standing + 1, self._connections)  # it takes one more than was thought: perhaps others too
            self._bound_for_ns = BOUND_NS
        return seat

    def ended(self, slot: Slot, link: int, *, vain: int) -> None:
        """Note that a slot's connection is over."""
        seat = self.seats.get(slot) or self.fixed.get(slot)
        if seat is not None and seat.link == link:
            seat.link, seat.vain = None, vain

    def turned_away(self, slot: Slot, status: int) -> None:
        """Note that the venue refused a connection; with status 429 what stands is all there may be for now.

        A book slot is given up. Where the tape or the lifecycle finds no connection, a book slot that does not stand
        makes room for it, in the end the emptiest of those that do.
        """
        if status != TOO_MANY_CONNECTIONS:
            return
        book = slot in self.seats
        strikes = self._turned_away[slot] = self._turned_away.get(slot, 0) + 1
        idle = [one for one, seat in self.seats.items() if seat.link is None]
        if book and self.seats[slot].link is None:
            given = slot
        elif not book and slot in FIXED and idle:
            given = idle[-1]
        elif not book and slot in FIXED and strikes >= TURNED_AWAY_MOST and self.seats:
            given = min(self.seats, key=lambda one: len(self.seats[one].members))
        else:
            return
        if len(self.seats) > 1:
            self._take_away(given)
        self._turned_away.pop(slot, None)
        self._trying = False
        self._bound = len(self.seats)
        self._bound_until_ns = self._now_ns + self._bound_for_ns
        self._bound_for_ns = min(2 * self._bound_for_ns, LONGEST_BOUND_NS)

    def learned(self, slot: Slot, most: int, now_ns: int) -> None:
        """Note that a slot's subscription takes no more markets than these."""
        self.seats[slot].most, self.seats[slot].learned_ns = most, now_ns

    def unplace(self, ticker: str) -> None:
        """Take a market off its slot, to be placed anew."""
        slot = self.homes[ticker]
        if slot is not None:
            self._leave(ticker, slot)
        self.homes[ticker] = None
        self.homeless[ticker] = None

    def place(
        self, now_ns: int, last_conn: Callable[[str], int], book_conn: Callable[[Slot], int | None]
    ) -> Iterator[tuple[str, Slot]]:
        """Give slots to markets that have none, at most PLACED_AT_ONCE; yield each with its slot.

        ``last_conn`` is the conn that had a market last (0: none), ``book_conn`` that of a slot's living subscription
        (None: none, the next one will be above all that were). Cost: the number of slots, a market.
        """
        self._now_ns = now_ns
        self._grow(now_ns)
        conns = {slot: book_conn(slot) for slot in self.seats} if self.homeless else {}
        spare = self._spare() if self.homeless else None
        for ticker in list(islice(self.homeless, PLACED_AT_ONCE)):
            slot = self._choose(last_conn(ticker), conns, spare)
            if slot is None:
                break
            del self.homeless[ticker]
            self.homes[ticker] = slot
            self.seats[slot].members[ticker] = None
            yield ticker, slot
        self._shrink(now_ns)

    def _choose(self, last: int, conns: dict[Slot, int | None], spare: Slot | None) -> Slot | None:
        """Return the emptiest slot on which the market's span may open now, else the emptiest with room."""
        with_room = [slot for slot, seat in self.seats.items() if seat.room]
        if not with_room:
            return None
        open_now = [slot for slot in with_room if (conn := conns[slot]) is None or conn >= last]

        def order(slot: Slot) -> tuple[bool, bool, int]:
            return slot == spare, last > 0 and conns[slot] != last, len(self.seats[slot].members)

        return min(open_now or with_room, key=order)

    def _spare(self) -> Slot | None:
        """Return the slot that is left to run empty: the emptiest, where there are two more than are needed."""
        by_fill = sorted(self.seats, key=lambda slot: len(self.seats[slot].members))
        others = sum(self.seats[slot].most for slot in by_fill[2:])
        return by_fill[0] if len(by_fill) > 2 and others >= len(self.homes) else None

    def _grow(self, now_ns: int) -> None:
        room = sum(seat.room for seat in self.seats.values())
        if room >= len(self.homeless) or any(slot.role is Role.WHOLE for slot in self.seats):
            return
        if self._bound < self._connections and len(self.seats) >= self._bound and now_ns >= self._bound_until_ns:
            self._trying = True
            self._bound, self._bound_until_ns = len(self.seats) + 1, now_ns + self._bound_for_ns
        while room < len(self.homeless) and len(self.seats) < self._bound:
            number = next(n for n in range(len(self.seats) + 1) if Slot(n, Role.BOOKS) not in self.seats)
            seat = self.seats[Slot(number, Role.BOOKS)] = Seat(self._most_markets, now_ns)
            room += seat.room

    def _shrink(self, now_ns: int) -> None:
        for slot, seat in list(self.seats.items()):
            if seat.members:
                seat.since_ns = now_ns
            elif now_ns - seat.since_ns > EMPTY_NS and not self.homeless and slot.role is Role.BOOKS:
                del self.seats[slot]

    def _leave(self, ticker: str, slot: Slot) -> None:
        seat = self.seats.get(slot)
        if seat is not None:
            seat.members.pop(ticker, None)

    def _take_away(self, slot: Slot) -> None:
        for ticker in self.seats.pop(slot).members:
            self.homes[ticker] = None
            self.homeless[ticker] = None
