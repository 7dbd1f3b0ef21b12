"""Void rows by columns equal the rule read word by word, whatever was logged in whatever order."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from book.records import Kind
from lake.schemas import ORDERBOOK
from lake.settling.columns import BookColumns, book_columns
from lake.settling.withdrawals import void_rows


class Logged(NamedTuple):
    """A row; an ``early`` close was logged at its place but is not among the hour's rows."""

    ticker: str
    conn: int
    ts_recv: int
    seq: int
    kind: int
    early: bool

    @property
    def apart(self) -> bool:
        return self.early and self.kind == Kind.CLOSE

    @property
    def key(self) -> tuple[int, int, int, int]:
        return (self.ts_recv, self.conn, self.seq, self.kind)


logs = st.lists(
    st.builds(
        Logged,
        ticker=st.sampled_from("AAAB"),
        conn=st.sampled_from((0, 0, 0, 1)),
        ts_recv=st.integers(0, 5),
        seq=st.integers(0, 5),
        kind=st.sampled_from([*(int(kind) for kind in Kind), int(Kind.CLOSE)]),
        early=st.booleans(),
    ),
    max_size=25,
)


def _columns(rows: list[Logged]) -> BookColumns:
    arrays = []
    for field in ORDERBOOK:
        values = [getattr(row, field.name, None) for row in rows]
        array = pa.array(values, pa.utf8()).dictionary_encode() if field.name == "ticker" else None
        arrays.append(pa.array(values, field.type) if array is None else array)
    return book_columns(pa.table(arrays, names=ORDERBOOK.names))


@given(logs)
@settings(deadline=None, max_examples=300)
def test_rows_are_void_as_the_rule_says(logged: list[Logged]) -> None:
    own = [row for row in logged if not row.apart]
    early = [(at, row) for at, row in enumerate(logged) if row.apart]
    before = np.array([sum(not row.apart for row in logged[:at]) for at, _ in early], np.int64)
    expected = []
    for at, row in enumerate(logged):
        closes = [one for one in logged[at + 1 :] if one.kind == Kind.CLOSE and one[:2] == row[:2]]
        after = [row.seq > one.seq or (row.kind == Kind.CHECKPOINT and row.key > one.key) for one in closes]
        if not row.apart:
            expected.append(row.kind in (Kind.SNAPSHOT, Kind.DELTA, Kind.CHECKPOINT) and any(after))
    assert void_rows(_columns(own), _columns([row for _, row in early]), before).tolist() == expected
