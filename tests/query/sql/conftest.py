"""Runs that several files ask about, each made once."""

from collections.abc import Callable
from functools import cache, lru_cache

import duckdb
import pytest

from lake.publishing.shelf import Shelf
from query.sql.listing import Files, standing_files
from tests.query.sql import runs

FORCE, PUBLISHER = "force", "publisher"
Lakes = Callable[[int, str], tuple[runs.Run, Files]]


@pytest.fixture(scope="session")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    """Return a run by its seed with the files of its lake, published by brute force or by the publisher."""
    recorded = lru_cache(maxsize=None)(lambda seed: runs.record(tmp_path_factory.mktemp("home"), seed))

    @cache
    def published(seed: int, how: str) -> tuple[runs.Run, Files]:
        run = recorded(seed)
        lake = tmp_path_factory.mktemp("lake")
        if how == FORCE:
            return run, run.publish_by_force(lake)
        assert run.publish(lake) == run.hours
        shelf = Shelf(lake)
        shelf.refresh()
        return run, standing_files(shelf)

    return published


@pytest.fixture(scope="session")
def connections(lakes: Lakes) -> Callable[[int, str], tuple[runs.Run, duckdb.DuckDBPyConnection]]:
    """Return a run by its seed with a connection to its lake, shared by all tests: leave it as it was."""

    @cache
    def connected(seed: int, how: str) -> tuple[runs.Run, duckdb.DuckDBPyConnection]:
        run, files = lakes(seed, how)
        return run, runs.connect(files)

    return connected
