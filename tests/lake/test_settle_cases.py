"""What is published of hours made by hand: what a close withdraws, and what a dead shard owes."""

from pathlib import Path
from typing import Any

import pytest

from book.errors import PublishError
from book.records import HOUR_US
from lake.journal.flush import ConnMark
from lake.settling.settle import SettledHour, settle
from lake.settling.sources import Source, read_source
from lake.settling.standing import Stand, Standing
from tests.lake.handlog import BOOK, CHECKPOINT, CLOSE, CONN, DELTA, H0, ORPHAN, SNAPSHOT, T0, HandLog, S
from tests.lake.slow import plain, plain_rows

FAR = (T0 + 99 * HOUR_US, 0, 1)
NEXT = CONN + 1024
SECOND = T0 + HOUR_US


@pytest.fixture
def log(tmp_path: Path) -> HandLog:
    return HandLog(tmp_path)


def settled(log: HandLog, hour: int = H0, standing: Standing | None = None, upto: int | None = None) -> SettledHour:
    return settle([read_source(log.home, 0, hour, upto)], standing or Standing.empty())


def rows(hour: SettledHour) -> list[tuple[Any, ...]]:
    """Return what was published: ticker, us since the hour began, seq, kind, conn, reason; a group's rows once."""
    book = hour.tables.get("orderbook")
    start = hour.hour * HOUR_US
    found = plain_rows(book) if book else []
    return list(dict.fromkeys((row.ticker, row.ts - start, row.seq, row.kind, row.conn, row.reason) for row in found))


def short(hour: SettledHour) -> list[tuple[Any, ...]]:
    return [row[1:4] for row in rows(hour)]


def test_a_close_withdraws_what_was_logged_before_it_and_nothing_after(log: HandLog) -> None:
    log.snapshot("A", T0 + 1, 1)
    log.delta("A", T0 + 2, 2)
    log.checkpoint("A", T0 + 2, 2)
    log.delta("A", T0 + 3, 3)
    log.orphan("A", T0 + 4, 4)
    log.snapshot("A", T0 + 5, 5)
    log.delta("B", T0 + 5, 6)
    log.delta("A", T0 + 5, 8, conn=NEXT)
    log.close("A", T0 + 2, 1, "audit_mismatch")
    log.snapshot("A", T0 + 6, 7)
    log.delta("A", T0 + 7, 8)
    log.flush(H0, {CONN: FAR})
    hour = settled(log)
    assert rows(hour) == [
        ("A", 1, 1, SNAPSHOT, CONN, None),
        ("A", 2, 1, CLOSE, CONN, "audit_mismatch"),
        ("A", 2, 2, ORPHAN, CONN, None),
        ("A", 3, 3, ORPHAN, CONN, None),
        ("A", 4, 4, ORPHAN, CONN, None),
        ("A", 5, 8, DELTA, NEXT, None),
        ("A", 6, 7, SNAPSHOT, CONN, None),
        ("A", 7, 8, DELTA, CONN, None),
        ("B", 5, 6, DELTA, CONN, None),
    ]
    assert hour.counts.left_out == {"snapshot": 2, "checkpoint": 2}
    assert hour.counts.void_groups == {"snapshot": 1, "checkpoint": 1}
    assert hour.counts.void_snapshots == {CONN: 1}
    assert (hour.counts.orphaned, hour.counts.derived) == (2, 0)
    assert hour.counts.kinds == {"snapshot": 6, "delta": 5, "checkpoint": 2, "close": 1, "orphan": 1}
    assert hour.counts.rows == {"orderbook": 15}


def test_a_close_withdraws_a_checkpoint_that_sorts_after_it_whatever_its_number(log: HandLog) -> None:
    log.snapshot("A", T0 + 1, 1)
    log.checkpoint("A", T0 + 2, 1)
    log.checkpoint("A", T0 + 3, 1)
    log.close("A", T0 + 3, 1, "seq_gap")
    log.flush(H0, {CONN: FAR})
    assert short(settled(log)) == [(1, 1, SNAPSHOT), (2, 1, CHECKPOINT), (3, 1, CHECKPOINT), (3, 1, CLOSE)]
    log.close("A", T0 + 2, 1, "disconnect")
    log.flush(H0, {CONN: FAR})
    assert short(settled(log)) == [(1, 1, SNAPSHOT), (2, 1, CHECKPOINT), (2, 1, CLOSE), (3, 1, CLOSE)]


def test_a_second_close_with_an_earlier_instant_withdraws_more(log: HandLog) -> None:
    log.snapshot("A", T0 + 1, 1)
    log.delta("A", T0 + 2, 2)
    log.delta("A", T0 + 3, 3)
    log.close("A", T0 + 4, 3, "clock_step")
    log.delta("A", T0 + 5, 4)
    log.close("A", T0 + 3, 2, "seq_gap")
    log.close("A", T0 + 6, 9, "market_closed")
    log.flush(H0, {CONN: FAR})
    assert short(settled(log)) == [
        (1, 1, SNAPSHOT), (2, 2, DELTA), (3, 2, CLOSE), (3, 3, ORPHAN), (4, 3, CLOSE), (5, 4, ORPHAN), (6, 9, CLOSE),
    ]  # fmt: skip


def test_a_close_logged_later_stands_in_its_own_hour_and_reaches_those_between(log: HandLog) -> None:
    """Logged in H0 + 2, stamped in H0: the rows of both hours and of its own folder, logged before it, are void."""
    log.snapshot("A", T0 + 1, 1)
    log.audit("A", T0 + 2, 2)
    log.delta("A", T0 + 3, 3)
    log.flush(H0, {CONN: FAR})
    log.checkpoint("A", SECOND, 3)
    log.delta("A", SECOND + 1, 4)
    log.flush(H0 + 1, {CONN: FAR})
    log.checkpoint("A", SECOND + HOUR_US, 4)
    log.delta("A", SECOND + HOUR_US + 1, 5)
    mark = log.flush(H0 + 2, {CONN: FAR})
    log.close("A", T0 + 3, 2, "audit_mismatch")
    log.snapshot("A", SECOND + HOUR_US + 2, 6)
    log.delta("A", SECOND + HOUR_US + 3, 7)
    log.flush(H0 + 2, {CONN: FAR})
    before = [short(settled(log, H0 + at, upto=mark)) for at in range(3)]
    assert before == [
        [(1, 1, SNAPSHOT), (3, 3, DELTA)],
        [(0, 3, CHECKPOINT), (1, 4, DELTA)],
        [(0, 4, CHECKPOINT), (1, 5, DELTA)],
    ]
    after = [short(settled(log, H0 + at)) for at in range(3)]
    assert after == [
        [(1, 1, SNAPSHOT), (3, 2, CLOSE), (3, 3, ORPHAN)],
        [(1, 4, ORPHAN)],
        [(1, 5, ORPHAN), (2, 6, SNAPSHOT), (3, 7, DELTA)],
    ]
    assert settled(log).counts.kinds["close"] == 1
    assert settled(log, H0 + 2).counts.kinds["close"] == 0


def test_the_same_close_stands_once_and_another_reason_is_another_close(log: HandLog) -> None:
    log.snapshot("A", T0 + 1, 1)
    for reason in ("crash", "disconnect", "crash"):
        log.close("A", T0 + 2, 1, reason)
    log.flush(H0, {CONN: FAR})
    log.close("A", T0 + 2, 1, "crash")
    log.close("A", T0 + 2, 2, "crash")
    log.close("B", T0 + 2, 1, "crash")
    log.flush(H0 + 1, {CONN: FAR})
    hour = settled(log)
    assert rows(hour)[1:] == [
        ("A", 2, 1, CLOSE, CONN, "crash"),
        ("A", 2, 1, CLOSE, CONN, "disconnect"),
        ("A", 2, 2, CLOSE, CONN, "crash"),
        ("B", 2, 1, CLOSE, CONN, "crash"),
    ]
    assert hour.tables["orderbook"].num_rows == 6
    assert hour.counts.left_out == {"close": 2}
    assert hour.counts.rows == {"orderbook": 8}


def test_a_shard_without_end_owes_the_closes_of_its_open_spans(log: HandLog) -> None:
    heard = T0 + 50 * S
    log.snapshot("A", T0 + 1, 1)
    log.snapshot("B", T0 + 2, 2)
    log.close("B", T0 + 3, 2, "unrepresentable")
    log.snapshot("C", T0 + 4, 3)
    log.close("C", heard + 5, 3, "moved")  # later than its conn was heard: known no longer than that
    log.snapshot("C", heard + 5, 1, conn=NEXT)
    log.snapshot("E", T0 + 6, 4)
    log.close("E", heard + 1, 4, "moved")
    log.flush(H0, {CONN: (heard, 9, 1), NEXT: FAR})
    stood = Standing(
        {
            "B": Stand(True, 0, CONN, None, H0 - 1, None, None, ""),
            "D": Stand(True, 0, CONN, None, H0 - 1, None, None, ""),
            "F": Stand(True, 0, NEXT, None, H0 - 1, None, None, ""),
            "G": Stand(False, 0, CONN, "crash", H0 - 1, None, None, None),
        }
    )
    hour = settled(log, standing=stood)
    at = heard + 1 - T0
    crashed = [row for row in rows(hour) if row[5] == "crash"]
    assert crashed == [(ticker, at, 9, CLOSE, CONN, "crash") for ticker in ("A", "C", "D")]
    assert hour.counts.derived == 3
    assert hour.counts.kinds["close"] == 3
    # What the shard itself writes when it comes back is the same rows.
    for ticker in ("A", "C", "D"):
        log.close(ticker, heard + 1, 9, "crash")
    log.flush(H0 + 3, {CONN: (heard, 9, 0), NEXT: FAR})
    again = settled(log, standing=stood)
    assert again.tables["orderbook"].equals(hour.tables["orderbook"])
    assert again.counts.derived == 0


@pytest.mark.parametrize(
    ("heard", "up", "owed"),
    [
        (T0 + HOUR_US - 2, 1, True),
        (T0 + HOUR_US - 1, 1, False),
        (T0 + HOUR_US, 1, False),
        (T0 - 2, 1, False),
        (T0 - 1, 1, True),
        (T0 + S, 0, False),
    ],
)
def test_only_what_was_last_heard_within_the_hour_is_closed_in_it(
    log: HandLog, heard: int, up: int, owed: bool
) -> None:
    log.flush(H0, {CONN: (heard, 9, up)})
    standing = Standing({"A": Stand(True, 0, CONN, None, H0 - 1, None, None, "")})
    assert [row[1] for row in rows(settled(log, standing=standing))] == [heard + 1 - T0] * owed


def test_a_close_of_an_earlier_hour_among_the_rows_counts_where_it_was_logged(log: HandLog) -> None:
    """A gap found late, then a new book on the same conn, then the crash: the last of them decides."""
    log.snapshot("B", T0 + 1, 1)
    log.close("A", T0 - 5, 1, "seq_gap")
    log.snapshot("A", T0 + 3, 3)
    log.close("B", T0 - 5, 0, "seq_gap")
    log.flush(H0, {CONN: (T0 + S, 9, 1)})
    assert [row for row in rows(settled(log)) if row[3] == CLOSE] == [("A", S + 1, 9, CLOSE, CONN, "crash")]


def test_a_shard_that_ended_its_hour_owes_nothing(log: HandLog) -> None:
    log.snapshot("A", T0 + 1, 1)
    log.flush(H0, {CONN: (T0 + S, 1, 1)})
    log.end(H0)
    assert len(rows(settled(log))) == 1


def test_checkpoints_written_an_hour_late_are_left_out(log: HandLog) -> None:
    log.checkpoint("A", T0, 5)
    log.checkpoint("A", SECOND, 5)
    log.delta("A", SECOND + 1, 6)
    log.flush(H0 + 1, {CONN: FAR})
    hour = settled(log, H0 + 1)
    assert short(hour) == [(0, 5, CHECKPOINT), (1, 6, DELTA)]
    assert hour.counts.left_out == {"early_checkpoint": 2}


def test_two_shards_are_one_hour(tmp_path: Path) -> None:
    one, two = HandLog(tmp_path), HandLog(tmp_path, 1)
    other = CONN + 1
    one.snapshot("B", T0 + 1, 1)
    one.trade("B", T0 + 9, 2, "t")
    one.flush(H0, {CONN: FAR})
    two.snapshot("A", T0 + 1, 1, conn=other)
    two.close("A", T0 + 2, 0, "crash", conn=other)
    two.trade("A", T0 + 5, 1, "u", conn=other)
    two.flush(H0, {other: FAR})
    sources = [read_source(tmp_path, shard, H0) for shard in (0, 1)]
    hour = settle(sources, Standing.empty())
    assert rows(hour) == [("A", 2, 0, CLOSE, other, "crash"), ("B", 1, 1, SNAPSHOT, CONN, None)]
    assert [row["trade_id"] for row in plain(hour.tables["trades"])] == ["u"], "of the shard that was heard on its conn"
    assert hour.shard_of_conn == {CONN: 0, other: 1}
    assert set(hour.conns) == {CONN, other}
    assert hour.chosen == {"A": 1, "B": 0}
    with pytest.raises(PublishError, match="different hours"):
        settle([read_source(tmp_path, 0, H0), read_source(tmp_path, 0, H0 + 1)], Standing.empty())


def test_each_shards_closes_reach_its_own_rows(tmp_path: Path) -> None:
    """Early closes of the second shard: what was logged before each is counted within its own log."""
    one, two = HandLog(tmp_path), HandLog(tmp_path, 1)
    other = CONN + 1
    for number in range(3):
        one.snapshot("B", T0 + number, number)
    one.flush(H0, {CONN: FAR})
    two.snapshot("A", T0 + 1, 5, conn=other)
    two.close("A", T0 - 1, 4, "seq_gap", conn=other)
    two.snapshot("A", T0 + 2, 6, conn=other)
    two.delta("A", T0 + 3, 7, conn=other)
    two.flush(H0, {other: FAR})
    hour = settle([read_source(tmp_path, shard, H0) for shard in (0, 1)], Standing.empty())
    assert [row[:4] for row in rows(hour)] == [
        ("A", 2, 6, SNAPSHOT), ("A", 3, 7, DELTA), *(("B", number, number, SNAPSHOT) for number in range(3)),
    ]  # fmt: skip


def test_an_hour_with_nothing_in_it_is_empty() -> None:
    hour = settle([Source(0, H0, {}, conns={CONN: ConnMark(1, 2, 1)})], Standing.empty())
    assert hour.tables == {}
    assert hour.counts.rows == {}


def test_other_tables_stand_by_their_keys_with_nulls_first(log: HandLog) -> None:
    for number, seq in enumerate((3, None, 2)):
        log.trade("B", T0 + 5, seq, f"t{number}")
    log.trade("A", T0 + 9, None, "a")
    log.row("lifecycle", ticker="A", ts_recv=T0, conn=7, channel_type="c", event_type="e", message="{}")
    log.row("lifecycle", ts_recv=T0 + 9, conn=7, channel_type="c", event_type="e", message="{}")
    log.flush(H0, {CONN: FAR})
    hour = settled(log)
    assert [row["trade_id"] for row in plain(hour.tables["trades"])] == ["a", "t1", "t2", "t0"]
    assert [row["ticker"] for row in plain(hour.tables["lifecycle"])] == [None, "A"]
    assert hour.counts.rows == {"trades": 4, "lifecycle": 2}
    assert {name: found.rows for name, found in hour.prints.items()} == {"trades": 4, "lifecycle": 2}


def test_rows_of_a_book_stand_by_side_and_price_however_they_were_logged(log: HandLog) -> None:
    log.snapshot("A", T0 + 1, 2, [(1, 5, 1), (0, 900, 2), (0, 30, 3), *BOOK])
    log.snapshot("B", T0 + 1, 1, [])
    log.flush(H0, {CONN: FAR})
    found = plain_rows(settled(log).tables["orderbook"])
    assert [(row.ticker, row.side, row.price, row.qty) for row in found] == [
        ("A", 0, 30, 3),
        ("A", 0, 900, 2),
        ("A", 0, 4500, 100),
        ("A", 1, 5, 1),
        ("A", 1, 5000, 700),
        ("B", None, None, None),
    ]
