"""Rows of a published table, looked at one by one: where they stand, and whether they can be what they say.

Owns the proof of order, hour and kind. What rows mean together is lake.settling.proof's.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from book.errors import CorruptError
from book.records import Kind
from book.units import MAX_PRICE_E4
from lake import paths
from lake.schemas import SORT_KEYS
from lake.settling.columns import Numbers, coded, integers

_STAMPS = {"markets": "valid_from", "events": "valid_from", "series": "valid_from"}
"""The column that says in which hour a row stands, where it is not ts_recv."""
_BELOW_ALL = np.iinfo(np.int64).min


def prove_rows(table: str, hour: int, rows: pa.Table) -> None:
    """Prove that rows ascend by the table's keys and are stamped in the hour. Raises CorruptError."""
    if not rows.num_rows:
        return
    if table == "corrections":
        hours = {value // 3_600_000_000 for value in integers(rows["hour"]).tolist()}
    else:
        stamps = integers(rows[_STAMPS.get(table, "ts_recv")])
        hours = {paths.hour_of(int(stamps.min())), paths.hour_of(int(stamps.max()))}
    if hours != {hour}:
        raise CorruptError(table, 0, "rows lie outside the hour")
    _prove_order(rows, SORT_KEYS[table])


def prove_kinds(orderbook: pa.Table) -> None:
    """Prove that each row has what its kind has: a close a reason, a change a level, a book its sizes.

    Raises CorruptError naming the first that has not.
    """
    kind = integers(orderbook["kind"])
    side, price_e4, qty_e2 = (integers(orderbook[name]) for name in ("side", "price_e4", "qty_e2"))
    has_reason, has_side, has_price, has_qty = (
        pc.is_valid(orderbook[name]).to_numpy() for name in ("reason", "side", "price_e4", "qty_e2")
    )
    is_close = kind == Kind.CLOSE
    is_change = (kind == Kind.DELTA) | (kind == Kind.ORPHAN)
    wrong = ~np.isin(kind, [int(one) for one in Kind]) | (has_reason != is_close)
    wrong |= (has_side != has_price) | (has_side != has_qty) | (has_side & is_close) | (~has_side & is_change)
    wrong |= (side < 0) | (side > 1) | (price_e4 < 0) | (price_e4 > MAX_PRICE_E4)
    wrong |= has_qty & np.where(is_change, qty_e2 == 0, qty_e2 <= 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise CorruptError("orderbook", 0, f"row {row} has not what a row of kind {int(kind[row])} has")


def _prove_order(rows: pa.Table, keys: Sequence[str]) -> None:
    undecided = np.ones(rows.num_rows - 1, bool)
    for key in keys:
        rank = _ranks(rows[key])
        if np.any(undecided & (rank[1:] < rank[:-1])):
            raise CorruptError("rows", 0, f"not in order of {', '.join(keys)}")
        undecided &= rank[1:] == rank[:-1]


def _ranks(column: pa.ChunkedArray) -> Numbers:
    """Return numbers that order as the values do, null below all of them."""
    if not pa.types.is_string(column.type):
        plain = column.cast(pa.int64())
        values: Numbers = pc.fill_null(plain, _BELOW_ALL).to_numpy()
        return values
    filled = pc.fill_null(column, "")
    ranks: Numbers = coded(filled)[1].astype(np.int64) * 2 + pc.is_valid(column).to_numpy()
    return ranks
