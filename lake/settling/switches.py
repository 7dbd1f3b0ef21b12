"""Where a market goes on from another shard than in the hour before.

Owns what is published there: a checkpoint at the hour's first instant where the chosen shard knew the book, else a
close, so that no reader goes back past it. Never chooses.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from book.digest import digest
from book.errors import PublishError
from book.records import Kind, Reason
from lake import paths
from lake.schemas import PUBLISHED
from lake.settling.columns import book_columns
from lake.settling.earlier import Books, Reached
from lake.settling.standing import Stand, Standing

NO_SEQ = 0
"""The seq of a close at a switch: before every message of its conn."""


def effective(standing: Standing, chosen: Mapping[str, int]) -> Standing:
    """Return what each market goes on from, where it is published from a shard chosen anew; ``chosen`` is by ticker.

    At a switch that is what the chosen shard knew itself, with no hour to look for its records in.
    """
    if not chosen:
        return standing
    markets = dict(standing.markets)
    for ticker in switched(standing, chosen):
        markets.pop(ticker, None)
        own = standing.others.get(chosen[ticker], {}).get(ticker)
        if own is not None:
            markets[ticker] = replace(own, record_hour=None)
    return Standing(markets, standing.others, standing.tables)


def switched(standing: Standing, chosen: Mapping[str, int]) -> list[str]:
    """Return the markets that are published from another shard than before, or were known to another one, ascending."""
    found = []
    for ticker, shard in sorted(chosen.items()):
        before = standing.markets.get(ticker)
        known = before is not None or ticker in standing.others.get(shard, {})
        if known and (before is None or before.shard != shard):
            found.append(ticker)
    return found


def switch_marks(standing: Standing, chosen: Mapping[str, int], hour: int) -> Iterator[dict[str, Any]]:
    """Yield what a coverage row of state switch says, for each market that is switched."""
    for ticker in switched(standing, chosen):
        start_us = paths.hour_start_us(hour)
        yield {
            "ticker": ticker, "state": "switch", "shard": chosen[ticker], "ts_from": start_us, "ts_to": start_us,
            "end_reason": Reason.SHARD_SWITCH.value,
        }  # fmt: skip


def switch_rows(
    hour: int, shard: int, tickers: Collection[str], book: pa.Table, standing: Standing, books: Books
) -> pa.Table:
    """Return the rows that markets need which are switched to a shard in an hour, published schema.

    ``book`` are the shard's own rows of them in published order, ``standing`` what stood before. A market with a
    snapshot, checkpoint or close at the hour's first instant needs none. Raises PublishError where a book that the
    shard is said to know is not in its log.
    """
    start_us = paths.hour_start_us(hour)
    columns = book_columns(book)
    at_start = (columns.ts_us == start_us) & (columns.kind != Kind.DELTA) & (columns.kind != Kind.ORPHAN)
    told = {columns.names[place] for place in np.unique(columns.market[at_start]).tolist()}
    own = standing.others.get(shard, {})
    living = sorted(ticker for ticker in tickers if ticker not in told and ticker in own and own[ticker].live)
    reached = books(shard, hour, living) if living else {}
    rows: list[dict[str, Any]] = []
    for ticker in sorted(set(tickers) - told):
        if ticker in living:
            rows += _checkpoint(hour, ticker, own[ticker], reached.get(ticker))
        else:
            first = columns.names.index(ticker) if ticker in columns.names else None
            conn = own[ticker].conn if ticker in own else int(columns.conn[columns.market == first][0])
            rows.append(
                {
                    "ticker": ticker,
                    "conn": conn,
                    "seq": NO_SEQ,
                    "kind": Kind.CLOSE,
                    "reason": _why(ticker, own, standing),
                }
            )
    columns_of = {"ts_recv": start_us}
    return pa.Table.from_pylist([columns_of | row for row in rows], schema=PUBLISHED["orderbook"])


def _why(ticker: str, own: Mapping[str, Stand], standing: Standing) -> str:
    """Return why the chosen shard has no book: as it says itself, else as was said before."""
    for stand in (own.get(ticker), standing.markets.get(ticker)):
        if stand is not None and stand.reason is not None:
            return stand.reason
    return Reason.SHARD_SWITCH.value


def _checkpoint(hour: int, ticker: str, stand: Stand, reached: Reached | None) -> list[dict[str, Any]]:
    if reached is None or reached.conn != stand.conn or digest(reached.levels) != stand.digest:
        raise PublishError(
            hour, f"the log of shard {stand.shard} does not hold the book of {ticker} that it had before"
        )
    key = {"ticker": ticker, "ts_exch": reached.exch_us, "conn": reached.conn, "seq": reached.seq}
    levels: Sequence[tuple[int | None, int | None, int | None]] = reached.levels or [(None, None, None)]
    return [
        key | {"kind": Kind.CHECKPOINT, "side": side, "price_e4": price_e4, "qty_e2": qty_e2}
        for side, price_e4, qty_e2 in levels
    ]
