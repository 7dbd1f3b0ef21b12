"""The same questions through DuckDB and the lake's macros, judged by the exchange's own books.

Owns the asking. A market's conn and seq come from ``book_state``; its levels from ``book_at``.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from query.sql.session import Session
from tests.e2e.oracle import Oracle, text_of

LEVEL = "SELECT side, price_e4, qty_e2 FROM book_at($1, $2)"
STATE = "SELECT state, conn, seq, digest FROM book_state($1, $2)"


class SqlLake:
    """A lake's views and macros in a DuckDB of its own."""

    def __init__(self, lake: Path) -> None:
        self._session = Session(lake)
        self.tally: Counter[str] = Counter()

    @property
    def books(self) -> int:
        """Return how many questions were answered with a book."""
        return self.tally["known"]

    def wrong(self, oracle: Oracle, ticker: str, at_us: int) -> str | None:
        """Ask for a market's book and say what is wrong with it; None where it is right or not known."""
        when = text_of(at_us)
        state, conn, seq, digest = self._rows(STATE, ticker, when)[0]
        self.tally[state] += 1
        levels = self._rows(LEVEL, ticker, when)
        if state != "known":
            return f"{ticker} at {at_us}: {state}, and {len(levels)} levels" if levels else None
        answer: dict[str, Any] = {
            "market_ticker": ticker,
            "quality": {"complete": True, "gap": None, "conn": conn, "seq": seq, "digest": digest},
            "yes": [_level(row) for row in levels if row[0] == 0],
            "no": [_level(row) for row in levels if row[0] == 1],
        }
        found = oracle.wrong(answer, at_us)
        return f"{ticker} at {at_us}: {found}" if found else None

    def _rows(self, question: str, *values: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._session.connection.execute(question, list(values)).fetchall()
        return rows


def _level(row: tuple[Any, ...]) -> dict[str, str]:
    """Return a level as the HTTP answers have it: cents and contracts, exact decimal text."""
    _, price_e4, qty_e2 = row
    return {"price": f"{price_e4 // 100}.{price_e4 % 100:02d}", "quantity": f"{qty_e2 // 100}.{qty_e2 % 100:02d}"}
