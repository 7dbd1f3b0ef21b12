"""One market's book as levels: the plain, exact model that everything else must equal.

Owns the arithmetic of a level. Knows no sequence numbers, stamps or spans.
"""

from collections.abc import Iterable

from book.digest import digest
from book.errors import NegativeLevelError
from book.records import Level


class Book:
    """A book of resting sizes by (side, price_e4); sizes are 1/100 contract and always above zero."""

    __slots__ = ("_qty",)

    def __init__(self, levels: Iterable[Level] = ()) -> None:
        """Build a book of (side, price_e4, qty_e2); zero sizes are dropped, a negative one is refused."""
        self._qty: dict[tuple[int, int], int] = {}
        for side, price_e4, qty_e2 in levels:
            self.apply(side, price_e4, qty_e2)

    def apply(self, side: int, price_e4: int, change_e2: int) -> int:
        """Add a signed change to a level and return its new size; zero removes the level.

        Raises NegativeLevelError, the book unchanged, where the level would fall below zero.
        """
        key = (side, price_e4)
        have_e2 = self._qty.get(key, 0)
        size_e2 = have_e2 + change_e2
        if size_e2 < 0:
            raise NegativeLevelError(side, price_e4, have_e2, change_e2)
        if size_e2:
            self._qty[key] = size_e2
        else:
            self._qty.pop(key, None)
        return size_e2

    def levels(self) -> list[Level]:
        """Return (side, price_e4, qty_e2), YES before NO, prices ascending."""
        return [(side, price_e4, qty_e2) for (side, price_e4), qty_e2 in sorted(self._qty.items())]

    def best(self, side: int) -> tuple[int, int] | None:
        """Return the highest bid of a side as (price_e4, qty_e2), None where the side is empty."""
        prices = [price_e4 for have, price_e4 in self._qty if have == side]
        return (max(prices), self._qty[side, max(prices)]) if prices else None

    def copy(self) -> "Book":
        """Return an independent copy."""
        other = Book()
        other._qty = dict(self._qty)
        return other

    def digest(self) -> str:
        """Return the book's digest (book.digest)."""
        return digest(self.levels())

    def __eq__(self, other: object) -> bool:
        """Say whether both books hold the same levels."""
        return isinstance(other, Book) and self._qty == other._qty

    __hash__ = None  # type: ignore[assignment]  # a book is mutable

    def __len__(self) -> int:
        """Return the number of levels."""
        return len(self._qty)

    def __repr__(self) -> str:
        """Show the levels."""
        return f"Book({self.levels()!r})"
