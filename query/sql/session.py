"""DuckDB over a local lake: in memory, with the views and macros of the hours that are published.

Owns the connection and keeps its views up to date. The lake's files are opened for reading only.
"""

from pathlib import Path

import duckdb

from lake import paths
from lake.publishing.shelf import Shelf
from query.sql import views

_CONFIG: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}


class Session:
    """A connection that shows the lake under ``lake``; for one thread at a time.

    Times are shown in UTC until the caller says otherwise. Nothing is downloaded.
    """

    def __init__(self, lake: Path) -> None:
        self.shelf = Shelf(lake)
        """The published hours that the views show."""
        self.connection = duckdb.connect(":memory:", config=_CONFIG)
        self.connection.execute("SET TimeZone = 'UTC'")
        self.refresh()

    def refresh(self) -> None:
        """Take in what was published since the last call.

        Raises CorruptError where a coverage file is missing or damaged. Cost: two stats where nothing was; else the
        lake's own script is run where it is up to date, or made anew at half a millisecond an hour.
        """
        if self.shelf.refresh() or not self.shelf.hours():
            self.connection.execute(_script(self.shelf))

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def _script(shelf: Shelf) -> str:
    """Return the script that stands in the lake where it is of the same publication and form, else a new one."""
    try:
        stored = paths.views_path(shelf.lake).read_text()
    except (OSError, UnicodeDecodeError):
        stored = ""
    return stored if stored.startswith(views.heading(shelf)) else views.views_sql(shelf)
