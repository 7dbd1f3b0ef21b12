"""What was changed in published hours: the rows of the corrections table, in order of publication.

Owns the question and its pages. Reads the files of publications that coverage holds alone, so that a correction is
told when its hour's new version stands and not before.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from lake.publishing import manifest
from lake.publishing.shelf import Shelf
from query import cursor as cursors

_TABLE = "corrections"
_COLUMNS = ("ts", "hour", "ticker", "reason", "detail", "old_version", "new_version", "manifest")


@dataclass(frozen=True, slots=True)
class Correction:
    """A published hour's new version and what it changed; ``ticker`` is None where it is not about one market.

    ``ts_us`` is when the new version was published, ``hour_us`` the first instant of the hour.
    """

    ts_us: int
    hour_us: int
    ticker: str | None
    reason: str
    detail: str
    old_version: int
    new_version: int


@dataclass(frozen=True, slots=True)
class CorrectionPage:
    """A page of corrections, ascending by publication, hour and market."""

    corrections: list[Correction]
    next_cursor: str | None
    has_more: bool


class _Publication(NamedTuple):
    """A publication that corrected something: its number, its time, its files of corrections."""

    number: int
    at_us: int
    files: list[str]


class CorrectionReader:
    """Answers for one lake; safe for many threads."""

    def __init__(self, lake: Path) -> None:
        """Read the lake under ``lake``, which need not be there yet."""
        self._lake = lake
        self._shelf = Shelf(lake, cache_bytes=0)
        self._taken_in = 0
        self._found: list[_Publication] = []
        self._lock = Lock()

    def page(self, since_us: int | None, limit: int, cursor: str | None) -> CorrectionPage:
        """Return the first ``limit`` corrections published at ``since_us`` or later, or those after ``cursor``.

        Raises ApiError invalid_cursor, CorruptError. Cost: one small read for each publication since the last call,
        and the files of the page.
        """
        asked = cursors.question(_TABLE, since_us)
        number, after = 0, -1
        if cursor is not None:
            place = cursors.decode(cursor, asked)
            number, after = place.conn, place.seq
        found = list(islice(self._from(since_us, number, after), limit + 1))
        has_more = len(found) > limit
        page = found[:limit]
        last = cursors.encode(cursors.Cursor(asked, 0, page[-1][1].ts_us, *page[-1][0], 0)) if has_more else None
        return CorrectionPage([correction for _, correction in page], last, has_more)

    def _from(self, since_us: int | None, number: int, after: int) -> Iterator[tuple[tuple[int, int], Correction]]:
        """Yield corrections, each with its place, behind the row ``after`` of publication ``number``."""
        publications = self._publications()
        first = bisect_left(publications, number, key=lambda one: one.number)
        if since_us is not None:  # publications are later the higher their number
            first = max(first, bisect_left(publications, since_us, key=lambda one: one.at_us))
        for publication in publications[first:]:
            for place, row in enumerate(self._rows(publication)):
                if (publication.number, place) > (number, after):
                    yield (publication.number, place), row

    def _publications(self) -> list[_Publication]:
        """Return the publications that coverage holds by now and that corrected something."""
        with self._lock:
            self._shelf.refresh()
            while self._taken_in < self._shelf.manifest_number():
                one = manifest.read(self._lake, self._taken_in + 1)
                files = [data.file for entry in one.hours for data in entry.files.get(_TABLE, ())]
                if files:
                    self._found.append(_Publication(one.n, one.at_us, files))
                self._taken_in += 1
            return self._found[:]

    def _rows(self, publication: _Publication) -> list[Correction]:
        """Return what a publication corrected; its files may repeat what an earlier one did."""
        rows: list[Correction] = []
        for name in publication.files:
            with pq.ParquetFile(self._shelf.path(_TABLE, name)) as file:
                table = file.read(columns=list(_COLUMNS))
            columns = [
                (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
                for column in (table[column] for column in _COLUMNS)
            ]
            rows += [Correction(*row[:-1]) for row in zip(*columns, strict=True) if row[-1] == publication.number]
        return sorted(rows, key=lambda row: (row.hour_us, row.ticker or "", row.detail))
