"""Where steps come from, as the player sees it.

Owns the interface, and the one that a plain sequence of steps is given. What a source is asked for besides its steps
(another pace, a halt, an empty book) is carried out by sources that make their own; a recording plays as it is.
"""

from collections.abc import Iterator
from typing import Protocol

from exchange.steps import Step


class Source(Protocol):
    """Steps in order of time, a few at a time, never ahead of it."""

    def next_us(self) -> int | None:
        """Return the instant at which something may happen next, None at the end."""

    def advance(self, until_us: int, most: int) -> list[Step]:
        """Return about ``most`` steps up to an instant, inclusive; fewer say that nothing else happens up to then."""

    def set_rate(self, messages_per_s: int, until_us: int) -> None:
        """Let the mean of changes and trades be another until an instant."""

    def halt(self, indexes: frozenset[int]) -> None:
        """Let nobody trade in the markets of these parts of the exchange, and in all others again."""

    def clear(self, ticker: str) -> None:
        """Take every order of a market as cancelled."""

    def trade(self, ticker: str, *, is_on: bool) -> None:
        """Let a market trade, or not."""

    def reprice(self, ticker: str, prices_e4: tuple[int, ...]) -> None:
        """Let later orders of a market be quoted on another grid."""


class Recorded:
    """A source that plays ``steps`` as they are."""

    def __init__(self, steps: Iterator[Step]) -> None:
        self._steps = steps
        self._next = next(steps, None)

    def next_us(self) -> int | None:
        """Return when the next step takes place."""
        return None if self._next is None else self._next.at_us

    def advance(self, until_us: int, most: int) -> list[Step]:
        """Return what is due."""
        found: list[Step] = []
        while self._next is not None and self._next.at_us <= until_us and len(found) < most:
            found.append(self._next)
            self._next = next(self._steps, None)
        return found

    def set_rate(self, messages_per_s: int, until_us: int) -> None:
        """Keep the recording's pace."""

    def halt(self, indexes: frozenset[int]) -> None:
        """Go on: what happens meanwhile is for the venue to hold back."""

    def clear(self, ticker: str) -> None:
        """Go on: changes that no longer fit are for the venue to refuse."""

    def trade(self, ticker: str, *, is_on: bool) -> None:
        """Go on: what is recorded takes place."""

    def reprice(self, ticker: str, prices_e4: tuple[int, ...]) -> None:
        """Keep the recording's prices."""
