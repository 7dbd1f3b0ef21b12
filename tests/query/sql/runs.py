"""Runs of the model for SQL to be asked about: a log with faults, published by brute force or by the publisher.

Owns the proportions of a run, and how an answer of SQL is put in the oracle's words.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb

from book.records import HOUR_US
from collector import spans
from collector.limits import Limits
from lake import paths
from lake.journal.reader import Hour
from lake.publishing.publisher import Publisher
from query.sql import views
from tests.model import log_rows
from tests.model.faults import FAULTS, schedule
from tests.model.frames import lives
from tests.model.oracle import GAP, OVER, UNWANTED, Oracle
from tests.model.questions import instants
from tests.model.rig import Rig
from tests.model.times import NS, Shown
from tests.query.sql import hours as by_force

LIMITS = Limits(audit_every_s=4.0)
MINUTE_US = 60_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WORDS = {"gap": GAP, "closed": OVER, "unsubscribed": UNWANTED, "not_recorded": "no data"}
Book = dict[tuple[int, int], int]
Question = tuple[str, int]


@dataclass
class Run:
    """A finished run: its log, and what the oracle knows of it."""

    home: Path
    oracle: Oracle
    last_us: int
    seed: int

    @property
    def hours(self) -> list[int]:
        """The hours that the publisher takes for over, ascending."""
        ends = MINUTE_US - self.last_us
        return [hour for hour in paths.hours(self.home, 0) if (hour + 1) * HOUR_US + ends <= 0]

    def questions(self, count: int) -> list[Question]:
        """Return markets and instants in these hours, the edges most."""
        known = set(self.hours)
        asked = instants(self.oracle, random.Random(self.seed), 3 * count)
        return [(ticker, ts_us) for ticker, ts_us in asked if ts_us // HOUR_US in known][:count]

    def publish_by_force(self, lake: Path) -> by_force.Files:
        silences: list[tuple[int, int, int]] = []
        for number in paths.hours(self.home, 0):
            hour = Hour(paths.hour_dir(self.home, 0, number), 0, number)
            hour.poll()
            silences += [tuple(silence) for silence in hour.silences]
        return by_force.publish(lake, log_rows.read(self.home, 0), silences, self.hours)

    def publish(self, lake: Path) -> list[int]:
        """Publish with the product's publisher; return the hours."""
        return Publisher(lake, self.home, lambda: self.last_us, _never, monotonic_s=lambda: 0.0).once()


def record(
    home: Path,
    seed: int,
    *,
    kinds: tuple[str, ...] = tuple(FAULTS),
    seconds: float = 40.0,
    recorded: Path | None = None,
) -> Run:
    """Run a shard under ``home``: markets that open and close, and faults of these kinds; a second shows an hour."""
    rng = random.Random(seed)
    with patch.object(spans, "CHECKPOINT_EVERY", 128):
        markets = lives(recorded, 4, seconds, 12.0, rng)
        rig = Rig(home, markets, Shown(1_000_000), rng, limits=LIMITS)
        schedule(rig, kinds, 2 * NS, int((seconds - 2) * NS), rng)
        rig.agenda.run(int(seconds * NS))
    if rig.up:
        rig.close()
    return Run(home, rig.oracle, rig.stamper.last_us, seed)


def connect(files: by_force.Files) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    connection.execute("SET TimeZone = 'UTC'; SET threads = 2")
    connection.execute(views.script(files))
    return connection


def instant(ts_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=ts_us)


def number(value: Any) -> Any:
    """Return an instant in microseconds, anything else as it is."""
    return (value - EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value


def row(connection: duckdb.DuckDBPyConnection, query: str, *values: Any) -> dict[str, Any]:
    """Return the one row of a query, instants in microseconds."""
    result = connection.execute(query, list(values))
    names = [column[0] for column in result.description or ()]
    (found,) = result.fetchall()
    return {name: number(value) for name, value in zip(names, found, strict=True)}


def book(connection: duckdb.DuckDBPyConnection, ticker: str, ts_us: int) -> Book:
    rows = connection.execute("SELECT side, price_e4, qty_e2 FROM book_at(?, ?)", [ticker, instant(ts_us)]).fetchall()
    assert [(side, -price_e4) for side, price_e4, _ in rows] == sorted((side, -price) for side, price, _ in rows)
    return {(side, price_e4): qty_e2 for side, price_e4, qty_e2 in rows}


def ask(connection: duckdb.DuckDBPyConnection, questions: Sequence[Question]) -> None:
    """Put questions into a table ``asked`` (n, tk, ts)."""
    connection.execute("CREATE OR REPLACE TABLE asked (n INTEGER, tk VARCHAR, ts TIMESTAMPTZ)")
    rows = [(n, ticker, instant(ts_us)) for n, (ticker, ts_us) in enumerate(questions)]
    connection.executemany("INSERT INTO asked VALUES (?, ?, ?)", rows)


def answers(connection: duckdb.DuckDBPyConnection, questions: Sequence[Question]) -> list[Book | str]:
    """Return what SQL says of each market and instant, all asked at once, in the oracle's words."""
    ask(connection, questions)
    books: dict[int, Book] = defaultdict(dict)
    levels = "SELECT n, side, price_e4, qty_e2 FROM asked, LATERAL book_at(tk, asked.ts) AS b"
    for n, side, price_e4, qty_e2 in connection.execute(levels).fetchall():
        books[n][side, price_e4] = qty_e2
    states = "SELECT state, levels FROM asked, LATERAL book_state(tk, asked.ts) AS b ORDER BY n"
    found: list[Book | str] = []
    for n, (state, count) in enumerate(connection.execute(states).fetchall()):
        known = state == "known"
        assert count == (len(books[n]) if known else None)
        assert known or not books[n]
        found.append(books[n] if known else WORDS.get(state, state))
    assert len(found) == len(questions)
    return found


def _never(event: str, **fields: object) -> None:
    assert event == "published", (event, fields)
