"""Lakes of a few rows: what the macros say where an instant, a stamp or an hour meets another."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from book.digest import digest
from book.records import HOUR_US
from tests.query.sql import runs
from tests.query.sql.hand import CHECKPOINT, CLOSE, CONN, DELTA, MIDNIGHT_US, ORPHAN, SNAPSHOT, Log, S


def state(connection: duckdb.DuckDBPyConnection, ts_us: int) -> dict[str, Any]:
    return runs.row(connection, "FROM book_state('A', ?)", runs.instant(ts_us))


def test_prices_and_sizes_are_exact_and_best_comes_first(tmp_path: Path) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US, 1, (0, 100, 1), (0, 9_999, 10**17 + 1), (1, 4500, 150), (1, 4510, 99))
    connection = log.lake(tmp_path)
    rows = connection.execute("FROM book_at('A', '2026-08-11 00:00:00Z')").fetchall()
    assert rows == [
        (0, 9_999, 10**17 + 1, Decimal("0.9999"), Decimal("1000000000000000.01")),
        (0, 100, 1, Decimal("0.0100"), Decimal("0.01")),
        (1, 4510, 99, Decimal("0.4510"), Decimal("0.99")),
        (1, 4500, 150, Decimal("0.4500"), Decimal("1.50")),
    ]
    assert state(connection, MIDNIGHT_US)["digest"] == digest(row[:3] for row in rows)


def test_an_empty_book_is_known(tmp_path: Path) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US + S, 1)
    connection = log.lake(tmp_path)
    found = state(connection, MIDNIGHT_US + S)
    assert (found["state"], found["levels"], found["digest"]) == ("known", 0, "e3b0c44298fc1c14")
    assert runs.book(connection, "A", MIDNIGHT_US + S) == {}
    assert state(connection, MIDNIGHT_US + S - 1)["state"] == "not_recorded"


def test_a_level_below_zero_is_refused(tmp_path: Path) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US, 1, (0, 4500, 100))
    log.add(DELTA, MIDNIGHT_US + S, 2, (0, 4500, -101))
    connection = log.lake(tmp_path)
    assert runs.book(connection, "A", MIDNIGHT_US) == {(0, 4500): 100}
    for macro in ("book_at('A', ?)", "book_state('A', ?)", "bbo('A', ?, TIMESTAMPTZ '2026-08-11 01:00:00Z')"):
        with pytest.raises(duckdb.Error, match="a level below zero"):
            connection.execute(f"FROM {macro}", [runs.instant(MIDNIGHT_US + S)]).fetchall()


def test_of_equal_stamps_the_later_conn_and_message_count(tmp_path: Path) -> None:
    log = Log()
    at = MIDNIGHT_US + S
    log.add(SNAPSHOT, at, 1, (0, 4500, 100))
    log.add(DELTA, at, 2, (0, 4500, 1))
    log.add(CLOSE, at, 2, reason="moved")
    log.add(SNAPSHOT, at, 1, (0, 4600, 7), conn=CONN + 1024)
    log.add(ORPHAN, at, 3, (0, 4500, 5))
    log.add(ORPHAN, at, 2, (0, 4600, 5), conn=CONN + 1024)
    connection = log.lake(tmp_path)
    assert runs.book(connection, "A", at) == {(0, 4600): 7}
    assert state(connection, at)["conn"] == CONN + 1024


def test_a_close_of_the_same_stamp_and_number_ends_the_book(tmp_path: Path) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US + S, 1, (0, 4500, 100))
    log.add(CLOSE, MIDNIGHT_US + S, 1, reason="disconnect")
    connection = log.lake(tmp_path)
    assert runs.book(connection, "A", MIDNIGHT_US + S) == {}
    found = state(connection, MIDNIGHT_US + S)
    assert (found["state"], found["reason"], found["gap_from"]) == ("gap", "disconnect", MIDNIGHT_US + S)


def test_a_silence_of_another_conn_hides_nothing(tmp_path: Path) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US, 1, (0, 4500, 100))
    log.silences.append((CONN + 1024, MIDNIGHT_US, MIDNIGHT_US + 10 * S))
    connection = log.lake(tmp_path)
    assert state(connection, MIDNIGHT_US + S)["state"] == "known"
    assert runs.book(connection, "A", MIDNIGHT_US + S) == {(0, 4500): 100}
    assert connection.execute("FROM gaps").fetchall() == []


def test_a_silence_hides_a_book_and_gives_it_back(tmp_path: Path) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US, 1, (0, 4500, 100), (1, 5000, 3))
    log.add(DELTA, MIDNIGHT_US + 30 * S, 2, (0, 4500, 1))
    start, end = MIDNIGHT_US + 10 * S, MIDNIGHT_US + 20 * S
    log.silences.append((CONN, start, end))
    connection = log.lake(tmp_path)
    assert runs.book(connection, "A", start - 1) == runs.book(connection, "A", end) != {}
    for ts_us in (start, end - 1):
        assert runs.book(connection, "A", ts_us) == {}
        found = state(connection, ts_us)
        assert [found[name] for name in ("state", "reason", "gap_from", "gap_to")] == ["gap", "stall", start, end]
    rows = connection.execute(
        "SELECT ts, state, reason, bid_e4, bid_qty_e2, ask_e4, ask_qty_e2 FROM bbo('A', ?, ?)",
        [runs.instant(start + S), runs.instant(MIDNIGHT_US + 60 * S)],
    ).fetchall()
    assert [(runs.number(row[0]), *row[1:]) for row in rows] == [
        (start + S, "gap", "stall", None, None, None, None),
        (end, "known", None, 4500, 100, 5000, 3),
        (MIDNIGHT_US + 30 * S, "known", None, 4500, 101, 5000, 3),
    ]
    gaps = connection.execute("SELECT ticker, ts_from, ts_to, reason, conn FROM gaps").fetchall()
    assert gaps == [("A", runs.instant(start), runs.instant(end), "stall", CONN)]


def test_a_gap_over_hours_is_one_gap(tmp_path: Path) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US, 1, (0, 4500, 100))
    start, end = MIDNIGHT_US + 5 * S, MIDNIGHT_US + 3 * HOUR_US + 7 * S
    log.add(CLOSE, start, 1, reason="disconnect")
    log.add(SNAPSHOT, end, 1, (0, 4600, 5), conn=CONN + 1024)
    log.add(CLOSE, end + S, 1, conn=CONN + 1024, reason="seq_gap")
    connection = log.lake(tmp_path, *range(MIDNIGHT_US // HOUR_US, MIDNIGHT_US // HOUR_US + 4))
    for ts_us in (start, MIDNIGHT_US + HOUR_US, MIDNIGHT_US + 2 * HOUR_US + 5, end - 1):
        found = state(connection, ts_us)
        told = [found[name] for name in ("state", "reason", "gap_from", "gap_to", "conn")]
        assert told == ["gap", "disconnect", start, end, CONN]
    assert state(connection, end)["state"] == "known"
    last = state(connection, end + S)
    assert (last["gap_from"], last["gap_to"]) == (end + S, None)
    gaps = connection.execute("SELECT ts_from, ts_to, reason FROM gaps WHERE ticker = 'A' ORDER BY ts_from").fetchall()
    assert gaps == [
        (runs.instant(start), runs.instant(end), "disconnect"),
        (runs.instant(end + S), None, "seq_gap"),
    ]


def test_a_quiet_market_is_read_from_the_hour_that_coverage_points_to(tmp_path: Path) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US - HOUR_US, 1, (0, 4500, 100))
    log.add(DELTA, MIDNIGHT_US - S, 2, (0, 4500, 5))
    first = MIDNIGHT_US // HOUR_US
    connection = log.lake(tmp_path, *range(first - 1, first + 5))
    for ts_us in (MIDNIGHT_US, MIDNIGHT_US + 4 * HOUR_US):
        found = state(connection, ts_us)
        assert [found[name] for name in ("state", "basis_at", "deltas", "last_change")] == [
            "known", MIDNIGHT_US - HOUR_US, 1, MIDNIGHT_US - S,
        ]  # fmt: skip
        assert runs.book(connection, "A", ts_us) == {(0, 4500): 105}


def test_an_hours_first_checkpoint_is_no_change(tmp_path: Path) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US - 30 * S, 1, (0, 4500, 100))
    log.add(CHECKPOINT, MIDNIGHT_US, 1, (0, 4500, 100))
    log.add(DELTA, MIDNIGHT_US + S, 2, (0, 4500, 5))
    log.add(CHECKPOINT, MIDNIGHT_US + S, 2, (0, 4500, 105))
    connection = log.lake(tmp_path)
    assert state(connection, MIDNIGHT_US)["last_change"] == MIDNIGHT_US - 30 * S
    after = state(connection, MIDNIGHT_US + S)
    assert (after["basis"], after["deltas"], after["last_change"]) == ("checkpoint", 0, MIDNIGHT_US + S)


@pytest.mark.parametrize(("reason", "word"), [("market_closed", "closed"), ("unsubscribed", "unsubscribed")])
def test_what_is_over_stays_over_in_hours_that_do_not_tell_of_it(tmp_path: Path, reason: str, word: str) -> None:
    log = Log()
    log.add(SNAPSHOT, MIDNIGHT_US, 1, (0, 4500, 100))
    log.add(CLOSE, MIDNIGHT_US + S, 1, reason=reason)
    first = MIDNIGHT_US // HOUR_US
    connection = log.lake(tmp_path, first, first + 1, first + 49)
    for ts_us in (MIDNIGHT_US + S, MIDNIGHT_US + HOUR_US, MIDNIGHT_US + 49 * HOUR_US):
        assert state(connection, ts_us)["state"] == word
    asked = [runs.instant(MIDNIGHT_US), runs.instant(MIDNIGHT_US + 2 * HOUR_US)]
    rows = connection.execute("SELECT state FROM bbo('A', ?, ?)", asked)
    assert rows.fetchall() == [("known",), (word,)]
