"""Which files of the lake stand: those that the published hours' coverage names.

Owns the way from coverage to lists of files. Never lists a folder, and never trusts another table of the lake.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from book.errors import CorruptError
from lake.publishing.shelf import Shelf
from lake.schemas import PUBLISHED

Files = dict[str, list[str]]
"""For each table, coverage included, its files as DuckDB opens them, by hour."""

_NAMED = """
SELECT channel, file FROM read_parquet($files)
WHERE ticker = '*' AND state = 'table' AND superseded_at IS NULL ORDER BY ts_from, channel, file
"""


def standing_files(shelf: Shelf, root: str | None = None) -> Files:
    """Return every file of every published hour, below ``root``, or below the lake where it stands.

    Raises CorruptError where a coverage file is missing or damaged. Cost: about half a millisecond an hour.
    """
    found: Files = {table: [] for table in PUBLISHED}
    below = os.fspath(shelf.lake.resolve()) if root is None else root.rstrip("/")
    covered = [file for hour in shelf.hours() for file in shelf.coverage_files(hour)]
    found["coverage"] = [f"{below}/v1/coverage/{file}" for file in covered]
    for table, file in _named(shelf.path("coverage", ""), covered):
        found[table].append(f"{below}/v1/{table}/{file}")
    return found


def pattern(path: str) -> str:
    """Return a path so that DuckDB, which reads patterns, takes it as it is."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def _named(folder: Path, files: Sequence[str]) -> list[tuple[str, str]]:
    """Return the tables and files that coverage names."""
    listed = [pattern(os.fspath(folder / file)) for file in files]
    if not listed:
        return []
    with duckdb.connect(config={"autoinstall_known_extensions": False, "threads": 2}) as connection:
        try:
            return connection.execute(_NAMED, {"files": listed}).fetchall()
        except duckdb.Error as error:
            raise CorruptError(os.fspath(folder), 0, str(error)) from error
