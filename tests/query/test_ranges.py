"""Pages of changes and trades, and what a range says of itself."""

from typing import Any

import pytest

from book.errors import ApiError
from lake.journal.flush import Fill, Lapse
from query.log import Log
from query.ranges import deltas, trades

HOUR = 3_600_000_000
H0 = 496_000
T0 = H0 * HOUR + HOUR // 2
CONN = (T0 // 1000 - 1000) * 1024
TRADES = CONN + 1024
LATER = CONN + 5 * 1024
A = "KXGOLD-26AUG10-T1"


def refused(log: Log, *args: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        deltas(log, *args, **options)
    return caught.value


def test_changes_of_a_range(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 4500, 100)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 4500, -50, exch=T0 + 3000)
    journal.delta("B", T0 + 15, CONN, 3, 1, 10, 5)
    journal.delta(A, T0 + 20, CONN, 4, 1, 910, 5)
    journal.heard(CONN, T0 + 100)
    journal.flush()
    page = deltas(log, A, T0, T0 + 20)
    assert [(r.ts_us, r.ts_exch_us, r.conn, r.seq, r.kind, r.side, r.price_e4, r.change_e2) for r in page.rows] == [
        (T0 + 10, T0 + 3000, CONN, 2, 1, 0, 4500, -50)
    ]
    assert (page.complete, page.gaps, page.why_empty, page.has_more, page.next_cursor) == (True, [], None, False, None)
    assert [row.seq for row in deltas(log, A, T0 + 10, T0 + 21).rows] == [2, 4]


def test_pages_meet_without_loss_while_the_log_grows(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    seqs = list(range(2, 40))
    found: list[int] = []
    cursor = None
    for seq in seqs:
        journal.delta(A, T0 + seq // 3, CONN, seq, 0, 100, 1)
        journal.flush()
        page = deltas(log, A, T0, T0 + 100, 1, cursor)
        found += [row.seq for row in page.rows]
        cursor = page.next_cursor or cursor
        if not page.has_more:
            found = found[: -len(page.rows)] if page.rows and page.next_cursor is None else found
    rest = deltas(log, A, T0, T0 + 100, 1000, cursor)
    assert sorted(set(found + [row.seq for row in rest.rows])) == seqs


def test_a_page_never_splits_a_group(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    for price in (100, 200, 300):
        journal.delta(A, T0 + 10, CONN, 2, 0, price, 1)
    journal.delta(A, T0 + 10, CONN, 3, 0, 100, 1)
    journal.flush()
    page = deltas(log, A, T0, T0 + 100, 2)
    assert ([row.price_e4 for row in page.rows], page.has_more) == ([100, 200, 300], True)
    assert [row.seq for row in deltas(log, A, T0, T0 + 100, 2, page.next_cursor).rows] == [3]


def test_orphans_are_listed_when_asked_for(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1)
    journal.delta(A, T0 + 20, CONN, 3, 0, 100, 1)
    journal.close(A, T0 + 11, CONN, 2, "audit_mismatch")
    journal.orphan(A, T0 + 30, CONN, 4, 0, 100, 1)
    journal.flush()
    assert [row.seq for row in deltas(log, A, T0, T0 + 100).rows] == [2]
    assert [(row.seq, row.kind) for row in deltas(log, A, T0, T0 + 100, orphans=True).rows] == [(2, 1), (3, 4), (4, 4)]


def test_a_range_names_its_gaps(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    journal.heard(CONN, T0 + 20)
    journal.close(A, T0 + 21, CONN, 1, "disconnect")
    journal.snapshot(A, T0 + 40, LATER, 1, [])
    journal.silence(LATER, T0 + 50, T0 + 60)
    journal.heard(LATER, T0 + 100)
    journal.flush()
    page = deltas(log, A, T0, T0 + 100)
    assert not page.complete
    assert [(gap.from_us, gap.to_us, gap.reason) for gap in page.gaps] == [
        (T0 + 21, T0 + 40, "disconnect"),
        (T0 + 50, T0 + 60, "stall"),
    ]
    assert deltas(log, A, T0, T0 + 21).complete
    assert deltas(log, A, T0 + 60, T0 + 101).complete
    assert not deltas(log, A, T0 + 60, T0 + 102).complete


def test_a_range_names_the_gaps_at_its_edges_whole(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    journal.silence(CONN, T0 + 50, T0 + 200)
    journal.checkpoint(A, T0 + 60, CONN, 1, [])
    journal.close(A, T0 + 100, CONN, 1, "seq_gap")
    journal.snapshot(A, T0 + 300, CONN, 5, [])
    journal.heard(CONN, T0 + 900)
    journal.flush()
    journal.close(A, T0 + 400, CONN, 5, "disconnect")
    journal.snapshot(A, T0 + 500, LATER, 1, [])
    journal.heard(LATER, T0 + 900)
    journal.flush()
    gaps = [(T0 + 50, T0 + 100, "stall"), (T0 + 100, T0 + 300, "seq_gap"), (T0 + 400, T0 + 500, "disconnect")]
    for start, end, touched in ((0, 80, 1), (60, 80, 1), (70, 101, 2), (120, 130, -2), (0, 999, 3)):
        found = [(gap.from_us, gap.to_us, gap.reason) for gap in deltas(log, A, T0 + start, T0 + end).gaps]
        assert found == (gaps[:touched] if touched > 0 else gaps[1:2])
    assert [gap.reason for gap in deltas(log, A, T0 + 420, T0 + 430).gaps] == ["disconnect"]


def test_an_empty_range_says_why(journal: Any, log: Log) -> None:
    journal.market("C", T0)
    journal.market(A, T0, open_time=T0 - 100, close_time=T0 + 500)
    journal.snapshot(A, T0, CONN, 1, [])
    journal.heard(CONN, T0 + 20)
    journal.flush()
    assert deltas(log, A, T0, T0 + 10).why_empty == "no_activity"
    assert deltas(log, A, T0 + 50, T0 + 60).why_empty == "pending"
    early = deltas(log, A, T0 - 50, T0 - 10)
    assert (early.why_empty, early.complete, early.gaps[0].reason) == ("not_recorded", False, "late_start")
    assert deltas(log, A, T0 - 500, T0 - 100).complete
    never = deltas(log, "C", T0, T0 + 10)
    assert (never.why_empty, never.complete) == ("not_recorded", False)
    journal.close(A, T0 + 10, CONN, 1, "market_closed")
    journal.flush()
    assert deltas(log, A, T0, T0 + 900).complete


def test_refusals(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    for seq in (2, 3, 4):
        journal.delta(A, T0 + seq, CONN, seq, 0, 100, 1)
    journal.flush()
    assert refused(log, "NOSUCH", T0, T0 + 1).code == "market_not_found"
    cursor = deltas(log, A, T0, T0 + 9, 1).next_cursor
    assert cursor
    for wrong in ("", "x", "!!!", cursor[:-3], "bnVsbA"):
        assert refused(log, A, T0, T0 + 9, 1, wrong).code == "invalid_cursor"
    assert refused(log, A, T0 + 5, T0 + 9, 1, cursor).code == "invalid_cursor"
    assert refused(log, A, T0, T0 + 9, 1, cursor, orphans=True).code == "invalid_cursor"
    with pytest.raises(ApiError):
        trades(log, A, T0, T0 + 9, 1, cursor)


def test_trades_each_once(journal: Any, log: Log) -> None:
    journal.feed("trades", LATER, T0)
    journal.heard(LATER, T0 + 50)
    journal.snapshot(A, T0, CONN, 1, [])
    journal.trade(A, T0 + 1, TRADES, 1, "x", taker_side=1, qty_e2=5537, yes_price_e4=910)
    journal.trade(A, T0 + 2, TRADES, 2, "y", block=None, taker_side=None, ts_exch=None)
    journal.flush()
    journal.trade(A, T0 + 5, LATER, 1, "y")
    journal.trade(A, T0 + 6, LATER, 2, "z")
    journal.trade("B", T0 + 6, LATER, 3, "w")
    journal.heard(CONN, T0 + 50)
    journal.flush()
    page = trades(log, A, T0, T0 + 50)
    assert [row.trade_id for row in page.rows] == ["x", "y", "z"]
    first = page.rows[0]
    assert (first.yes_price_e4, first.qty_e2, first.taker_side, first.block, first.source) == (
        910,
        5537,
        1,
        False,
        "ws",
    )
    assert (first.ts_us, first.ts_exch_us, first.conn, first.seq) == (T0 + 1, T0 + 1, TRADES, 1)
    second = page.rows[1]
    assert (second.block, second.taker_side, second.ts_exch_us) == (None, None, None)
    assert page.complete
    assert [row.trade_id for row in trades(log, A, T0 + 3, T0 + 50).rows] == ["z"]
    one = trades(log, A, T0, T0 + 50, 2)
    assert [row.trade_id for row in one.rows] == ["x", "y"]
    assert [row.trade_id for row in trades(log, A, T0, T0 + 50, 2, one.next_cursor).rows] == ["z"]


def test_trades_are_judged_by_their_own_firehose(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    journal.close(A, T0 + 5, CONN, 1, "audit_mismatch")
    journal.heard(CONN, T0 + 60)
    assert trades_of_a_new_log(journal, log) == ([], False, "not_recorded")
    journal.feed("trades", TRADES, T0)
    journal.heard(TRADES, T0 + 50)
    journal.lapses = [Lapse("trades", TRADES, T0 + 20, T0 + 30, "seq_gap")]
    journal.flush()
    assert trades_of_a_new_log(journal, log) == ([(T0 + 20, T0 + 30, "seq_gap", False)], False, "no_activity")
    assert trades(log, A, T0, T0 + 20).complete
    assert trades(log, A, T0 + 30, T0 + 51).complete
    assert not trades(log, A, T0 + 30, T0 + 52).complete
    assert trades(log, A, T0 + 51, T0 + 60).why_empty == "pending"


def trades_of_a_new_log(journal: Any, log: Log) -> Any:
    journal.flush()
    page = trades(log, A, T0, T0 + 50)
    return [(gap.from_us, gap.to_us, gap.reason, gap.filled) for gap in page.gaps], page.complete, page.why_empty


@pytest.mark.parametrize("published", [False, True])
def test_filled_trades_follow_the_range_that_they_were_missed_in(journal: Any, press: Any, published: bool) -> None:
    start = H0 * HOUR
    missed, learned = start + HOUR - 1_000_000, start + HOUR + 40_000_000
    journal.snapshot(A, start, CONN, 1, [])
    journal.feed("trades", TRADES, start)
    journal.trade(A, start + 5, TRADES, 1, "x")
    journal.trade(A, missed - 10, TRADES, 2, "y")
    journal.flush()
    journal.trade(A, missed + 10, TRADES, 4, "z")
    journal.lapses = [Lapse("trades", TRADES, missed, missed + 9, "seq_gap")]
    journal.flush()
    journal.heard(TRADES, learned + 10)
    journal.heard(CONN, learned + 10)
    for name, exch in (("y", missed - 10), ("w", missed + 5)):
        journal.trade(A, learned, TRADES, None, name, source="rest", ts_exch=exch)
    journal.fills = [Fill("trades", TRADES, missed, missed + 9, 2)]
    journal.flush(H0 + 1)
    if published:
        journal.heard(TRADES, start + 2 * HOUR)
        journal.heard(CONN, start + 2 * HOUR)
        journal.flush(H0 + 2)
        press.finish(journal, H0, H0 + 1)
    log = press.log()
    for limit in (1, 2, 50):
        names, cursor = [], None
        while True:
            page = trades(log, A, start, start + HOUR, limit, cursor)
            names += [row.trade_id for row in page.rows]
            assert ([(gap.from_us, gap.filled) for gap in page.gaps], page.complete) == ([(missed, True)], True)
            cursor = page.next_cursor
            if not page.has_more:
                break
        assert names == ["x", "y", "z", "w"]
    late = trades(log, A, learned, learned + 1)
    assert [(row.trade_id, row.source, row.seq) for row in late.rows] == [("w", "rest", None)]


def test_the_shard_with_the_least_unknown_time_answers(journal: Any, journals: Any, log: Log) -> None:
    other = journals(1)
    journal.snapshot(A, T0, CONN, 1, [])
    journal.delta(A, T0 + 5, CONN, 2, 0, 100, 1)
    journal.heard(CONN, T0 + 20)
    journal.flush()
    other.snapshot(A, T0, CONN + 1, 1, [])
    other.delta(A, T0 + 5, CONN + 1, 7, 0, 100, 1)
    other.heard(CONN + 1, T0 + 50)
    other.flush()
    assert [row.conn for row in deltas(log, A, T0, T0 + 20).rows] == [CONN]
    page = deltas(log, A, T0, T0 + 40)
    assert ([row.conn for row in page.rows], page.complete) == ([CONN + 1], True)
