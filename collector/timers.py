"""When each market opens and closes: the venue says neither on its feed.

Owns the times told of markets and what falls due. Reads no clock; times are microseconds of the clock that stamps.
"""

import heapq
from typing import NamedTuple


class Times(NamedTuple):
    """From when to when a market is open, and which of the venue's shards has it."""

    open_us: int
    close_us: int
    exchange_index: int


class _Alarm:
    """Tickers by time; a ticker may stand at several, and what no longer counts is for the caller to tell."""

    def __init__(self) -> None:
        self.heap: list[tuple[int, str]] = []

    def set(self, at_us: int, ticker: str) -> None:
        heapq.heappush(self.heap, (at_us, ticker))

    def due(self, now_us: int) -> list[tuple[int, str]]:
        found = []
        while self.heap and self.heap[0][0] <= now_us:
            found.append(heapq.heappop(self.heap))
        return found

    def keep(self, known: dict[str, Times]) -> None:
        """Drop what is about markets not known any more, once that is most of it."""
        if len(self.heap) > 2 * len(known) + 64:
            self.heap = [entry for entry in set(self.heap) if entry[1] in known]
            heapq.heapify(self.heap)


class Timers:
    """The times of every market that is to be recorded."""

    def __init__(self) -> None:
        self.times: dict[str, Times] = {}
        self._openings = _Alarm()
        self._endings = _Alarm()

    def __len__(self) -> int:
        """Return how many alarms are set."""
        return len(self._openings.heap) + len(self._endings.heap)

    def set(self, ticker: str, times: Times) -> bool:
        """Note a market's times; False where they were known."""
        if self.times.get(ticker) == times:
            return False
        self.times[ticker] = times
        self._openings.set(times.open_us, ticker)
        self._endings.set(times.close_us, ticker)
        self._openings.keep(self.times)
        self._endings.keep(self.times)
        return True

    def reschedule(self, ticker: str, close_us: int) -> None:
        """Look at a market again when it now closes."""
        if ticker in self.times:
            self._endings.set(close_us, ticker)
            self._endings.keep(self.times)

    def forget(self, ticker: str) -> None:
        """Expect nothing more of a market."""
        self.times.pop(ticker, None)

    def opening(self, now_us: int) -> list[str]:
        """Take the markets that are open since their last telling."""
        due = self._openings.due(now_us)
        return [ticker for at_us, ticker in due if ticker in self.times and self.times[ticker].open_us == at_us]

    def ending(self, now_us: int) -> list[str]:
        """Take the markets that may have closed at or before a time."""
        return [ticker for _, ticker in self._endings.due(now_us) if ticker in self.times]
