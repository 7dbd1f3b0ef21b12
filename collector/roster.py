"""The markets of one book subscription: which are wanted, which the venue has, and what is on its way between.

Owns these sets and their moves. Sends nothing and reads no clock; times are monotonic nanoseconds, passed in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice


@dataclass(slots=True)
class Ask:
    """A market whose book is awaited: since when it was asked for, how long to wait, how often it was asked again."""

    at_ns: int = 0
    wait_ns: int = 0
    tries: int = 0


class Roster:
    """Markets by where they stand.

    ``adding`` are asked for and not confirmed. Only confirmed ones (``added``) may be asked for their books: a book
    without the changes that follow it would stand still unnoticed. ``leaving`` are confirmed ones being taken away.
    ``missing`` are markets whose book is awaited; ``audits`` holds when the known ones are to be compared next.
    """

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.adding: set[str] = set()
        self.added: set[str] = set()
        self.leaving: set[str] = set()
        self.fresh: dict[str, None] = {}
        self.unwanted: dict[str, None] = {}
        self.missing: dict[str, Ask] = {}
        self.audits: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many markets the venue has, or will have when it confirms."""
        return len(self.added) + len(self.adding)

    def expects(self, ticker: str) -> bool:
        """Say whether the venue sends this market's changes here, as far as we know."""
        return ticker in self.added or ticker in self.adding

    def want(self, ticker: str) -> None:
        """Want a market's book."""
        if ticker in self.wanted:
            return
        self.wanted.add(ticker)
        if ticker in self.unwanted:
            del self.unwanted[ticker]
            self.missing[ticker] = Ask()
        elif not self.expects(ticker):
            self.fresh[ticker] = None

    def drop(self, ticker: str) -> None:
        """Want a market's book no longer."""
        self.wanted.discard(ticker)
        self.missing.pop(ticker, None)
        self.audits.pop(ticker, None)
        self.fresh.pop(ticker, None)
        if self.expects(ticker) and ticker not in self.leaving:
            self.unwanted[ticker] = None

    def lost(self, ticker: str) -> None:
        """Note that a book is unknown from now on; one asked for already keeps its turn."""
        if ticker in self.added and ticker in self.wanted:
            asked = self.missing.get(ticker)
            if asked is None or not asked.tries:
                self.missing[ticker] = Ask()
            self.audits.pop(ticker, None)

    def got(self, ticker: str) -> None:
        """Note that a full book has arrived: the venue has the market."""
        self.missing.pop(ticker, None)
        if ticker in self.adding:
            self.adding.discard(ticker)
            self.added.add(ticker)

    def take_fresh(self, most: int, now_ns: int, wait_ns: int) -> list[str]:
        """Return up to ``most`` markets to add now; their books are awaited for ``wait_ns``."""
        taken = list(islice(self.fresh, max(0, most)))
        for ticker in taken:
            del self.fresh[ticker]
            self.adding.add(ticker)
            self.missing[ticker] = Ask(now_ns, wait_ns)
        return taken

    def take_unwanted(self, most: int) -> list[str]:
        """Return up to ``most`` confirmed markets to take away now."""
        taken = list(islice((ticker for ticker in self.unwanted if ticker in self.added), most))
        for ticker in taken:
            del self.unwanted[ticker]
        self.leaving.update(taken)
        return taken

    def due(self, most: int, now_ns: int) -> list[str]:
        """Return up to ``most`` confirmed markets whose book has been awaited long enough."""
        return [
            ticker
            for ticker, ask in self.missing.items()
            if now_ns - ask.at_ns >= ask.wait_ns and ticker in self.added and ticker not in self.leaving
        ][:most]

    def confirm(self, tickers: Iterable[str]) -> None:
        """Note that the venue has added markets."""
        confirmed = self.adding.intersection(tickers)
        self.added |= confirmed
        self.adding -= confirmed

    def deleted(self, tickers: Iterable[str]) -> None:
        """Note that the venue has taken markets away; one wanted again meanwhile is to be added anew."""
        for ticker in self.added.intersection(tickers):
            self.added.discard(ticker)
            self.leaving.discard(ticker)
            self.unwanted.pop(ticker, None)
            self.missing.pop(ticker, None)
            self.audits.pop(ticker, None)
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
                self.missing[ticker] = Ask()
            else:
                self.unwanted[ticker] = None

    def clear(self) -> None:
        """Note that the subscription has ended: every wanted market is to be added anew."""
        for known in (self.adding, self.added, self.leaving, self.unwanted, self.missing, self.audits):
            known.clear()
        self.fresh = dict.fromkeys(sorted(self.wanted))
