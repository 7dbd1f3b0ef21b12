"""The true books, now and at any change that is still remembered.

Owns one counter of changes over all markets, each market's changes and its book at the beginning of each block of
them. Knows nothing of frames, connections or faults: a change that nobody was told of is here all the same.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable

from book.ladder import Book
from book.records import Level
from exchange.errors import RefusedError

BLOCK_CHANGES = 512
_MARKS_A_TIME = 4_096
_OLD_CHANGES = 32
"""So many changes of a market that nobody asks for any more are worth the work of forgetting them."""


class _Block:
    """Up to BLOCK_CHANGES changes after ``start_no``, at which the book was ``levels``."""

    __slots__ = ("changes_e2", "levels", "numbers", "prices_e4", "sides", "start_no")

    def __init__(self, start_no: int, levels: tuple[Level, ...]) -> None:
        self.start_no = start_no
        self.levels = levels
        self.numbers = array("q")
        self.sides = array("b")
        self.prices_e4 = array("i")
        self.changes_e2 = array("q")

    def add(self, number: int, side: int, price_e4: int, change_e2: int) -> None:
        self.numbers.append(number)
        self.sides.append(side)
        self.prices_e4.append(price_e4)
        self.changes_e2.append(change_e2)

    def without(self, count: int) -> "_Block":
        """Return the block without its first ``count`` changes."""
        number = self.numbers[count - 1]
        other = _Block(number, tuple(self.book_at(number).levels()))
        other.numbers, other.sides = self.numbers[count:], self.sides[count:]
        other.prices_e4, other.changes_e2 = self.prices_e4[count:], self.changes_e2[count:]
        return other

    def book_at(self, change_no: int) -> Book:
        book = Book(self.levels)
        for place in range(bisect_right(self.numbers, change_no)):
            book.apply(self.sides[place], self.prices_e4[place], self.changes_e2[place])
        return book


class _History:
    """One market: its book now, and the blocks that lead to it."""

    __slots__ = ("blocks", "book", "is_whole")

    def __init__(self, change_no: int, levels: tuple[Level, ...]) -> None:
        self.book = Book(levels)
        self.blocks = [_Block(change_no, levels)]
        self.is_whole = True
        """Whether the first block is still the market's first."""


class Truth:
    """The books of all markets. ``floor_no`` tells from which change on books are still asked for."""

    def __init__(self, floor_no: Callable[[], int] = lambda: 0) -> None:
        self.change_no = 0
        """The number of the last change of any book."""
        self._histories: dict[str, _History] = {}
        self._floor_no = floor_no
        self._marks_no = array("q")
        self._marks_us = array("q")
        self._rota: list[str] = []

    def __contains__(self, ticker: object) -> bool:
        """Say whether a market has a book."""
        return ticker in self._histories

    def book(self, ticker: str) -> Book | None:
        """Return a market's book as it is now, to be read only; None for a market that was never listed."""
        history = self._histories.get(ticker)
        return None if history is None else history.book

    def reset(self, ticker: str, levels: Iterable[Level]) -> None:
        """Make a market's book what ``levels`` says; lists it where it is new."""
        self.change_no += 1
        rows = tuple(sorted(levels))
        history = self._histories.get(ticker)
        if history is None:
            self._histories[ticker] = _History(self.change_no, rows)
        else:
            history.book = Book(rows)
            self._open_block(history, rows)

    def change(self, ticker: str, side: int, price_e4: int, change_e2: int) -> None:
        """Add a signed size to a level. Raises NegativeLevelError, nothing changed, where it would fall below zero."""
        history = self._histories[ticker]
        history.book.apply(side, price_e4, change_e2)
        self.change_no += 1
        block = history.blocks[-1]
        block.add(self.change_no, side, price_e4, change_e2)
        if len(block.numbers) >= BLOCK_CHANGES:
            self._open_block(history, tuple(history.book.levels()))

    def at(self, ticker: str, change_no: int) -> Book:
        """Return a market's book right after a change of any market; empty before it was listed.

        Raises RefusedError 404 for a market that was never listed, 410 where its changes are no longer remembered.
        Cost: up to BLOCK_CHANGES changes are summed.
        """
        history = self._histories.get(ticker)
        if history is None:
            raise RefusedError(404, "not_found", f"there is no market {ticker}")
        place = bisect_right(history.blocks, change_no, key=lambda block: block.start_no) - 1
        if place >= 0:
            return history.blocks[place].book_at(change_no)
        if history.is_whole:
            return Book()
        raise RefusedError(410, "dropped", f"the book of {ticker} at change {change_no} is no longer remembered")

    def mark(self, at_us: int) -> None:
        """Say what the clock shows, before changes take place; it never goes back."""
        if self._marks_us and at_us <= self._marks_us[-1]:
            return
        if self._marks_no and self._marks_no[-1] == self.change_no:
            self._marks_us[-1] = at_us
            return
        self._marks_no.append(self.change_no)
        self._marks_us.append(at_us)
        gone = bisect_right(self._marks_no, self._floor_no()) - 1
        if gone > _MARKS_A_TIME:
            del self._marks_no[:gone], self._marks_us[:gone]

    def change_at(self, at_us: int) -> int:
        """Return the number of the last change up to an instant of the clock, inclusive.

        Raises RefusedError 410 where that is no longer remembered.
        """
        place = bisect_right(self._marks_us, at_us)
        if place == len(self._marks_us):
            return self.change_no
        if place == 0 and self._floor_no() > 0:
            raise RefusedError(410, "dropped", f"the books at {at_us} are no longer remembered")
        return self._marks_no[place]

    def sweep(self, count: int) -> None:
        """Forget what is too old of the next ``count`` markets, in turn: quiet ones forget by themselves too rarely."""
        for _ in range(min(count, len(self._histories))):
            if not self._rota:
                self._rota = list(self._histories)
            history = self._histories[self._rota.pop()]
            self._trim(history)
            old = bisect_right(history.blocks[0].numbers, self._floor_no())
            if old >= _OLD_CHANGES:
                history.blocks[0] = history.blocks[0].without(old)
                history.is_whole = False

    def _open_block(self, history: _History, levels: tuple[Level, ...]) -> None:
        """Begin a block, and forget the leading ones that end before the oldest change asked for."""
        history.blocks.append(_Block(self.change_no, levels))
        self._trim(history)

    def _trim(self, history: _History) -> None:
        blocks, floor_no = history.blocks, self._floor_no()
        needed = next(i for i, _ in enumerate(blocks) if i + 1 == len(blocks) or blocks[i + 1].start_no > floor_no)
        if needed:
            del blocks[:needed]
            history.is_whole = False
