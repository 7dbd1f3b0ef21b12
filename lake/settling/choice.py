"""Which shard a market, or a table, of an hour is published from, where several have it.

Owns the rule: the one with the least unknown time, else the one published before, else the lowest. Reads coverage rows
and marks alone, so that anybody can choose again. Never moves a row.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from book.records import HOUR_US, Reason
from lake import paths
from lake.settling.columns import integers
from lake.settling.feeds import unknown_us
from lake.settling.ledger import BOOK
from lake.settling.sources import Source
from lake.settling.standing import OTHER

Stretch = tuple[int, int]
_NEVER_US = 1 << 62
KNOWN = ("known", OTHER + "known")
GAP = ("gap", OTHER + "gap")


def choose(known_us: Mapping[int, int], before: int | None) -> int:
    """Return the shard with the most known time of one market or table; ``before`` was published in the hour before.

    All shards are measured against the same life, so that the most known is the least unknown.
    """
    return min(known_us, key=lambda shard: (-known_us[shard], shard != before, shard))


def known_times(coverage: pa.Table) -> dict[str, dict[int, int]]:
    """Return how long each shard knew each market in an hour, in microseconds, by ticker and shard.

    ``coverage`` are the hour's rows of the states of a market, of every shard, and of conns and silences. Known is a
    stretch in which the book was followed, as far as its conn was heard and outside of its silences; once one shard has
    seen the market's end, nothing of it is. Cost: about 3 us a row.
    """
    told = _Told(coverage)
    over: dict[str, int] = {}
    for ticker, state, _, _, _, to_us, reason in told.rows:
        if state in KNOWN and reason == Reason.MARKET_CLOSED:
            over[ticker] = min(to_us, over.get(ticker, _NEVER_US))
    found: dict[str, dict[int, int]] = {}
    for ticker, state, shard, conn, from_us, to_us, _ in told.rows:
        if state in KNOWN or state in GAP:
            of_market = found.setdefault(ticker, {})
            known_us = told.known_us(conn, from_us, min(to_us, over.get(ticker, _NEVER_US))) if state in KNOWN else 0
            of_market[shard] = of_market.get(shard, 0) + known_us
    return found


class _Told:
    """The coverage rows of an hour as plain values."""

    def __init__(self, coverage: pa.Table) -> None:
        told = pc.is_in(coverage["state"], pa.array([*KNOWN, *GAP, "conn", "silence"]))
        rows = coverage.filter(pc.and_(told, pc.equal(coverage["channel"], BOOK)))
        names = ("ticker", "state", "shard", "conn")
        columns = [rows[name].to_pylist() for name in names]
        columns += [integers(rows[name]).tolist() for name in ("ts_from", "ts_to")]
        self.rows: list[tuple[str, str, int, int, int, int, str | None]] = list(
            zip(*columns, rows["end_reason"].to_pylist(), strict=True)
        )
        self._heard = {conn: to_us for _, state, _, conn, _, to_us, _ in self.rows if state == "conn"}
        self._silent: dict[int, list[Stretch]] = {}
        for _, state, _, conn, from_us, to_us, _ in self.rows:
            if state == "silence":
                self._silent.setdefault(conn, []).append((from_us, to_us))

    def known_us(self, conn: int, from_us: int, to_us: int) -> int:
        """Return how much of a stretch on a conn is known."""
        to_us = min(to_us, self._heard.get(conn, from_us))
        silent = ((max(start, from_us), min(end, to_us)) for start, end in self._silent.get(conn, ()))
        return max(0, to_us - from_us) - covered_us(silent)


def covered_us(stretches: Iterable[Stretch]) -> int:
    """Return how long stretches are together, once where they overlap; one that ends before it begins is none."""
    total, reached = 0, -_NEVER_US
    for from_us, to_us in sorted(stretches):
        total += max(0, to_us - max(from_us, reached))
        reached = max(reached, to_us)
    return total


def feed_known_us(source: Source, table: str) -> int:
    """Return how long a shard knew what a table holds, in microseconds of the hour: by the marks of its firehose.

    A log from before they were marked tells it by the conns that brought rows of it, as far as each was heard, and
    outside of their silences.
    """
    if table in source.feeds:
        return HOUR_US - unknown_us(source, table)
    rows = source.tables.get(table)
    if rows is None:
        return 0
    start_us, end_us = paths.hour_start_us(source.hour), paths.hour_start_us(source.hour + 1)
    known: list[Stretch] = []
    for conn in np.unique(integers(rows["conn"])).tolist():
        mark = source.conns.get(conn)
        heard_us = start_us if mark is None else min(mark.last_frame_us + 1, end_us)
        at_us = max(start_us, min((conn >> 10) * 1000, heard_us))
        for silence in sorted(one for one in source.silences if one.conn == conn):
            known.append((at_us, min(silence.from_us, heard_us)))
            at_us = max(at_us, silence.to_us)
        known.append((at_us, heard_us))
    return covered_us(known)
