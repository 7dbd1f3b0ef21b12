"""Buffers into record batches: order, nulls, types."""

import numpy as np
import pyarrow as pa

from book.records import Kind, Reason
from book.wire.batch import NO_TIME_US
from collector.rows import OrderbookRows, TableRows, pieces
from lake.schemas import TABLES


def ints(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def test_rows_come_out_in_the_order_they_went_in_whatever_way_that_was() -> None:
    rows = OrderbookRows(["A", "B"])
    rows.add_book(Kind.SNAPSHOT, 1, 10, NO_TIME_US, 7, 1, ((0, 4500, 100), (1, 5000, 200)))
    rows.add_changes(
        Kind.DELTA, ints(0, 1), ints(11, 12), ints(9, NO_TIME_US), 7, ints(2, 3), ints(0, 1), ints(1, 2), ints(5, -1)
    )
    rows.add_change(Kind.ORPHAN, 0, 13, 8, 7, 4, (1, 10_000, -7))
    rows.add_close(1, 14, 7, 4, Reason.SEQ_GAP)
    rows.add_changes(Kind.ORPHAN, ints(1), ints(15), ints(3), 8, ints(5), ints(0), ints(0), ints(-1))
    assert rows.count == 7
    batch = rows.take()
    assert batch is not None
    assert batch.schema.equals(TABLES["orderbook"])
    columns = [
        batch[name].to_pylist() for name in ("ticker", "conn", "seq", "kind", "side", "price_e4", "qty_e2", "reason")
    ]
    assert list(zip(*columns, strict=True)) == [
        ("B", 7, 1, 0, 0, 4500, 100, None),
        ("B", 7, 1, 0, 1, 5000, 200, None),
        ("A", 7, 2, 1, 0, 1, 5, None),
        ("B", 7, 3, 1, 1, 2, -1, None),
        ("A", 7, 4, 4, 1, 10_000, -7, None),
        ("B", 7, 4, 3, None, None, None, "seq_gap"),
        ("B", 8, 5, 4, 0, 0, -1, None),
    ]  # fmt: skip
    assert batch["ts_recv"].cast(pa.int64()).to_pylist() == [10, 10, 11, 12, 13, 14, 15]
    assert batch["ts_exch"].cast(pa.int64()).to_pylist() == [None, None, 9, None, 8, None, 3]


def test_an_empty_book_is_one_row_of_nulls() -> None:
    rows = OrderbookRows(["A"])
    rows.add_book(Kind.CHECKPOINT, 0, 10, 5, 7, 1, ())
    batch = rows.take()
    assert batch is not None
    (row,) = batch.to_pylist()
    assert (row["kind"], row["side"], row["price_e4"], row["qty_e2"]) == (2, None, None, None)


def test_taking_begins_anew_and_markets_may_come_later() -> None:
    names = ["A"]
    rows = OrderbookRows(names)
    assert rows.take() is None
    rows.add_close(0, 1, 7, 1, Reason.CRASH)
    assert rows.take() is not None
    assert rows.count == 0
    assert rows.take() is None
    names += ["B", "C"]
    rows.renamed()
    rows.add_close(2, 2, 7, 1, Reason.CRASH)
    batch = rows.take()
    assert batch is not None
    assert batch["ticker"].to_pylist() == ["C"]


def test_every_reason_has_its_word() -> None:
    rows = OrderbookRows(["A"])
    for reason in Reason:
        rows.add_close(0, 1, 7, 1, reason)
    batch = rows.take()
    assert batch is not None
    assert batch["reason"].to_pylist() == [reason.value for reason in Reason]


def test_a_large_batch_is_cut_between_groups_only() -> None:
    rows = OrderbookRows([f"M{number}" for number in range(40)])
    groups = []
    for number in range(40):
        size = 25 if number == 7 else number % 6
        levels = tuple((0, 100 * price, 100) for price in range(1, size + 1))
        rows.add_book(Kind.SNAPSHOT, number, 5, NO_TIME_US, 9, number + 1, levels)
        groups.append(max(1, size))
    batch = rows.take()
    assert batch is not None
    parts = list(pieces(batch, 10))
    assert pa.Table.from_batches(parts).to_pylist() == batch.to_pylist()
    seqs = [set(part.column("seq").to_pylist()) for part in parts]
    assert sum(map(len, seqs)) == len(groups), "a group stands in two parts"
    assert [part.num_rows for part in parts if part.num_rows > 10] == [25], "only a group larger than a part exceeds it"
    assert all(len(part.column("ticker").dictionary) == len(seq) for part, seq in zip(parts, seqs, strict=True))
    assert list(pieces(batch, batch.num_rows)) == [batch]


def test_a_slow_table_fills_what_is_left_out_with_null() -> None:
    rows = TableRows("trades")
    rows.add(ticker="A", trade_id="1", ts_recv=5, conn=7, yes_price_e4=4500, qty_e2=100, source="ws")
    rows.add(
        ticker="B", trade_id="2", ts_recv=6, ts_exch=4, conn=7, seq=3, yes_price_e4=1, qty_e2=2, taker_side=1,
        block=True, source="ws",
    )  # fmt: skip
    batch = rows.take()
    assert batch is not None
    assert batch.schema.equals(TABLES["trades"])
    first, second = batch.to_pylist()
    assert (first["seq"], first["ts_exch"], first["taker_side"], first["block"]) == (None, None, None, None)
    assert (second["seq"], second["taker_side"], second["block"], second["ticker"]) == (3, 1, True, "B")
    assert rows.take() is None


def test_many_rows_at_once_are_the_same_as_one_by_one() -> None:
    one, many = TableRows("audits"), TableRows("audits")
    for seq in (1, 2):
        one.add(ticker="A", conn=7, seq=seq, ts_recv=seq, digest_ours="x", digest_venue="y", equal=False)
    many.add_all(
        2, ticker=["A"] * 2, conn=[7] * 2, seq=[1, 2], ts_recv=[1, 2], digest_ours=["x"] * 2, digest_venue=["y"] * 2,
        equal=[False] * 2,
    )  # fmt: skip
    left, right = one.take(), many.take()
    assert left is not None
    assert left.equals(right)


def test_every_table_but_the_book_takes_rows() -> None:
    for table, schema in TABLES.items():
        if table != "orderbook":
            rows = TableRows(table)
            rows.add(**{field.name: _value(field.type) for field in schema})
            batch = rows.take()
            assert batch is not None
            assert batch.num_rows == 1


def _value(kind: pa.DataType) -> object:
    if pa.types.is_boolean(kind):
        return True
    if pa.types.is_binary(kind):
        return b"x"
    return "x" if pa.types.is_string(kind) or pa.types.is_dictionary(kind) else 1
