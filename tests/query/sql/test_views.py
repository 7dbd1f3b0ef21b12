"""The script shows what stands and nothing else, wherever the lake lies; the lake's own copy is that script."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from lake import paths
from lake.publishing.publish import publish_hours
from lake.publishing.shelf import Shelf
from lake.schemas import PUBLISHED
from query.sql import views
from query.sql.listing import standing_files
from query.sql.session import Session
from tests.query.conftest import H0, HOUR, Journal
from tests.query.sql import runs

CONN = (H0 * HOUR // 1000) * 1024
OWN = (
    "checkpoints", "coverage", "deltas", "events", "gaps", "hours", "markets", "series", "settlements", "snapshots",
)  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "home")


def _publish(journal: Journal, lake: Path, *hours: int, reason: str = "hour") -> Shelf:
    publish_hours(lake, journal.home, hours, now_us=lambda: (H0 + 100) * HOUR, reason=reason)
    shelf = Shelf(lake)
    shelf.refresh()
    return shelf


def _hour(journal: Journal, hour: int, ticker: str = "A") -> None:
    """Log a market's book and one change in an hour of its own, and its end."""
    at = hour * HOUR
    conn = CONN + (hour - H0) * 1024
    journal.snapshot(ticker, at + 1, conn, 1, [(0, 45, 100)])
    journal.delta(ticker, at + 2, conn, 2, 0, 45, 5)
    journal.heard(conn, at + 3, 2)
    journal.close(ticker, at + 4, conn, 2, "shutdown")
    journal.flush(hour, up=[])


def _connected(shelf: Shelf) -> duckdb.DuckDBPyConnection:
    return runs.connect(standing_files(shelf))


def test_every_column_has_its_type_with_files_and_without(journal: Journal, tmp_path: Path) -> None:
    _hour(journal, H0)
    whole, empty = _connected(_publish(journal, tmp_path / "lake", H0)), runs.connect({})
    for table, schema in PUBLISHED.items():
        shown = [
            [(name, kind) for name, kind, *_ in connection.execute(f"DESCRIBE {table}").fetchall()]
            for connection in (whole, empty)
        ]
        assert shown[0] == shown[1]
        assert [name for name, _ in shown[0]] == [*schema.names, "dt", "hr"]
        found = whole.sql(f"FROM {table} LIMIT 0").to_arrow_table().schema
        assert [found.field(name).type for name in schema.names] == [_plain(field.type) for field in schema]
        assert empty.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    for name in OWN:
        assert empty.execute(f"FROM {name}").fetchall() == []
    assert empty.execute("FROM book_at('A', now())").fetchall() == []
    assert empty.execute("FROM market_at('A', now())").fetchall() == []
    assert runs.row(empty, "FROM book_state('A', now())")["state"] == "not_published"
    assert len(empty.execute("FROM bbo('A', now(), now() + INTERVAL 1 HOUR)").fetchall()) == 1


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return a type as DuckDB gives it: fields of nested types may be null."""
    if pa.types.is_list(kind):
        return pa.list_(pa.field("l", _plain(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain(field.type)) for field in kind])
    return kind


def test_only_files_that_coverage_names_are_read(journal: Journal, tmp_path: Path) -> None:
    _hour(journal, H0)
    lake = tmp_path / "lake"
    shelf = _publish(journal, lake, H0)
    (file,) = standing_files(shelf)["orderbook"]
    Path(file).with_name("stray.parquet").write_bytes(Path(file).read_bytes())
    assert standing_files(shelf)["orderbook"] == [file]
    assert _connected(shelf).execute("SELECT count(*) FROM orderbook").fetchone() == (3,)


def test_a_new_version_takes_the_place_of_the_old_one(journal: Journal, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    at, conn = H0 * HOUR, CONN
    journal.snapshot("A", at + 1, conn, 1, [(0, 45, 100)])
    journal.delta("A", at + 2, conn, 2, 0, 45, 5)
    journal.heard(conn, at + HOUR, 2)
    journal.flush(H0)
    before = standing_files(_publish(journal, lake, H0))
    journal.close("A", at + 2, conn, 1, "audit_mismatch")
    journal.flush(H0)
    shelf = _publish(journal, lake, H0, reason="late")
    after = standing_files(shelf)
    assert not set(before["orderbook"]) & set(after["orderbook"])
    assert all(Path(file).exists() for file in before["orderbook"])
    connection = _connected(shelf)
    assert connection.execute("SELECT count(*), sum((kind = 4)::INT) FROM orderbook").fetchone() == (3, 1)
    assert connection.execute("SELECT DISTINCT version, reason FROM hours").fetchall() == [(2, "correction")]
    assert connection.execute("SELECT new_version, ticker FROM corrections").fetchall() == [(2, "A")]
    versions = "SELECT version, superseded_at IS NULL FROM coverage_versions WHERE ticker = 'A' AND state = 'known'"
    assert sorted(connection.execute(versions).fetchall()) == [(1, False), (2, True)]
    gap = connection.execute("SELECT reason, ts_from FROM gaps").fetchall()
    assert gap == [("audit_mismatch", runs.instant(at + 2))]


@pytest.mark.parametrize("name", ["o'clock", "a [b] c", "what? * all", "env=prod"])
def test_the_lake_may_lie_anywhere(journal: Journal, tmp_path: Path, name: str) -> None:
    _hour(journal, H0)
    lake = tmp_path / name / "lake"
    shelf = _publish(journal, lake, H0)
    connection = duckdb.connect()
    connection.execute(views.views_sql(shelf))
    assert connection.execute("SELECT count(*) FROM orderbook").fetchone() == (3,)
    assert runs.book(connection, "A", H0 * HOUR + 2) == {(0, 45): 105}


def test_of_metadata_the_newest_version_is_shown(journal: Journal, tmp_path: Path) -> None:
    at = H0 * HOUR
    settled = {"result": "yes", "settlement_value_e4": 10_000}
    journal.market("A", at + 1, status="active", event_ticker="E")
    journal.market("A", at + 3, status="settled", event_ticker="E", **settled, settled_time=at + 2)
    journal.market("B", at + 1, status="active")
    fields = {"channel_type": "market_lifecycle_v2", "conn": CONN - 1024, "seq": 1, "message": "{}"}
    journal.row("lifecycle", ticker="B", ts_recv=at + 2, event_type="determined", result="no", **fields)
    for table, key in (("events", "event_ticker"), ("series", "series_ticker")):
        for version in (1, 2):
            record = json.dumps({"version": version})
            journal.row(table, **{key: "E"}, valid_from=at + version, title=f"v{version}", record=record)
    journal.heard(CONN - 1024, at + 3, 1)
    _hour(journal, H0)
    connection = _connected(_publish(journal, tmp_path / "lake", H0))
    states = connection.execute("SELECT ticker, status FROM markets ORDER BY ticker").fetchall()
    assert states == [("A", "settled"), ("B", "active")]
    assert connection.execute("SELECT count(*) FROM markets_versions").fetchone() == (3,)
    assert connection.execute("SELECT title FROM events").fetchall() == [("v2",)]
    assert connection.execute("SELECT title FROM series").fetchall() == [("v2",)]
    settlements = connection.execute(
        "SELECT market_ticker, result, settlement_value_e4, determined_at, settled_at FROM settlements ORDER BY 1"
    )
    assert settlements.fetchall() == [
        ("A", "yes", 10_000, runs.instant(at + 3), runs.instant(at + 2)),
        ("B", "no", None, runs.instant(at + 2), None),
    ]


def test_the_lakes_own_script_is_the_one_a_session_makes(journal: Journal, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    _hour(journal, H0)
    shelf = _publish(journal, lake, H0)
    views.write_views(lake)
    stored = paths.views_path(lake)
    assert stored.read_text() == views.views_sql(shelf)
    assert [entry.name for entry in (lake / "v1").iterdir() if entry.is_file()] == ["views.sql"]
    stored.write_text(stored.read_text() + "CREATE OR REPLACE VIEW mine AS SELECT 1 AS one;\n")
    session = Session(lake)
    assert session.connection.execute("FROM mine").fetchall() == [(1,)]
    _hour(journal, H0 + 1, "B")
    _publish(journal, lake, H0 + 1)
    assert _tickers(session) == {"A"}
    session.refresh()
    assert _tickers(session) == {"A", "B"}
    session.close()
    other = Session(lake)  # the stored script is of the publication before
    assert _tickers(other) == {"A", "B"}
    with pytest.raises(duckdb.CatalogException):
        other.connection.execute("FROM mine")
    other.close()
    views.write_views(lake, shelf)
    assert ", publication 1, " in stored.read_text().splitlines()[0]


def _tickers(session: Session) -> set[str]:
    return {ticker for (ticker,) in session.connection.execute("SELECT DISTINCT ticker FROM orderbook").fetchall()}


def test_a_book_is_read_from_one_file_of_rows(
    connections: Callable[[int, str], tuple[runs.Run, duckdb.DuckDBPyConnection]],
) -> None:
    run, connection = connections(3, "force")
    questions = run.questions(40)
    known = 0
    for (ticker, ts_us), answer in zip(questions, runs.answers(connection, questions), strict=True):
        files = _files_read(connection, f"FROM book_at('{ticker}', TIMESTAMPTZ '{runs.instant(ts_us).isoformat()}')")
        assert len({file for file in files if "/coverage/" in file}) <= 2
        rows = [file for file in files if "/orderbook/" in file]
        assert len(rows) <= 1
        if isinstance(answer, dict) and answer:
            known += 1
            assert len(rows) == 1
    assert known > 10
    whole = _files_read(connection, "SELECT count(DISTINCT ticker) FROM orderbook")
    assert len(whole) > 20  # what is read is seen


def _files_read(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    """Return the files that a query opened, as often as it did."""
    ((_, text),) = connection.execute(f"EXPLAIN (ANALYZE, FORMAT json) {query}").fetchall()
    found: list[str] = []

    def look(node: Any) -> None:
        if isinstance(node, list):
            for one in node:
                look(one)
        elif isinstance(node, dict):
            count = int(node.get("Total Files Read", 0))
            names = [name for name in str(node.get("Filename(s)", "")).split(", ") if name.startswith("/")]
            found.extend(names + (count - len(names)) * [names[0] if names else "/unnamed"])
            look(list(node.values()))

    look(json.loads(text))
    return found
