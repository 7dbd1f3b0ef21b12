"""The rota of audits on one subscription: when each known book is compared with the venue's next.

Owns the order and the rate. Sends nothing and reads no clock; times are monotonic nanoseconds, passed in. Each call
costs the logarithm of the number of books.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

NS = 1_000_000_000
SHARE = 0.75
"""An audit falls due after this share of its interval, so that it is answered within it."""
HASTE = 1.5
"""Audits go at most this many times as fast as would just reach every book in time."""
AGAIN_HASTE = 0.5
"""The same of books asked for in vain before: they never take the place of others."""
AGAIN_NS = 10 * NS
AGAIN_DOUBLINGS = 6
PERIOD_NS = NS


@dataclass(slots=True)
class _Turn:
    """When a book is due, and how often it has been asked for in vain."""

    due_ns: int
    tries: int = 0


class _Queue:
    """Books by the time they are due; what is no longer true is dropped when it comes up."""

    def __init__(self, haste: float) -> None:
        self.haste = haste
        self.credit = 1.0
        self.heap: list[tuple[int, str]] = []

    def earn(self, rate: float) -> None:
        """Earn a period's share of ``rate`` books a period; what is not used within a period is lost."""
        self.credit = min(self.credit + self.haste * rate, self.haste * rate + 1.0)


class Rota:
    """Books by when they are to be compared next."""

    def __init__(self, rng: random.Random, every_s: float) -> None:
        self._rng = rng
        self._every_ns = int(every_s * NS)
        self._turns: dict[str, _Turn] = {}
        self._first = _Queue(HASTE)
        self._again = _Queue(AGAIN_HASTE)
        self._next_ns = 0

    def __len__(self) -> int:
        """Return how many books are on the rota."""
        return len(self._turns)

    def __contains__(self, ticker: str) -> bool:
        """Say whether a book is on the rota."""
        return ticker in self._turns

    def known(self, ticker: str, now_ns: int) -> None:
        """Note that a full book has come: it is due again within the interval, a new one at a random time in it."""
        share = SHARE if ticker in self._turns else SHARE * self._rng.random()
        self._put(self._first, ticker, _Turn(now_ns + int(self._every_ns * share)))

    def forget(self, ticker: str) -> None:
        """Take a book off the rota."""
        self._turns.pop(ticker, None)

    def clear(self) -> None:
        """Take every book off."""
        self._turns.clear()
        self._first.heap.clear()
        self._again.heap.clear()

    def take(self, now_ns: int, most: int, muted: Callable[[str], bool]) -> list[str]:
        """Return the books to compare now, at most ``most``, once a period; ``muted`` ones wait and cost nothing."""
        if now_ns < self._next_ns or most <= 0:
            return []
        self._next_ns = now_ns + PERIOD_NS
        rate = len(self._turns) * PERIOD_NS / self._every_ns
        found: list[str] = []
        for queue in (self._first, self._again):
            queue.earn(rate)
            asked = self._due(queue, now_ns, min(most - len(found), int(queue.credit)), muted)
            queue.credit -= len(asked)
            found += asked
        for ticker in found:
            self.asked(ticker, now_ns)
        return found

    def asked(self, ticker: str, now_ns: int) -> None:
        """Note that a book is asked for; without an answer it is asked for again, less and less often."""
        turn = self._turns.get(ticker)
        if turn is not None:
            wait_ns = AGAIN_NS << min(turn.tries, AGAIN_DOUBLINGS)
            self._put(self._again, ticker, _Turn(now_ns + wait_ns, turn.tries + 1))

    def latest(self, count: int) -> list[str]:
        """Return the books that were heard of last. Cost: one pass over all."""
        turns = self._turns
        return heapq.nlargest(count, turns, key=lambda ticker: (-turns[ticker].tries, turns[ticker].due_ns))

    def _put(self, queue: _Queue, ticker: str, turn: _Turn) -> None:
        self._turns[ticker] = turn
        heapq.heappush(queue.heap, (turn.due_ns, ticker))
        if len(queue.heap) > 2 * len(self._turns) + 64:
            queue.heap = [entry for entry in queue.heap if self._is_due(queue, entry)]
            heapq.heapify(queue.heap)

    def _is_due(self, queue: _Queue, entry: tuple[int, str]) -> bool:
        turn = self._turns.get(entry[1])
        return turn is not None and turn.due_ns == entry[0] and bool(turn.tries) == (queue is self._again)

    def _due(self, queue: _Queue, now_ns: int, most: int, muted: Callable[[str], bool]) -> list[str]:
        found: list[str] = []
        while queue.heap and queue.heap[0][0] <= now_ns and len(found) < most:
            entry = heapq.heappop(queue.heap)
            if not self._is_due(queue, entry):
                continue
            if muted(entry[1]):
                self._put(self._again, entry[1], _Turn(now_ns + AGAIN_NS, 1))
            else:
                found.append(entry[1])
        return found
