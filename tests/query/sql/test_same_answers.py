"""The macros answer what the oracle knows and what query.point says, in gaps, silences and over midnight too."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import duckdb
import pytest

from book.digest import digest
from book.errors import ApiError
from book.records import DAY_US, HOUR_US
from query.log import Log
from query.point import book_at
from tests.model.questions import word
from tests.query.sql import runs
from tests.query.sql.conftest import FORCE, PUBLISHER

Connections = Callable[[int, str], tuple[runs.Run, duckdb.DuckDBPyConnection]]
ZONES = ("America/New_York", "Asia/Kathmandu", "UTC")


@pytest.mark.parametrize(("seed", "how"), [(3, FORCE), (17, FORCE), (3, PUBLISHER), (6, PUBLISHER)])
def test_every_answer_is_the_brute_forces(connections: Connections, seed: int, how: str) -> None:
    run, connection = connections(seed, how)
    questions = run.questions(1500)
    verdicts: Counter[str] = Counter()
    wrong = []
    for (ticker, ts_us), got in zip(questions, runs.answers(connection, questions), strict=True):
        want = run.oracle.answer(ticker, ts_us)
        verdicts[word(want)] += 1
        if got != want:
            wrong.append((ticker, ts_us, word(want), word(got)))
    assert wrong == []
    assert verdicts["book"] > 500
    assert min(verdicts["gap"], verdicts["over"], verdicts["no data"]) > 50
    stamps = [ts_us for _, ts_us in questions]
    assert sum(ts_us % HOUR_US == 0 for ts_us in stamps) > 50
    assert sum(ts_us % DAY_US == 0 for ts_us in stamps) > 10


@pytest.mark.parametrize("how", [FORCE, PUBLISHER])
def test_a_state_says_what_the_journals_reader_says(connections: Connections, how: str) -> None:
    run, connection = connections(3, how)
    log = Log(run.home, lambda: run.last_us + 1)
    seen: Counter[str] = Counter()
    runs.ask(connection, questions := run.questions(400))
    result = connection.execute("SELECT b.* FROM asked, LATERAL book_state(tk, asked.ts) AS b ORDER BY n")
    names = [column[0] for column in result.description or ()]
    for (ticker, ts_us), values in zip(questions, result.fetchall(), strict=True):
        state = {n: runs.number(value) for n, value in zip(names, values, strict=True)}
        want = _told(log, ticker, ts_us)
        seen[want["state"]] += 1
        assert {name: state[name] for name in want} == want, (ticker, ts_us)
    assert min(seen["known"], seen["gap"], seen["closed"], seen["not_recorded"]) > 10


def _told(log: Log, ticker: str, ts_us: int) -> dict[str, Any]:
    try:
        answer = book_at(log, ticker, ts_us)
    except ApiError as error:
        fields = error.fields
        if error.code == "data_gap":
            gap = {"gap_from": fields["from"], "gap_to": fields["to"], "reason": fields["reason"]}
            return {"state": "gap", "digest": None, **gap}
        if error.code == "market_closed":
            return {"state": "closed", "reason": "market_closed"}
        word = {"unsubscribed": "unsubscribed", "before_first_data": "not_recorded", "not_recorded": "not_recorded"}
        return {"state": word[fields["reason"]], "basis": None}
    return {
        "state": "known",
        "reason": None,
        "gap_from": None,
        "basis": answer.basis,
        "basis_at": answer.basis_at_us,
        "conn": answer.conn,
        "seq": answer.seq,
        "deltas": answer.deltas_applied,
        "last_change": answer.last_change_us,
        "levels": len(answer.book.levels()),
        "digest": answer.digest,
    }


def test_one_question_is_answered_as_many_at_once_are(connections: Connections) -> None:
    run, connection = connections(3, PUBLISHER)
    questions = run.questions(25)
    for (ticker, ts_us), together in zip(questions, runs.answers(connection, questions), strict=True):
        state = runs.row(connection, "FROM book_state(?, ?)", ticker, runs.instant(ts_us))
        if isinstance(together, dict):
            assert runs.book(connection, ticker, ts_us) == together
            assert state["digest"] == digest([(*level, qty_e2) for level, qty_e2 in together.items()])
        else:
            assert runs.book(connection, ticker, ts_us) == {}
            assert state["state"] == "gap" or runs.WORDS[state["state"]] == together


@pytest.mark.parametrize("zone", ZONES)
def test_the_sessions_time_zone_changes_no_answer(connections: Connections, zone: str) -> None:
    run, connection = connections(6, PUBLISHER)
    questions = run.questions(300)
    expected = runs.answers(connection, questions)
    try:
        connection.execute(f"SET TimeZone = '{zone}'")
        assert runs.answers(connection, questions) == expected
        known = [at for at, answer in enumerate(expected) if isinstance(answer, dict) and answer]
        for at in known[:6]:
            ticker, ts_us = questions[at]
            text = f"{runs.instant(ts_us):%Y-%m-%d %H:%M:%S.%fZ}"
            found = connection.execute("SELECT side, price_e4, qty_e2 FROM book_at(?, ?)", [ticker, text]).fetchall()
            assert {row[:2]: row[2] for row in found} == expected[at]
            local = runs.row(connection, "SELECT (TIMESTAMPTZ '2026-08-10 12:00:00')::TIMESTAMPTZ AS noon")["noon"]
            assert (local == 1_786_363_200_000_000) == (zone == "UTC")
    finally:
        connection.execute("SET TimeZone = 'UTC'")


def test_an_hour_that_is_not_published_has_no_book(connections: Connections) -> None:
    run, connection = connections(3, PUBLISHER)
    ticker = min(run.oracle.spans)
    for ts_us in ((run.hours[0] - 1) * HOUR_US, (run.hours[-1] + 1) * HOUR_US, run.last_us + 10 * DAY_US):
        state = runs.row(connection, "FROM book_state(?, ?)", ticker, runs.instant(ts_us))
        assert state["state"] == "not_published"
        assert runs.book(connection, ticker, ts_us) == {}
