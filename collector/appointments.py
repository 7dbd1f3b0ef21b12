"""When each market is to be looked up by name: after it opens or closes, of which the venue says nothing by itself.

Owns the times and how they are put off. Times are microseconds of the clock shown. Never asks the venue.
"""

import heapq

SECOND_US = 1_000_000
AFTER_US = 2 * SECOND_US
"""How long after an opening or closing the venue's documents are expected to show it."""
FIRST_WAIT_US = 60 * SECOND_US
LONGEST_WAIT_US = 24 * 3600 * SECOND_US


class Appointments:
    """One appointment a market at most."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._waits: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        """Return how many markets have one."""
        return len(self._at)

    def __contains__(self, ticker: str) -> bool:
        """Say whether a market has one."""
        return ticker in self._at

    def expect(self, ticker: str, change_us: int) -> None:
        """Look a market up soon after an instant at which it is said to change."""
        self._waits.pop(ticker, None)
        self._plan(ticker, change_us + AFTER_US)

    def put_off(self, ticker: str, now_us: int) -> None:
        """Look a market up again later: a minute, and twice as long each time, up to a day."""
        wait_us = self._waits.get(ticker, FIRST_WAIT_US)
        self._waits[ticker] = min(LONGEST_WAIT_US, 2 * wait_us)
        self._plan(ticker, now_us + wait_us)

    def at_once(self, ticker: str, now_us: int) -> None:
        """Look a market up now, unless it has an appointment."""
        if ticker not in self._at:
            self._plan(ticker, now_us)

    def cancel(self, ticker: str) -> None:
        """Look a market up no more."""
        self._at.pop(ticker, None)
        self._waits.pop(ticker, None)

    def due(self, now_us: int, most: int) -> list[str]:
        """Take up to ``most`` markets whose time has come. Cost: log n for each appointment ever planned."""
        found: list[str] = []
        while self._heap and self._heap[0][0] <= now_us and len(found) < most:
            at_us, ticker = heapq.heappop(self._heap)
            if self._at.get(ticker) == at_us:
                del self._at[ticker]
                found.append(ticker)
        return found

    def _plan(self, ticker: str, at_us: int) -> None:
        if self._at.get(ticker) == at_us:
            return
        self._at[ticker] = at_us
        heapq.heappush(self._heap, (at_us, ticker))
        if len(self._heap) > 2 * len(self._at) + 1000:
            self._heap = [(at_us, ticker) for ticker, at_us in self._at.items()]
            heapq.heapify(self._heap)
