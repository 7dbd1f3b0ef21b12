"""Which markets stand in published hours, and from which hour to which.

Owns the answer to "was it ever recorded, and when" for markets that an hour's coverage does not name. Read once, when
first asked for, and then as hours are published; never forgets a market, since an hour's new version keeps its rows.
"""

from lake.publishing import parquet
from lake.publishing.shelf import Shelf
from lake.settling.coverage import EVERY


class Directory:
    """The first and the last published hour of each market."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._read: dict[int, tuple[str, ...]] = {}
        self._spans: dict[str, tuple[int, int]] = {}
        self._looked = -1

    def span(self, ticker: str) -> tuple[int, int] | None:
        """Return the first and last hour whose coverage names a market, None where none does.

        There may be hours between them that do not. Raises CorruptError. Cost: reads one column of the coverage of
        every hour not looked at yet, about 1 ms each.
        """
        self._refresh()
        return self._spans.get(ticker)

    def tickers(self) -> list[str]:
        """Return every market. Cost: as span."""
        self._refresh()
        return list(self._spans)

    def _refresh(self) -> None:
        if self._shelf.manifest_number() == self._looked:
            return
        for hour in self._shelf.hours():
            files = self._shelf.coverage_files(hour)
            if self._read.get(hour) == files:
                continue
            for file in files:
                column = parquet.read_file(self._shelf.path("coverage", file), "coverage", ["ticker"])["ticker"]
                for ticker in column.unique().to_pylist():
                    first, last = self._spans.get(ticker, (hour, hour))
                    self._spans[ticker] = (min(first, hour), max(last, hour))
            self._read[hour] = files
        self._spans.pop(EVERY, None)
        self._looked = self._shelf.manifest_number()
