"""Rows of one market in sort order, read as far as they are wanted.

Owns the order within an hour: rows are handed out once no later part of it can hold an earlier one. Never decides
where a page ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from book.records import Kind
from lake import paths
from lake.journal.reader import NO_INSTANT
from query.feeds import fills_near
from query.group import POS_HOUR_BITS
from query.rows import PRICE_MASK, SIDE_BITS, BookRows
from query.shard import ShardLog

_TRADE_INSTANTS = ("ts_recv", "ts_exch")
_TRADE_FIELDS = ("conn", "seq", "yes_price_e4", "qty_e2", "taker_side", "block", "source")
_TWICE_WITHIN_US = 120_000_000
"""How long before a trade another conn may have brought the same one."""


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change of one level; ``kind`` is 1, or 4 for one that belongs to no known book."""

    ticker: str
    ts_us: int
    ts_exch_us: int | None
    conn: int
    seq: int
    kind: int
    side: int
    price_e4: int
    change_e2: int

    @property
    def key(self) -> tuple[int, int, int, int]:
        """The place in the order."""
        return self.ts_us, self.conn, self.seq, self.kind


@dataclass(frozen=True, slots=True)
class TradeRow:
    """A trade; a NO price is 10,000 - ``yes_price_e4``. ``seq`` is None where the venue gave none."""

    ticker: str
    trade_id: str
    ts_us: int
    ts_exch_us: int | None
    conn: int
    seq: int | None
    yes_price_e4: int
    qty_e2: int
    taker_side: int | None
    block: bool | None
    source: str

    @property
    def key(self) -> tuple[int, int, int, int]:
        """The place in the order."""
        return self.ts_us, self.conn, self.seq if self.seq is not None else -1, 0


def changes_from(shard: ShardLog, ticker: str, start_us: int, end_us: int, *, orphans: bool) -> Iterator[ChangeRow]:
    """Yield a market's changes received in [start_us, end_us) in order; a withdrawn one is an orphan.

    Cost: decodes batches or row groups as rows are asked for.
    """
    history = shard.history(ticker)
    for hour in history.hours_up(paths.hour_of(start_us)):
        if hour > paths.hour_of(end_us - 1):
            break
        withdrawals = history.settled(hour).withdrawals
        waiting: list[ChangeRow] = []
        for rows, until_us in shard.book(hour).changes(ticker, start_us, end_us):
            change = (rows.kind == Kind.DELTA) | (rows.kind == Kind.ORPHAN)
            rows = rows.where(change & (rows.ts_us >= start_us) & (rows.ts_us < end_us))
            orphan = rows.kind == Kind.ORPHAN
            for conn in np.unique(rows.conn).tolist():
                if withdrawals.touches(conn):
                    own = rows.conn == conn
                    pos = rows.row[own] + (hour << POS_HOUR_BITS)
                    orphan[own] |= withdrawals.hidden(conn, pos, rows.seq[own])
            waiting += (
                _change_rows(ticker, rows, orphan) if orphans else _change_rows(ticker, rows.where(~orphan), None)
            )
            waiting.sort(key=lambda row: (*row.key, row.side, row.price_e4))
            safe = _count_before(waiting, until_us)
            yield from waiting[:safe]
            del waiting[:safe]
        yield from waiting


def trades_from(
    shard: ShardLog, ticker: str, start_us: int, end_us: int, *, after_us: int | None = None
) -> Iterator[TradeRow]:
    """Yield a market's trades received in [start_us, end_us) in order, each trade_id once, the earliest.

    Behind them come those that were learned later, when a lapse was filled, and that the exchange stamped in the range.
    With ``after_us`` trades received before that instant are left out. Cost: decodes batches or row groups as rows are
    asked for, from two minutes before the start; where a lapse near the range was filled, the trades of the range
    once more, and of the hours of the fills.
    """
    yield from _received(shard, ticker, max(start_us, after_us or start_us), end_us)
    hours = dict.fromkeys(hour for hour, _ in fills_near(shard, "trades", start_us, end_us))
    if not hours:
        return
    seen = {row.trade_id for row in _received(shard, ticker, start_us - _TWICE_WITHIN_US, end_us)}
    learned = [
        row
        for hour in hours
        for table, _ in shard.book(hour).trades(ticker, *_bounds(hour))
        for row in _trade_rows(ticker, table)
        if row.source == "rest" and row.ts_us >= end_us and start_us <= (row.ts_exch_us or 0) < end_us
    ]
    yield from _once(sorted(learned, key=_trade_place), seen, after_us or start_us)


def _trade_place(row: TradeRow) -> tuple[tuple[int, int, int, int], str]:
    """Return a trade's place; those learned at once have no numbers, and are told apart by their ids."""
    return row.key, row.trade_id


def _bounds(hour: int) -> tuple[int, int]:
    return paths.hour_start_us(hour), paths.hour_start_us(hour + 1)


def _received(shard: ShardLog, ticker: str, start_us: int, end_us: int) -> Iterator[TradeRow]:
    seen: set[str] = set()
    for hour in shard.hours_between(start_us - _TWICE_WITHIN_US, end_us - 1):
        waiting: list[TradeRow] = []
        for table, until_us in shard.book(hour).trades(ticker, start_us - _TWICE_WITHIN_US, end_us):
            waiting += [row for row in _trade_rows(ticker, table) if row.ts_us < end_us]
            waiting.sort(key=_trade_place)
            safe = _count_before(waiting, until_us)
            yield from _once(waiting[:safe], seen, start_us)
            del waiting[:safe]
        yield from _once(waiting, seen, start_us)


def _once(rows: list[TradeRow], seen: set[str], start_us: int) -> Iterator[TradeRow]:
    for row in rows:
        if row.trade_id not in seen and row.ts_us >= start_us:
            yield row
        seen.add(row.trade_id)


def _count_before(rows: list[ChangeRow] | list[TradeRow], least_us: int) -> int:
    count = len(rows)
    while count and rows[count - 1].ts_us >= least_us:
        count -= 1
    return count


def _change_rows(ticker: str, rows: BookRows, orphan: NDArray[np.bool_] | None) -> list[ChangeRow]:
    count = len(rows)
    kinds = [int(Kind.DELTA)] * count if orphan is None else np.where(orphan, Kind.ORPHAN, Kind.DELTA).tolist()
    sides, prices_e4 = rows.level >> SIDE_BITS, rows.level & PRICE_MASK
    columns = (rows.ts_us, rows.exch_us, rows.conn, rows.seq, sides, prices_e4, rows.qty_e2)
    return [
        ChangeRow(ticker, ts_us, None if exch_us == NO_INSTANT else exch_us, conn, seq, kind, side, price_e4, change_e2)
        for kind, (ts_us, exch_us, conn, seq, side, price_e4, change_e2) in zip(
            kinds, zip(*(column.tolist() for column in columns), strict=True), strict=True
        )
    ]


def _trade_rows(ticker: str, table: pa.Table) -> list[TradeRow]:
    instants = (table.column(name).cast("int64").to_pylist() for name in _TRADE_INSTANTS)
    others = (table.column(name).to_pylist() for name in _TRADE_FIELDS)
    ids = table.column("trade_id").to_pylist()
    return [TradeRow(ticker, *fields) for fields in zip(ids, *instants, *others, strict=True)]
