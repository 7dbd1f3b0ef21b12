"""Which markets stand in published hours, and from which hour to which.

Owns the answer to "was it ever recorded, and when" for markets that an hour's coverage does not name. Read once, when
first asked for, and then as hours are published; never forgets a market, since an hour's new version keeps its rows.
"""

import polars as pl

from lake.publishing import parquet
from lake.publishing.shelf import Shelf
from lake.settling.coverage import EVERY
from query.ticker_table import TickerTable

_COLUMNS = {"ticker": pl.String, "first": pl.Int32, "last": pl.Int32}
_FILES_AT_ONCE = 256


class Directory:
    """The first and the last published hour of each market."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._read: dict[int, tuple[str, ...]] = {}
        self._spans = TickerTable(_COLUMNS, _widest)
        self._looked = -1

    def span(self, ticker: str) -> tuple[int, int] | None:
        """Return the first and last hour whose coverage names a market, None where none does.

        There may be hours between them that do not. Raises CorruptError. Cost: reads one column of the coverage of
        every hour not looked at yet, about 1 ms each.
        """
        self._refresh()
        rows = self._spans.rows(ticker)
        if not rows:
            return None
        return min(row["first"] for row in rows), max(row["last"] for row in rows)

    def tickers(self) -> list[str]:
        """Return every market. Cost: as span, and a list as long as there are markets."""
        self._refresh()
        tickers: list[str] = self._spans.frame()["ticker"].to_list()
        return tickers

    @property
    def size_bytes(self) -> int:
        """About how much memory the markets take."""
        return self._spans.size_bytes

    def _refresh(self) -> None:
        if self._shelf.manifest_number() == self._looked:
            return
        found: list[pl.DataFrame] = []
        for hour in self._shelf.hours():
            files = self._shelf.coverage_files(hour)
            if self._read.get(hour) != files:
                found += [self._named(hour, file) for file in files]
                self._read[hour] = files
            if len(found) >= _FILES_AT_ONCE:
                self._spans.add(pl.concat(found))
                found = []
        if found:
            self._spans.add(pl.concat(found))
        self._looked = self._shelf.manifest_number()

    def _named(self, hour: int, file: str) -> pl.DataFrame:
        """Return the markets that a file of an hour's coverage names."""
        column = parquet.read_file(self._shelf.path("coverage", file), "coverage", ["ticker"])["ticker"]
        tickers = pl.Series("ticker", column.unique().to_pylist(), pl.String)
        rows = pl.DataFrame([tickers]).filter(pl.col("ticker") != EVERY)
        return rows.with_columns(first=pl.lit(hour, pl.Int32), last=pl.lit(hour, pl.Int32))


def _widest(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("ticker").agg(pl.col("first").min(), pl.col("last").max())
