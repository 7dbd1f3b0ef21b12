"""Books out of the earlier hours of a shard's log.

Owns where the book of a quiet market is found: at the last snapshot or checkpoint before an hour, in that shard's own
log. Never decides whether it still holds, and never writes.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from book.records import Kind, Level
from lake import paths
from lake.journal.reader import NO_INSTANT
from lake.schemas import ORDERBOOK
from lake.settling.columns import BookColumns, book_columns, groups, integers, level_columns
from lake.settling.fold import Stretches, fold
from lake.settling.logged import LoggedBook
from lake.settling.sources import read_source

LOOKED_BACK_HOURS = 26
"""There is a checkpoint of every living book at each midnight, written at a bounded pace."""
_SIDE_BITS = 14


class Reached(NamedTuple):
    """A book as it stood: the conn and seq of its last record, its greatest ts_exch (None: none), its levels."""

    conn: int
    seq: int
    exch_us: int | None
    levels: list[Level]


Books = Callable[[int, int, Collection[str]], dict[str, Reached]]
"""Give, for a shard and an hour, the books of some markets at the hour's first instant, of its log before that."""


def no_books(_shard: int, _hour: int, _tickers: Collection[str]) -> dict[str, Reached]:
    """Return no book: for logs of a single hour."""
    return {}


def books_before(
    home: Path,
    shard: int,
    hour: int,
    tickers: Collection[str],
    upto_flush: int | None = None,
    rebuilt: Mapping[int, int] | None = None,
) -> dict[str, Reached]:
    """Return the books of markets as a shard's log left them before an hour, without those that were closed by then.

    ``upto_flush`` and ``rebuilt`` are as read_source takes them. Raises CorruptError. Cost: reads the shard's hours
    backwards until each market is met, a day of them at most.
    """
    found: dict[str, Reached] = {}
    left = set(tickers)
    for number in reversed(paths.hours(home, shard)):
        if not left or number < hour - LOOKED_BACK_HOURS:
            break
        if number < hour:
            source = read_source(home, shard, number, upto_flush, rebuilt or {})
            book = LoggedBook(source, ORDERBOOK.empty_table()).published()
            book = book.filter(pc.is_in(book["ticker"], pa.array(sorted(left), pa.utf8())))
            columns = book_columns(book)
            found |= _last_books(book, columns)
            kind = columns.kind
            met = np.unique(columns.market[(kind != Kind.DELTA) & (kind != Kind.ORPHAN)]).tolist()
            left.difference_update(columns.names[place] for place in met)
    return found


def _last_books(book: pa.Table, columns: BookColumns) -> dict[str, Reached]:
    """Return the book of each market at the end of some rows, in published order, that is not closed there."""
    levels, exch_us = level_columns(book), integers(book["ts_exch"])
    marks = groups(columns)
    market = columns.market[marks.row]
    last = np.flatnonzero(np.append(market[1:] != market[:-1], True)[: len(market)])
    last = last[columns.kind[marks.row[last]] != Kind.CLOSE]
    start = marks.row[last]
    end = np.searchsorted(columns.market, columns.market[start], side="right")
    folded = fold(columns, levels, Stretches(start, marks.rows[last], end))
    cuts = np.searchsorted(folded.stretch, np.arange(len(last) + 1)).tolist()
    found: dict[str, Reached] = {}
    for place, (row, upto) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        own = slice(row, upto)
        counted = (columns.conn[own] == columns.conn[row]) & (columns.kind[own] != Kind.ORPHAN)
        shown_us = int(exch_us[own][counted].max())
        part = slice(cuts[place], cuts[place + 1])
        slots, sizes = folded.slot[part].tolist(), folded.qty_e2[part].tolist()
        found[columns.name(row)] = Reached(
            conn=int(columns.conn[row]),
            seq=int(columns.seq[own][counted].max()),
            exch_us=None if shown_us == NO_INSTANT else shown_us,
            levels=[
                (slot >> _SIDE_BITS, slot & ((1 << _SIDE_BITS) - 1), size)
                for slot, size in zip(slots, sizes, strict=True)
            ],
        )
    return found
