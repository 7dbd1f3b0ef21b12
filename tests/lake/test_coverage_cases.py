"""The coverage rows of hours made by hand: what is known from when to when, and which rows say so."""

from pathlib import Path
from typing import Any

import pytest

from book.digest import digest
from book.errors import PublishError
from book.records import HOUR_US
from lake.journal.flush import Silence
from lake.settling.coverage import DERIVED, FilePart, derive
from lake.settling.settle import SettledHour
from lake.settling.standing import Standing, standing_of
from tests.lake.chains import chain, parts_of
from tests.lake.handlog import BOOK, CONN, H0, T0, HandLog, S
from tests.lake.slow import plain

NEXT = CONN + 1024
FAR = (T0 + 9 * 24 * HOUR_US, 0, 1)
Story = tuple[Any, ...]


def tell(log: HandLog, *hours: int, ticker: str = "A") -> list[list[Story]]:
    """Return each hour's fragments of a market: state, conn, from, to (us since the hour began), reason, rows."""
    found = []
    for link in chain(log.home, list(hours)):
        start = link.settled.hour * HOUR_US
        found.append(
            [
                (
                    row["state"],
                    row["conn"],
                    row["ts_from"] - start,
                    row["ts_to"] - start,
                    row["end_reason"],
                    row["rows"],
                )
                for row in sorted(plain(link.coverage), key=lambda row: (row["ts_from"], row["ts_to"]))
                if row["ticker"] == ticker
            ]
        )
    return found


@pytest.fixture
def log(tmp_path: Path) -> HandLog:
    """A is known since a second after H0 began: two levels."""
    log = HandLog(tmp_path)
    log.snapshot("A", T0 + S, 1)
    log.delta("A", T0 + 2 * S, 2)
    return log


def test_a_gap_runs_from_the_close_to_the_next_book_on_the_same_conn(log: HandLog) -> None:
    log.close("A", T0 + 2 * S + 1, 2, "seq_gap")
    log.orphan("A", T0 + 4 * S, 9)
    log.snapshot("A", T0 + 5 * S, 10)
    log.flush(H0, {CONN: FAR})
    assert tell(log, H0) == [
        [
            ("known", CONN, S, 2 * S + 1, "seq_gap", 4),
            ("gap", CONN, 2 * S + 1, 5 * S, "seq_gap", 1),
            ("known", CONN, 5 * S, HOUR_US, "continues", 2),
        ]
    ]


def test_the_earliest_close_that_opens_a_gap_says_why(log: HandLog) -> None:
    log.close("A", T0 + 3 * S, 2, "clock_step")
    log.close("A", T0 + 2 * S + 5, 2, "disconnect")
    log.snapshot("A", T0 + 9 * S, 1, conn=NEXT)
    log.flush(H0, {CONN: FAR, NEXT: FAR})
    assert tell(log, H0) == [
        [
            ("known", CONN, S, 2 * S + 5, "disconnect", 4),
            ("gap", CONN, 2 * S + 5, 9 * S, "disconnect", 1),
            ("known", NEXT, 9 * S, HOUR_US, "continues", 2),
        ]
    ]


def test_closes_equal_but_for_their_reason_are_two(log: HandLog) -> None:
    log.close("A", T0 + 3 * S, 2, "crash")
    log.close("A", T0 + 3 * S, 2, "disconnect")
    log.flush(H0, {CONN: FAR})
    (link,) = chain(log.home, [H0])
    gap, known = [row for row in plain(link.coverage) if row["ticker"] == "A"]
    assert (known["end_reason"], known["closes"], gap["end_reason"], gap["closes"]) == ("crash", 1, "crash", 1)
    assert [(base["row"], base["rows"], base["reason"]) for base in gap["bases"]] == [(4, 1, "disconnect")]


def test_a_move_leaves_no_gap_and_what_the_old_conn_still_brings_falls_to_the_new_span(log: HandLog) -> None:
    log.close("A", T0 + 3 * S, 2, "moved")
    log.snapshot("A", T0 + 3 * S, 1, conn=NEXT)
    log.orphan("A", T0 + 4 * S, 3)
    log.delta("A", T0 + 5 * S, 2, conn=NEXT)
    log.flush(H0, {CONN: FAR, NEXT: FAR})
    told = [("known", CONN, S, 3 * S, "moved", 4), ("known", NEXT, 3 * S, HOUR_US, "continues", 4)]
    assert tell(log, H0) == [told]


def test_a_move_to_nothing_is_a_gap_until_something_says_more(log: HandLog) -> None:
    log.close("A", T0 + 3 * S, 2, "moved")
    log.close("A", T0 + 4 * S, 2, "moved")
    log.close("A", T0 + 5 * S, 2, "crash")
    log.flush(H0, {CONN: FAR})
    assert tell(log, H0) == [
        [
            ("known", CONN, S, 3 * S, "moved", 4),
            ("gap", CONN, 3 * S, 5 * S, "moved", 1),
            ("gap", CONN, 5 * S, HOUR_US, "crash", 1),
        ]
    ]


@pytest.mark.parametrize("reason", ["market_closed", "unsubscribed"])
def test_after_the_end_there_is_no_row_and_orphans_fall_to_the_last_span(log: HandLog, reason: str) -> None:
    log.close("A", T0 + 3 * S, 2, reason)
    log.orphan("A", T0 + 4 * S, 3)
    log.flush(H0, {CONN: FAR})
    log.orphan("A", T0 + HOUR_US + S, 4)
    log.close("A", T0 + HOUR_US + 2 * S, 4, "market_closed")
    log.flush(H0 + 1, {CONN: FAR})
    assert tell(log, H0, H0 + 1, H0 + 2) == [
        [("known", CONN, S, 3 * S, reason, 5)],
        [("gap", CONN, S, S, None, 2)],  # rows of neither: a stretch of no length
        [],
    ]


def test_a_market_that_is_over_has_no_gap_whatever_else_closes(log: HandLog) -> None:
    log.close("A", T0 + 3 * S, 2, "market_closed")
    log.close("A", T0 + 4 * S, 2, "disconnect")
    log.flush(H0, {CONN: FAR})
    assert tell(log, H0) == [[("known", CONN, S, 3 * S, "market_closed", 5)]]


def test_an_end_ends_a_gap(log: HandLog) -> None:
    log.close("A", T0 + 3 * S, 2, "seq_gap")
    log.close("A", T0 + 4 * S, 2, "market_closed")
    log.flush(H0, {CONN: FAR})
    told = [("known", CONN, S, 3 * S, "seq_gap", 4), ("gap", CONN, 3 * S, 4 * S, "seq_gap", 1)]
    assert tell(log, H0, H0 + 1) == [told, []]


def test_a_market_that_opens_again_can_have_a_gap(log: HandLog) -> None:
    log.close("A", T0 + 3 * S, 2, "market_closed")
    log.snapshot("A", T0 + 4 * S, 3)
    log.close("A", T0 + 5 * S, 3, "seq_gap")
    log.flush(H0, {CONN: FAR})
    assert tell(log, H0) == [
        [
            ("known", CONN, S, 3 * S, "market_closed", 4),
            ("known", CONN, 4 * S, 5 * S, "seq_gap", 3),
            ("gap", CONN, 5 * S, HOUR_US, "seq_gap", 0),
        ]
    ]


def test_a_gap_after_unsubscribing_is_one(log: HandLog) -> None:
    log.close("A", T0 + 3 * S, 2, "unsubscribed")
    log.close("A", T0 + 4 * S, 2, "crash")
    log.flush(H0, {CONN: FAR})
    told = [("known", CONN, S, 3 * S, "unsubscribed", 4), ("gap", CONN, 4 * S, HOUR_US, "crash", 1)]
    assert tell(log, H0) == [told]


def test_changes_before_a_first_book_make_a_stretch_of_no_length(tmp_path: Path) -> None:
    log = HandLog(tmp_path)
    log.orphan("A", T0 + 1, 1)
    log.orphan("A", T0 + 2, 2)
    log.snapshot("A", T0 + S, 3, [])
    log.flush(H0, {CONN: FAR})
    assert tell(log, H0) == [[("gap", CONN, 1, 1, None, 2), ("known", CONN, S, HOUR_US, "continues", 1)]]


def test_a_stretch_of_no_length_at_the_hours_beginning_stands_for_nothing(tmp_path: Path) -> None:
    log = HandLog(tmp_path)
    log.orphan("A", T0, 1)
    log.flush(H0, {CONN: FAR})
    assert tell(log, H0, H0 + 1) == [[("gap", CONN, 0, 0, None, 1)], []]


def test_a_close_that_reaches_an_earlier_hour_ends_the_book_there_and_opens_it_in_neither(log: HandLog) -> None:
    """The audit is logged an hour later: H0 ends in a gap, and the next hour begins with it."""
    log.flush(H0, {CONN: FAR})
    log.checkpoint("A", T0 + HOUR_US, 2, [(0, 4500, 101), (1, 5000, 700)])
    log.delta("A", T0 + HOUR_US + S, 3)
    log.flush(H0 + 1, {CONN: FAR})
    known = ("known", CONN, S, HOUR_US, "continues", 3)
    assert tell(log, H0, H0 + 1) == [[known], [("known", CONN, 0, HOUR_US, "continues", 3)]]
    log.close("A", T0 + S + 1, 1, "audit_mismatch")
    log.snapshot("A", T0 + 2 * HOUR_US + S, 4)
    log.flush(H0 + 2, {CONN: FAR})
    assert tell(log, H0, H0 + 1, H0 + 2) == [
        [("known", CONN, S, S + 1, "audit_mismatch", 3), ("gap", CONN, S + 1, HOUR_US, "audit_mismatch", 1)],
        [("gap", CONN, 0, HOUR_US, "audit_mismatch", 1)],
        [("gap", CONN, 0, S, "audit_mismatch", 0), ("known", CONN, S, HOUR_US, "continues", 2)],
    ]


def test_a_gap_is_carried_until_the_first_midnight_after_a_day(log: HandLog) -> None:
    log.close("A", T0 + 3 * S, 2, "disconnect")
    log.flush(H0, {CONN: FAR})
    hours = range(H0, H0 + 40)
    told = tell(log, *hours)
    assert H0 % 24 == 16  # so that the first midnight after a day is 32 hours on
    assert all(story == [("gap", CONN, 0, HOUR_US, "disconnect", 0)] for story in told[1:32])
    assert told[32:] == [[]] * 8


def test_a_quiet_market_goes_on_with_its_book(log: HandLog) -> None:
    log.audit("A", T0 + 4 * S, 3)
    log.audit("A", T0 + 5 * S, 4, equal=False)
    log.flush(H0, {CONN: FAR})
    first, second = [plain(link.coverage) for link in chain(log.home, [H0, H0 + 40])]
    (known,) = [row for row in first if row["ticker"] == "A"]
    (quiet,) = [row for row in second if row["ticker"] == "A"]
    now = digest([(0, 4500, 101), (1, 5000, 700)])
    assert (known["digest"], known["audits"], known["last_audit"]) == (now, 2, T0 + 4 * S)
    assert (known["last_change"], known["last_record_hour"]) == (T0 + 2 * S, None)
    assert (quiet["state"], quiet["ts_from"], quiet["ts_to"]) == ("known", T0 + 40 * HOUR_US, T0 + 41 * HOUR_US)
    assert (quiet["rows"], quiet["file"], quiet["first_row"], quiet["bases"]) == (0, None, None, [])
    assert (quiet["digest"], quiet["audits"], quiet["last_audit"]) == (now, 0, T0 + 4 * S)
    assert (quiet["last_change"], quiet["last_record_hour"]) == (T0 + 2 * S, T0)
    assert (quiet["first_seq"], quiet["last_seq"], quiet["deltas"]) == (None, None, 0)


def test_an_audit_at_the_very_end_of_a_span_is_no_longer_in_it(log: HandLog) -> None:
    log.audit("A", T0 + 3 * S - 1, 3)
    log.audit("A", T0 + 3 * S, 4)
    log.close("A", T0 + 3 * S, 4, "market_closed")
    log.flush(H0, {CONN: FAR})
    (link,) = chain(log.home, [H0])
    (known,) = [row for row in plain(link.coverage) if row["ticker"] == "A"]
    assert (known["audits"], known["last_audit"]) == (1, T0 + 3 * S - 1)


def test_an_empty_book_is_a_book(log: HandLog) -> None:
    log.snapshot("A", T0 + 3 * S, 3, [])
    log.flush(H0, {CONN: FAR})
    (link,) = chain(log.home, [H0])
    (known,) = [row for row in plain(link.coverage) if row["ticker"] == "A"]
    assert (known["digest"], known["snapshots"], known["rows"]) == (digest([]), 2, 4)
    assert [base["rows"] for base in known["bases"]] == [2, 1]
    assert known["last_change"] == T0 + 3 * S


def test_a_book_that_is_known_for_no_time_keeps_its_rows(tmp_path: Path) -> None:
    log = HandLog(tmp_path)
    log.snapshot("A", T0 + S, 1)
    log.close("A", T0 + S, 1, "unrepresentable")
    log.flush(H0, {CONN: FAR})
    told = [("known", CONN, S, S, "unrepresentable", 3), ("gap", CONN, S, HOUR_US, "unrepresentable", 0)]
    assert tell(log, H0) == [told]


def test_a_span_ended_by_another_conns_book_alone_has_moved(log: HandLog) -> None:
    log.snapshot("A", T0 + 3 * S, 1, conn=NEXT)
    log.flush(H0, {CONN: FAR, NEXT: FAR})
    told = [("known", CONN, S, 3 * S, "moved", 3), ("known", NEXT, 3 * S, HOUR_US, "continues", 2)]
    assert tell(log, H0) == [told]


def test_conns_and_silences_are_told_of_no_market(log: HandLog) -> None:
    born = T0 + 10 * S
    young = (born // 1000) << 10
    log.snapshot("B", born + 5, 1, conn=young)
    conns = {CONN: (T0 + HOUR_US - 1, 7, 0), NEXT: (T0 + 4 * S, 9, 0), young: (T0 + HOUR_US, 3, 1)}
    conns[CONN - 1024] = (T0 - 1, 5, 0)  # not heard in this hour
    log.flush(H0, conns, [Silence(CONN, T0 - 5, T0 + 3 * S), Silence(CONN, T0 + 5 * S, T0 + 9 * S)])
    log.flush(H0 + 1, {young: (T0 + HOUR_US + 5, 4, 1), CONN: (T0 + HOUR_US - 1, 7, 0)}, [
        Silence(young, T0 + 20 * S, T0 + 2 * HOUR_US),
        Silence(young, T0 + HOUR_US, T0 + HOUR_US + 1),
    ])  # fmt: skip
    (link,) = chain(log.home, [H0])
    told = [
        (row["state"], row["conn"], row["ts_from"] - T0, row["ts_to"] - T0, row["end_reason"], row["last_seq"])
        for row in plain(link.coverage)
        if row["ticker"] == "*"
    ]
    assert told == [
        ("conn", CONN, 0, HOUR_US, None, 7),
        ("conn", NEXT, 0, 4 * S + 1, None, 9),
        ("conn", young, 10 * S, HOUR_US, "continues", None),
        ("silence", CONN, 0, 3 * S, "stall", None),
        ("silence", CONN, 5 * S, 9 * S, "stall", None),
        ("silence", young, 20 * S, HOUR_US, "stall", None),
    ]
    shards = {row["conn"]: row["shard"] for row in plain(link.coverage)}
    assert set(shards.values()) == {0}


def test_rows_are_numbered_within_their_file(log: HandLog) -> None:
    log.snapshot("B", T0 + 3 * S, 3)
    log.delta("B", T0 + 4 * S, 4)
    log.checkpoint("B", T0 + 4 * S, 4, [(0, 4500, 101), (1, 5000, 700)])
    log.flush(H0, {CONN: FAR})
    (link,) = chain(log.home, [H0])
    parts = [FilePart("one", 0, 3), FilePart("two", 3, 5)]
    one, two = [row for row in plain(derive(link.settled, parts, Standing.empty())) if row["ticker"] != "*"]
    assert (one["file"], one["first_row"], one["rows"], [base["row"] for base in one["bases"]]) == ("one", 0, 3, [0])
    assert (two["file"], two["first_row"], two["rows"]) == ("two", 0, 5)
    assert [base["row"] for base in two["bases"]] == [0, 3]
    for wrong in (parts[:1], [*parts, FilePart("three", 8, 1)], [FilePart("one", 0, 4), FilePart("two", 4, 4)]):
        with pytest.raises(PublishError):
            derive(link.settled, wrong, Standing.empty())


def test_an_hour_of_nothing_has_the_columns_of_one(tmp_path: Path) -> None:
    table = derive(SettledHour(H0, {}), [], Standing.empty())
    assert table.schema.equals(DERIVED, check_metadata=True)
    assert table.num_rows == 0
    assert standing_of(table) == Standing.empty()


def test_what_stands_is_what_goes_on(log: HandLog) -> None:
    log.audit("A", T0 + 4 * S, 3)
    for ticker, reason in (("B", "disconnect"), ("C", "market_closed"), ("D", "")):
        log.snapshot(ticker, T0 + 5 * S, 4)
        if reason:
            log.close(ticker, T0 + 6 * S, 4, reason)
    log.flush(H0, {CONN: FAR})
    first, second = chain(log.home, [H0, H0 + 1])
    stood = standing_of(first.coverage).markets
    assert sorted(stood) == ["A", "B", "D"]
    a, b = stood["A"], stood["B"]
    assert (a.live, a.shard, a.conn, a.reason, a.record_hour) == (True, 0, CONN, None, H0)
    assert (a.last_change_us, a.last_audit_us) == (T0 + 2 * S, T0 + 4 * S)
    assert (b.live, b.conn, b.reason, b.record_hour, b.digest) == (False, CONN, "disconnect", H0, None)
    assert b.last_change_us == T0 + 5 * S
    assert standing_of(second.coverage).markets == stood


def test_a_stand_ends_with_the_hour_its_market_ends_in(log: HandLog) -> None:
    log.flush(H0, {CONN: FAR})
    log.close("A", T0 + HOUR_US, 2, "market_closed")
    log.flush(H0 + 1, {CONN: FAR})
    assert tell(log, H0, H0 + 1, H0 + 2)[1:] == [[("known", CONN, 0, 0, "market_closed", 1)], []]
    link = list(chain(log.home, [H0, H0 + 1]))[1]
    (row,) = [row for row in plain(link.coverage) if row["ticker"] == "A"]
    assert row["digest"] == digest([(0, 4500, 101), *BOOK[1:]])
    assert parts_of(link.book) == [FilePart("file-0", 0, 1)]
