"""The best prices on change are those of the oracle's books at every instant where something happens."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from book.records import HOUR_US
from tests.model import log_rows
from tests.model.oracle import add
from tests.query.sql import runs
from tests.query.sql.conftest import FORCE, PUBLISHER
from tests.query.sql.hand import CHECKPOINT, CLOSE, CONN, DELTA, MIDNIGHT_US, SNAPSHOT, Log, S

Connections = Callable[[int, str], tuple[runs.Run, duckdb.DuckDBPyConnection]]
Top = tuple[int, Any, Any, Any, Any, Any]
"""An instant, what is known, and bid, its size, ask, its size."""


def _expected(run: runs.Run, ticker: str, from_us: int, to_us: int) -> list[Top]:
    moments = {from_us}
    for span in run.oracle.spans[ticker]:
        moments |= {span.from_us, *(ts_us for ts_us, _ in span.entries), *(ts_us for ts_us, _ in span.ends)}
        moments |= {edge for start, end in span.conn.silences for edge in (start + 1, end)}
    if ticker in run.oracle.over_us:
        moments.add(run.oracle.over_us[ticker])
    moments |= {hour * HOUR_US for hour in range(from_us // HOUR_US, to_us // HOUR_US + 1)}
    published = set(run.hours)
    found: list[Top] = []
    for ts_us in sorted(ts_us for ts_us in moments if from_us <= ts_us < to_us):
        told = run.oracle.answer(ticker, ts_us) if ts_us // HOUR_US in published else "not_published"
        if isinstance(told, str):
            found.append((ts_us, told, None, None, None, None))
        else:
            found.append(_top(ts_us, told))
    return _collapsed(found)


def _top(ts_us: int, book: runs.Book) -> Top:
    bid, no_bid = (max((price_e4 for of, price_e4 in book if of == side), default=None) for side in (0, 1))
    ask = None if no_bid is None else 10_000 - no_bid
    return ts_us, "known", bid, book.get((0, bid or 0)), ask, book.get((1, no_bid or 0))


def _collapsed(tops: list[Top]) -> list[Top]:
    return [top for at, top in enumerate(tops) if not at or top[1:] != tops[at - 1][1:]]


@pytest.mark.parametrize(("seed", "how"), [(5, FORCE), (17, FORCE), (5, PUBLISHER)])
def test_every_change_of_the_best_prices_is_there(connections: Connections, seed: int, how: str) -> None:
    run, connection = connections(seed, how)
    rng = random.Random(seed)
    changes = 0
    states: set[str] = set()
    first, last = run.hours[0], run.hours[-1]
    for _ in range(20):
        ticker = rng.choice(sorted(run.oracle.spans))
        (_, from_us), *_ = [q for q in run.questions(300) if q[0] == ticker and rng.random() < 0.2] or run.questions(1)
        to_us = min(from_us + rng.choice((1, HOUR_US // 2, 3 * HOUR_US, 30 * HOUR_US)), (last + 1) * HOUR_US)
        from_us = max(from_us, first * HOUR_US)
        rows = connection.execute("FROM bbo(?, ?, ?)", [ticker, runs.instant(from_us), runs.instant(to_us)]).fetchall()
        got = [(runs.number(ts), runs.WORDS.get(state, state), *prices) for ts, state, _, *prices in rows]
        assert got[0][0] == from_us
        assert _collapsed(got) == _expected(run, ticker, from_us, to_us), (ticker, from_us, to_us)
        changes += len(got)
        states |= {state for _, state, *_ in got}
    assert changes > 50
    assert {"known", "gap"} <= states


@pytest.mark.parametrize("seed", range(3))
def test_a_few_levels_that_come_and_go(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    log = Log()
    ts_us, conn, seq = MIDNIGHT_US - 40 * 60 * S, CONN, 0
    book: dict[tuple[int, int], int] | None = None
    for _ in range(400):
        ts_us += rng.choice((0, 1, 5 * S, 20 * S))
        if ts_us // HOUR_US != log.hour and book is not None:
            log.book(CHECKPOINT, ts_us // HOUR_US * HOUR_US, seq, book, conn=conn)
        log.hour = ts_us // HOUR_US
        seq += 1
        side, price_e4 = rng.randint(0, 1), 100 * rng.randint(1, 4)
        if book is None:
            conn, seq, book = conn + 1024, 1, {(side, price_e4): 5}
            log.book(SNAPSHOT, ts_us, seq, book, conn=conn)
        elif rng.random() < 0.02:
            log.add(CLOSE, ts_us + 1, seq - 1, conn=conn, reason=rng.choice(("seq_gap", "disconnect")))
            ts_us, book = ts_us + 2, None
        else:
            change = rng.choice((1, 2, -book.get((side, price_e4), -3)))
            add(book, (side, price_e4, change))
            log.add(DELTA, ts_us, seq, (side, price_e4, change), conn=conn)
            if rng.random() < 0.05:
                log.book(CHECKPOINT, ts_us, seq, book, conn=conn)
    connection = log.lake(tmp_path)
    stamps = sorted({row.ts_us for row in log.rows})
    rows = 0
    for _ in range(6):
        from_us, to_us = sorted(rng.sample(stamps, 2))
        expected = []
        for at_us in [from_us, *(one for one in stamps if from_us < one < to_us)]:
            told = log_rows.book_at(log.rows, at_us)
            expected.append(
                (at_us, "gap" if told == "unknown" else "no data", *4 * (None,))
                if isinstance(told, str)
                else _top(at_us, told)
            )
        found = connection.execute("FROM bbo('A', ?, ?)", [runs.instant(from_us), runs.instant(to_us)]).fetchall()
        got = [(runs.number(ts), runs.WORDS.get(state, state), *prices) for ts, state, _, *prices in found]
        assert _collapsed(got) == _collapsed(expected)
        rows += len(got)
    assert rows > 300


def test_the_time_zone_changes_no_row(connections: Connections) -> None:
    run, connection = connections(3, FORCE)
    asked = [min(run.oracle.spans), runs.instant(run.hours[1] * HOUR_US), runs.instant(run.hours[9] * HOUR_US)]
    expected = connection.execute("FROM bbo(?, ?, ?)", asked).fetchall()
    assert len(expected) > 10
    try:
        connection.execute("SET TimeZone = 'Asia/Kathmandu'")
        assert connection.execute("FROM bbo(?, ?, ?)", asked).fetchall() == expected
    finally:
        connection.execute("SET TimeZone = 'UTC'")
