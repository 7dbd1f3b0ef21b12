"""The markets of one book subscription: which are wanted, which the venue has, and what is on its way between.

Owns these sets and their moves. Sends nothing and reads no clock; times are monotonic nanoseconds, passed in.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from collector.rota import NS, Rota

MUTED_NS = 5 * NS


@dataclass(slots=True)
class Ask:
    """A market whose book is awaited: since when it was asked for, how long to wait, how often it was asked again."""

    at_ns: int = 0
    wait_ns: int = 0
    tries: int = 0

    @property
    def due_ns(self) -> int:
        """When to ask for it again."""
        return self.at_ns + self.wait_ns


class Roster:
    """Markets by where they stand.

    ``adding`` are asked for and not confirmed. Only confirmed ones (``added``) may be asked for their books: a book
    without the changes that follow it would stand still unnoticed. ``leaving`` are confirmed ones being taken away.
    ``fresh`` are to be added to the living subscription, ``later`` to the next one. ``missing`` are markets whose book
    is awaited; ``rota`` holds when the known ones are to be compared next.
    """

    def __init__(self, rota: Rota) -> None:
        self.rota = rota
        self.wanted: set[str] = set()
        self.adding: set[str] = set()
        self.added: set[str] = set()
        self.leaving: set[str] = set()
        self.fresh: dict[str, None] = {}
        self.unwanted: dict[str, None] = {}
        self.later: dict[str, None] = {}
        self.missing: dict[str, Ask] = {}
        self._due: list[tuple[int, str]] = []

    def __len__(self) -> int:
        """Return how many markets the venue has, or will have when it confirms."""
        return len(self.added) + len(self.adding)

    def expects(self, ticker: str) -> bool:
        """Say whether the venue sends this market's changes here, as far as we know."""
        return ticker in self.added or ticker in self.adding

    def want(self, ticker: str, *, later: bool = False) -> None:
        """Want a market's book; ``later``: only from the next subscription on."""
        if ticker in self.wanted:
            return
        self.wanted.add(ticker)
        if ticker in self.unwanted:
            del self.unwanted[ticker]
            self._await(ticker, Ask())
        elif not self.expects(ticker):
            (self.later if later else self.fresh)[ticker] = None

    def postpone(self, ticker: str) -> None:
        """Have a wanted market wait for the next subscription."""
        if ticker in self.wanted:
            self.missing.pop(ticker, None)
            self.fresh.pop(ticker, None)
            self.later[ticker] = None

    def drop(self, ticker: str) -> None:
        """Want a market's book no longer."""
        self.wanted.discard(ticker)
        self.missing.pop(ticker, None)
        self.rota.forget(ticker)
        self.fresh.pop(ticker, None)
        self.later.pop(ticker, None)
        if self.expects(ticker) and ticker not in self.leaving:
            self.unwanted[ticker] = None

    def lost(self, ticker: str) -> None:
        """Note that a book is unknown from now on; one asked for already keeps its turn."""
        if ticker in self.added and ticker in self.wanted:
            asked = self.missing.get(ticker)
            if asked is None or not asked.tries:
                self._await(ticker, Ask())
            self.rota.forget(ticker)

    def got(self, ticker: str) -> None:
        """Note that a full book has arrived: the venue has the market."""
        self.missing.pop(ticker, None)
        if ticker in self.adding:
            self._added(ticker)

    def _added(self, ticker: str) -> None:
        self.adding.discard(ticker)
        self.added.add(ticker)
        ask = self.missing.get(ticker)
        if ask is not None:
            self._await(ticker, ask)

    def take_fresh(self, most: int, now_ns: int, wait_ns: int) -> list[str]:
        """Return up to ``most`` markets to add now; their books are awaited for ``wait_ns``."""
        taken = list(islice(self.fresh, max(0, most)))
        for ticker in taken:
            del self.fresh[ticker]
            self.adding.add(ticker)
            self._await(ticker, Ask(now_ns, wait_ns))
        return taken

    def give_up(self, most: int) -> list[str]:
        """Return, and want no longer, what does not fit into a subscription of ``most`` markets."""
        extra = len(self) + len(self.fresh) - most
        given = list(islice(reversed(self.fresh), max(0, extra)))
        for ticker in given:
            self.drop(ticker)
        return given

    def take_unwanted(self, most: int) -> list[str]:
        """Return up to ``most`` confirmed markets to take away now."""
        taken = list(islice((ticker for ticker in self.unwanted if ticker in self.added), most))
        for ticker in taken:
            del self.unwanted[ticker]
        self.leaving.update(taken)
        return taken

    def due(self, most: int, now_ns: int, muted: Callable[[str], bool], wait_ns: Callable[[int], int]) -> list[str]:
        """Take up to ``most`` confirmed markets whose book has been awaited long enough, to be asked for now.

        Each is due again after ``wait_ns`` of how often it was asked again before. ``muted`` ones wait on. Cost: the
        logarithm of what is awaited, a market.
        """
        found: list[str] = []
        while self._due and self._due[0][0] <= now_ns and len(found) < most:
            due_ns, ticker = heapq.heappop(self._due)
            ask = self.missing.get(ticker)
            if ask is None or ask.due_ns != due_ns or ticker not in self.added or ticker in self.leaving:
                continue
            if muted(ticker):
                self._await(ticker, Ask(now_ns, MUTED_NS, ask.tries))
            else:
                self._await(ticker, Ask(now_ns, wait_ns(ask.tries), ask.tries + 1))
                found.append(ticker)
        return found

    def _await(self, ticker: str, ask: Ask) -> None:
        self.missing[ticker] = ask
        heapq.heappush(self._due, (ask.due_ns, ticker))
        if len(self._due) > 2 * len(self.missing) + 64:
            self._due = [(ask.due_ns, ticker) for ticker, ask in self.missing.items()]
            heapq.heapify(self._due)

    def confirm(self, tickers: Iterable[str]) -> None:
        """Note that the venue has added markets."""
        for ticker in self.adding.intersection(tickers):
            self._added(ticker)

    def deleted(self, tickers: Iterable[str]) -> None:
        """Note that the venue has taken markets away; one wanted again meanwhile is to be added anew."""
        for ticker in self.added.intersection(tickers):
            self.added.discard(ticker)
            self.leaving.discard(ticker)
            self.unwanted.pop(ticker, None)
            self.missing.pop(ticker, None)
            self.rota.forget(ticker)
            if ticker in self.wanted:
                self.fresh[ticker] = None

    def not_added(self, tickers: Iterable[str]) -> None:
        """Note that the venue has not added markets: they wait again, before the others."""
        back = [ticker for ticker in tickers if ticker in self.adding]
        for ticker in back:
            self.adding.discard(ticker)
            self.unwanted.pop(ticker, None)
            self.missing.pop(ticker, None)
        self.fresh = dict.fromkeys(ticker for ticker in back if ticker in self.wanted) | self.fresh

    def not_deleted(self, tickers: Iterable[str]) -> None:
        """Note that the venue still has markets; one wanted again meanwhile is asked for its book."""
        for ticker in self.leaving.intersection(tickers):
            self.leaving.discard(ticker)
            if ticker in self.wanted:
                self._await(ticker, Ask())
            else:
                self.unwanted[ticker] = None

    def clear(self) -> None:
        """Note that the subscription has ended: every wanted market is to be added anew."""
        for known in (self.adding, self.added, self.leaving, self.unwanted, self.later, self.missing, self._due):
            known.clear()
        self.rota.clear()
        self.fresh = dict.fromkeys(sorted(self.wanted))
