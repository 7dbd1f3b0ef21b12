"""What is written when: one case a rule."""

from typing import Any

import pytest

from book.records import DAY_US, HOUR_US, Kind, Reason
from book.wire.batch import NO_TIME_US
from collector.conns import Conn, ConnNumbers
from collector.spans import CHECKPOINT_EVERY, Spans

T0 = 20_000 * DAY_US + 5 * HOUR_US
BOOK = ((0, 4500, 100), (1, 5000, 200))


class Bench:
    """Spans with conns, and the rows written so far."""

    def __init__(self) -> None:
        self.spans = Spans()
        self.market = self.spans.market("M")

    def conn(self, number: int, ts_us: int = T0) -> Conn:
        conn = Conn(number, 1, number, "orderbook_delta", ts_us)
        self.spans.conns[number] = conn
        return conn

    def snapshot(self, conn: Conn, ts_us: int, seq: int, levels: tuple[Any, ...] = BOOK) -> None:
        self._heard(conn, ts_us, seq)
        self.spans.snapshot(conn, self.market, ts_us, seq, levels)

    def delta(self, conn: Conn, ts_us: int, seq: int, level: tuple[int, int, int], exch_us: int = NO_TIME_US) -> None:
        self._heard(conn, ts_us, seq)
        self.spans.delta(conn, self.market, ts_us, exch_us, seq, level)

    def _heard(self, conn: Conn, ts_us: int, seq: int) -> None:
        conn.frame_us, conn.order_us, conn.tracker.last = ts_us, ts_us, seq

    def rows(self) -> list[tuple[Any, ...]]:
        """Rows since the last call: (kind, ts - T0, conn, seq, level, reason)."""
        tables, _ = self.spans.take()
        batch = tables.get("orderbook")
        columns = [] if batch is None else [c.cast("int64").to_pylist() for c in (batch["ts_recv"],)]
        if batch is None:
            return []
        names = ("kind", "conn", "seq", "side", "price_e4", "qty_e2", "reason")
        kind, conn, seq, side, price, qty, reason = (batch[name].to_pylist() for name in names)
        level = [None if s is None else (s, p, q) for s, p, q in zip(side, price, qty, strict=True)]
        return list(zip(map(Kind, kind), [ts - T0 for ts in columns[0]], conn, seq, level, reason, strict=True))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_span_opens_with_a_snapshot_and_deltas_before_it_are_orphans(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.delta(conn, T0, 1, (0, 4500, 5))
    bench.snapshot(conn, T0 + 1, 2)
    bench.delta(conn, T0 + 2, 3, (0, 4500, -100))
    assert bench.rows() == [
        (Kind.ORPHAN, 0, 1, 1, (0, 4500, 5), None),
        (Kind.SNAPSHOT, 1, 1, 2, (0, 4500, 100), None),
        (Kind.SNAPSHOT, 1, 1, 2, (1, 5000, 200), None),
        (Kind.DELTA, 2, 1, 3, (0, 4500, -100), None),
    ]


def test_an_empty_book_is_one_row_without_a_level(bench: Bench) -> None:
    bench.snapshot(bench.conn(1), T0, 1, ())
    assert bench.rows() == [(Kind.SNAPSHOT, 0, 1, 1, None, None)]


def test_an_equal_audit_writes_no_book_and_moves_the_last_good_instant(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 1)
    bench.delta(conn, T0 + 10, 2, (0, 4500, 5))
    bench.snapshot(conn, T0 + 20, 3, ((0, 4500, 105), (1, 5000, 200)))
    bench.delta(conn, T0 + 30, 4, (0, 4500, 5))
    bench.rows()
    bench.snapshot(conn, T0 + 40, 5)
    close, *book = bench.rows()
    assert close == (Kind.CLOSE, 21, 1, 3, None, "audit_mismatch")
    assert [row[:2] for row in book] == [(Kind.SNAPSHOT, 40)] * 2


def test_audits_are_kept_with_both_digests(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 1)
    bench.snapshot(conn, T0 + 20, 2)
    bench.snapshot(conn, T0 + 30, 3, ())
    audits = bench.spans.take()[0]["audits"].to_pylist()
    assert [(row["seq"], row["equal"], row["digest_ours"] == row["digest_venue"]) for row in audits] == [
        (2, True, True),
        (3, False, False),
    ]


def test_an_empty_book_from_close_time_on_is_a_new_base(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.spans.state[bench.market]["close_us"] = T0 + 50
    bench.snapshot(conn, T0, 1)
    bench.rows()
    bench.snapshot(conn, T0 + 50, 2, ())
    assert bench.rows() == [(Kind.SNAPSHOT, 50, 1, 2, None, None)]
    assert "audits" not in bench.spans.take()[0]


def test_a_negative_level_withdraws_to_the_last_good_book(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 1)
    bench.delta(conn, T0, 2, (0, 4500, 1))
    bench.rows()
    bench.delta(conn, T0 + 9, 3, (0, 4400, -1))
    assert bench.rows() == [
        (Kind.CLOSE, 0, 1, 1, None, "negative_level"),
        (Kind.ORPHAN, 9, 1, 3, (0, 4400, -1), None),
    ]


def test_an_ended_conn_closes_after_its_last_good_moment(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 7)
    bench.rows()
    bench.spans.end_conn(conn, T0 + 100, T0 + 300, 9, Reason.DISCONNECT)
    assert bench.rows() == [(Kind.CLOSE, 101, 1, 9, None, "disconnect")]
    assert bench.spans.take()[1] == set()


def test_a_close_never_stands_after_what_revealed_it(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 7)
    bench.rows()
    bench.spans.end_conn(conn, T0 + 100, T0 + 100, 9, Reason.SEQ_GAP)
    assert bench.rows() == [(Kind.CLOSE, 100, 1, 9, None, "seq_gap")]


def test_a_larger_conn_takes_a_market_over_and_a_smaller_one_never_does(bench: Bench) -> None:
    old, new = bench.conn(1), bench.conn(2)
    bench.snapshot(old, T0, 5)
    bench.snapshot(new, T0 + 10, 1)
    bench.rows()
    bench.delta(old, T0 + 11, 6, (0, 4500, 1))
    bench.snapshot(old, T0 + 12, 7)
    assert bench.rows() == [(Kind.ORPHAN, 11, 1, 6, (0, 4500, 1), None)]
    bench.delta(new, T0 + 13, 2, (0, 4500, 1))
    assert bench.rows() == [(Kind.DELTA, 13, 2, 2, (0, 4500, 1), None)]


def test_a_move_closes_at_the_new_spans_stamp(bench: Bench) -> None:
    old, new = bench.conn(1), bench.conn(2)
    bench.snapshot(old, T0, 5)
    bench.rows()
    bench.snapshot(new, T0 + 10, 1)
    assert bench.rows()[0] == (Kind.CLOSE, 10, 1, 5, None, "moved")


def test_a_gap_reaches_a_span_that_ended_later_than_its_conn_was_good(bench: Bench) -> None:
    old, new = bench.conn(1), bench.conn(2)
    bench.snapshot(old, T0, 5)
    bench.snapshot(new, T0 + 10, 1)
    bench.rows()
    bench.spans.end_conn(old, T0 + 3, T0 + 20, 5, Reason.STALL)
    assert bench.rows() == [(Kind.CLOSE, 4, 1, 5, None, "stall")]
    bench.spans.end_conn(old, T0 + 3, T0 + 20, 5, Reason.STALL)
    assert bench.rows() == []


def test_a_clock_step_closes_every_span_after_the_last_stamp(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 5)
    bench.rows()
    bench.spans.clock_step(T0 + 7)
    assert bench.rows() == [(Kind.CLOSE, 8, 1, 5, None, "clock_step")]


def test_a_market_that_is_over_stays_over(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 5)
    bench.rows()
    bench.spans.determined(bench.market, T0 + 9)
    bench.spans.determined(bench.market, T0 + 10)
    bench.snapshot(conn, T0 + 11, 6, ())
    assert bench.rows() == [(Kind.CLOSE, 9, 1, 5, None, "market_closed")]


def test_determined_in_a_gap_ends_the_market_too(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 5)
    bench.spans.end_conn(conn, T0, T0 + 1, 5, Reason.SEQ_GAP)
    bench.rows()
    bench.spans.determined(bench.market, T0 + 9)
    assert bench.rows() == [(Kind.CLOSE, 9, 1, 5, None, "market_closed")]


def test_something_unreadable_ends_the_market_at_its_last_good_message(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 5)
    bench.delta(conn, T0 + 3, 6, (0, 4500, 1))
    bench.rows()
    bench.spans.unreadable(conn, bench.market, T0 + 50)
    assert bench.rows() == [(Kind.CLOSE, 4, 1, 6, None, "unrepresentable")]


def test_the_first_record_of_an_hour_follows_a_checkpoint_at_its_first_instant(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 5, ((0, 4500, 100),))
    bench.rows()
    bench.delta(conn, T0 + HOUR_US + 5, 6, (0, 4500, 1), exch_us=T0 + 77)
    bench.delta(conn, T0 + HOUR_US + 6, 7, (0, 4500, 1))
    assert [row[:5] for row in bench.rows()] == [
        (Kind.CHECKPOINT, HOUR_US, 1, 5, (0, 4500, 100)),
        (Kind.DELTA, HOUR_US + 5, 1, 6, (0, 4500, 1)),
        (Kind.DELTA, HOUR_US + 6, 1, 7, (0, 4500, 1)),
    ]


def test_no_checkpoint_before_its_conn_was_heard_in_the_hour(bench: Bench) -> None:
    old, new = bench.conn(1), bench.conn(2)
    bench.snapshot(old, T0, 5)
    bench.rows()
    bench.snapshot(new, T0 + HOUR_US + 5, 1)
    assert [row[0] for row in bench.rows()] == [Kind.CLOSE, Kind.SNAPSHOT, Kind.SNAPSHOT]


def test_a_checkpoint_follows_every_4096_deltas(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 1, ((0, 4500, 100),))
    for number in range(CHECKPOINT_EVERY + 1):
        bench.delta(conn, T0 + number, 2 + number, (0, 4500, 1))
    rows = bench.rows()
    assert [row[0] for row in rows[-3:]] == [Kind.DELTA, Kind.CHECKPOINT, Kind.DELTA]
    at = T0 + CHECKPOINT_EVERY - 1
    assert rows[-2][:5] == (Kind.CHECKPOINT, at - T0, 1, CHECKPOINT_EVERY + 1, (0, 4500, 100 + CHECKPOINT_EVERY))


def test_midnight_checkpoints_come_at_a_bounded_pace_once(bench: Bench) -> None:
    conn = bench.conn(1)
    for name in ("A", "B", "C"):
        bench.spans.snapshot(conn, bench.spans.market(name), T0, 1, ())
    bench.rows()
    conn.frame_us = T0
    assert bench.spans.midnight(conn, 2) == 0
    midnight_us = T0 // DAY_US * DAY_US + DAY_US
    conn.frame_us = midnight_us + 40
    assert [bench.spans.midnight(conn, 2) for _ in range(3)] == [2, 1, 0]
    assert {row[:2] for row in bench.rows()} == {(Kind.CHECKPOINT, midnight_us - T0)}


def test_exchange_time_runs_with_the_span(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 1, ())
    bench.delta(conn, T0 + 1, 2, (0, 100, 1), exch_us=T0 + 500)
    bench.delta(conn, T0 + 2, 3, (0, 100, 1), exch_us=T0 + 400)
    bench.delta(conn, T0 + HOUR_US, 4, (0, 100, 1), exch_us=T0 + 600)
    batch = bench.spans.take()[0]["orderbook"]
    exch = [None if e is None else e - T0 for e in batch["ts_exch"].cast("int64").to_pylist()]
    assert exch == [None, 500, 400, 500, 600]


def test_conn_numbers_only_grow() -> None:
    numbers = ConnNumbers(3, last=0)
    first = numbers.next(T0)
    assert first == T0 // 1000 * 1024 + 3
    assert numbers.next(T0) == first + 1024
    assert numbers.next(0) == first + 2048
    assert ConnNumbers(3, last=first + 2048).next(T0) == first + 3072


def test_a_market_that_is_over_gives_its_room_back(bench: Bench) -> None:
    conn = bench.conn(1)
    bench.snapshot(conn, T0, 5)
    bench.spans.determined(bench.market, T0 + 9)
    end = bench.spans.ladders._end
    bench.spans.snapshot(conn, bench.spans.market("N"), T0 + 10, 6, BOOK)
    assert bench.spans.ladders._end == end
    assert bench.spans.ladders.rows(bench.spans.market("N")) == BOOK
    bench.delta(conn, T0 + 11, 7, (0, 4500, 5))
    assert bench.rows()[-1] == (Kind.ORPHAN, 11, 1, 7, (0, 4500, 5), None)
