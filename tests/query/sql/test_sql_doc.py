"""docs/sql.md is true: it names every view and column of the macros, and its statements run."""

import re
from pathlib import Path

import duckdb
import pytest

from tests.query.sql import runs

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "sql.md").read_text()
STATEMENTS = [
    one for block in re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL) for one in block.split(";") if one.strip()
]


@pytest.fixture(scope="module")
def empty() -> duckdb.DuckDBPyConnection:
    """A lake without hours: what is only about names and types."""
    return runs.connect({})


def test_every_view_stands_in_it(empty: duckdb.DuckDBPyConnection) -> None:
    table = TEXT.split("| view | what |")[1].split("\n\n")[0]
    told = {name for names in re.findall(r"^\| ([a-z_, ]+) \|", table, re.MULTILINE) for name in names.split(", ")}
    assert told == {name for (name,) in empty.execute("SHOW TABLES").fetchall()}


def test_every_macro_for_people_stands_in_it(empty: duckdb.DuckDBPyConnection) -> None:
    query = (
        "SELECT function_name, parameters FROM duckdb_functions() WHERE function_type = 'table_macro' AND NOT internal"
    )
    macros = {name: ", ".join(names) for name, names in empty.execute(query).fetchall() if not name.startswith("kb_")}
    assert dict(re.findall(r"^\*\*`(\w+)\((.*?)\)`\*\*", TEXT, re.MULTILINE)) == macros


def test_every_column_of_a_macro_stands_in_it(empty: duckdb.DuckDBPyConnection) -> None:
    for call in ("book_at('A', now())", "book_state('A', now())", "bbo('A', now(), now())"):
        section = TEXT.split(f"**`{call.split('(')[0]}(")[1].split("\n**`")[0]
        for name, *_ in empty.execute(f"DESCRIBE FROM {call}").fetchall():
            assert re.search(rf"(`{name}`|^\| [a-z_, ]*\b{name}\b)", section, re.MULTILINE), (call, name)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_its_statements_run(empty: duckdb.DuckDBPyConnection, statement: str) -> None:
    empty.execute(statement).fetchall()


def test_there_are_statements() -> None:
    assert len(STATEMENTS) > 5
