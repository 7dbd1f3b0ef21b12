"""``kalshibook sql``: what it prints, where statements come from, and how it ends."""

import builtins
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.sql import run_sql
from lake.publishing.publish import publish_hours
from ops.settings import Settings
from tests.query.conftest import H0, HOUR, Journal

CONN = (H0 * HOUR // 1000) * 1024
SLOW = "SELECT count(*) FROM range(1000000) AS a, range(10000000) AS b WHERE a.range + b.range < 0"


class Printed:
    """What a command printed, line by line."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.err: list[str] = []

    def __call__(self, text: str, err: bool = False) -> None:
        (self.err if err else self.out).append(text)


@pytest.fixture
def printed() -> Printed:
    return Printed()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home whose lake holds one hour: market A, two levels, one change."""
    journal = Journal(tmp_path)
    journal.snapshot("A", H0 * HOUR + 1, CONN, 1, [(0, 4500, 10_000), (1, 5000, 250)])
    journal.delta("A", H0 * HOUR + 2, CONN, 2, 0, 4500, -50)
    journal.heard(CONN, (H0 + 1) * HOUR, 2)
    journal.flush(H0)
    publish_hours(tmp_path / "lake", tmp_path, [H0], now_us=lambda: (H0 + 2) * HOUR)
    return Settings(home=tmp_path)


def _stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_query_prints_a_table(settings: Settings, printed: Printed) -> None:
    assert (
        run_sql(settings, "SELECT ticker, kind, qty_e2, reason FROM orderbook ORDER BY seq, side", False, printed) == 0
    )
    assert printed.out == [
        "ticker  kind  qty_e2  reason",
        "------  ----  ------  ------",
        "A          0   10000",
        "A          0     250",
        "A          1     -50",
    ]
    assert not printed.err


def test_rows_as_json_keep_numbers_exact_and_instants_in_utc(settings: Settings, printed: Printed) -> None:
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=H0 * HOUR + 2)
    noon = "TIMESTAMPTZ '2026-08-10 12:00:00+02' AS noon"
    query = f"SELECT b.*, {noon}, 1 AS side FROM book_at('A', '{instant.isoformat()}') AS b"
    assert run_sql(settings, f"SET TimeZone = 'Asia/Kathmandu'; {query}", True, printed) == 0
    rows = [json.loads(line) for line in printed.out]
    assert rows[0] == {
        "side": 0, "price_e4": 4500, "qty_e2": 9950, "price_dollars": 0.45, "quantity": 99.5,
        "noon": "2026-08-10T15:45:00+05:45", "side_1": 1,
    }  # fmt: skip
    assert '"quantity":99.50' in printed.out[0]
    assert len(rows) == 2


def test_no_rows_are_said_so(settings: Settings, printed: Printed) -> None:
    assert run_sql(settings, "SELECT ticker FROM orderbook WHERE ticker = 'Z'", False, printed) == 0
    assert printed.out == ["ticker", "no rows"]
    assert run_sql(settings, "CREATE TABLE mine (a INTEGER)", False, other := Printed()) == 0
    assert not other.out


def test_a_plan_is_printed_as_it_is(settings: Settings, printed: Printed) -> None:
    assert run_sql(settings, "EXPLAIN SELECT 1", False, printed) == 0
    assert "\n" in printed.out[0]


@pytest.mark.parametrize("query", ["SELECT nothing FROM orderbook", "SELEC 1", "INSERT INTO orderbook VALUES (1)"])
def test_a_statement_that_fails_ends_it_with_1(settings: Settings, printed: Printed, query: str) -> None:
    assert run_sql(settings, query, False, printed) == 1
    assert printed.err
    assert printed.err[0].startswith("kalshibook: ")


def test_nothing_is_downloaded(settings: Settings, printed: Printed) -> None:
    assert (
        run_sql(
            settings, "SELECT value FROM duckdb_settings() WHERE name = 'autoinstall_known_extensions'", True, printed
        )
        == 0
    )
    assert json.loads(printed.out[0]) == {"value": "false"}


def test_a_lake_without_hours_is_said_to_have_none(tmp_path: Path, printed: Printed) -> None:
    assert run_sql(Settings(home=tmp_path / "none"), "SELECT 1", False, printed) == 1
    assert f"no hour is published under {tmp_path / 'none' / 'lake'} yet" in printed.err[0]


def test_statements_come_from_standard_input(
    settings: Settings, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stdin(monkeypatch, "SELECT 1 AS a;\nSELECT 2 AS b;")
    assert run_sql(settings, None, True, printed) == 0
    assert printed.out == ['{"a":1}', '{"b":2}']
    for nothing in ("", "  \n", "-- a remark"):
        _stdin(monkeypatch, nothing)
        assert run_sql(settings, None, False, printed) == 2
        assert "no statement" in printed.err[-1]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_prompt_takes_statements_until_it_is_left(
    settings: Settings, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed: Iterator[str | type[BaseException]] = iter(
        ["", "SELECT 1", "AS a;", "SELEC;", "SELECT 5", KeyboardInterrupt, "SELECT range FROM range(5000);", "exit"]
    )

    def answer(_prompt: str = "") -> str:
        line = next(typed)
        if not isinstance(line, str):
            raise line
        return line

    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setattr(builtins, "input", answer)
    assert run_sql(settings, None, True, printed) == 0
    assert printed.out[0].startswith("Published hours: 1. ")
    assert printed.out[1] == '{"a":1}'
    assert "syntax error" in printed.err[0]
    assert printed.out[-1] == '{"range":999}'
    assert "the first 1000 rows" in printed.err[-1]
    assert next(typed, None) is None


def test_the_end_of_input_leaves_the_prompt(
    settings: Settings, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_prompt: str = "") -> str:
        raise EOFError

    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setattr(builtins, "input", ended)
    assert run_sql(settings, None, False, printed) == 0


def test_ctrl_c_ends_a_query_with_130(settings: Settings) -> None:
    command = [str(Path(sys.executable).with_name("kalshibook")), "sql", "--json", f"SELECT 1 AS one; {SLOW}"]
    environment = os.environ | {"KALSHIBOOK_HOME": str(settings.home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == '{"one":1}\n'
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 130
        finally:
            process.kill()
