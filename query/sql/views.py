"""The script that shows a lake to DuckDB: a view a table, over exactly the files that stand, and the macros.

Owns the text of the script. It is plain SQL, so that an outsider runs it as it is; what is not a list of files stands
in the .sql files beside this one.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from lake import durable, objects, paths
from lake.publishing.shelf import Shelf
from lake.schemas import PUBLISHED
from query.sql.listing import pattern, standing_files

_PARTS = ("derived.sql", "book.sql", "metadata.sql", "state.sql", "bbo.sql")
_VERSIONED = frozenset({"markets", "events", "series", "coverage"})
"""Tables whose view of files is called ``<table>_versions``; the table's own name is a view of what holds."""
_TYPES = {
    pa.utf8(): "VARCHAR",
    pa.int8(): "TINYINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.bool_(): "BOOLEAN",
    pa.binary(): "BLOB",
    pa.timestamp("us", "UTC"): "TIMESTAMP WITH TIME ZONE",
}


def views_sql(shelf: Shelf, root: str | None = None) -> str:
    """Return the script over every published hour; ``root`` is the lake as DuckDB reaches it, by default its path.

    Its first line is ``heading``. Raises CorruptError where a coverage file is missing or damaged. Cost: about half a
    millisecond an hour; about 100 bytes a file.
    """
    return heading(shelf, root) + script(standing_files(shelf, root))


def heading(shelf: Shelf, root: str | None = None) -> str:
    """Return the line that says what a script was made from: two with the same line are the same."""
    place = os.fspath(shelf.lake.resolve()) if root is None else root
    made = hashlib.sha256(_macros().encode()).hexdigest()[:8]
    return f"-- KalshiBook lake {place!r}, publication {shelf.manifest_number()}, form {made}\n"


def write_views(lake: Path, shelf: Shelf | None = None) -> None:
    """Write the script as ``<lake>/v1/views.sql``, in place of the one before, whole or not at all.

    ``shelf`` is the lake as it was last looked at, None to look. Several writers at once do no harm. Raises OSError,
    and CorruptError as ``views_sql`` does. Cost: as ``views_sql``, and a flush to disk.
    """
    if shelf is None:
        shelf = Shelf(lake)
        shelf.refresh()
    path = paths.views_path(lake)
    durable.make_folder(path.parent)
    temporary = objects.temporary_name(path)
    try:
        temporary.write_text(views_sql(shelf))
        durable.sync_file(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    durable.sync_folder(path.parent)


def script(files: Mapping[str, Sequence[str]]) -> str:
    """Return the script over these files, for each table by hour; a table without files has a view without rows.

    Files are paths or links with ``dt=.../hr=.../`` in them, as DuckDB opens them. Every view is made without files
    first: DuckDB looks at all that a macro names when the macro is made.
    """
    whole = [_view(table, files[table]) for table in PUBLISHED if files.get(table)]
    return "\n".join([*map(_blank, PUBLISHED), _macros(), *whole])


@lru_cache(maxsize=1)
def _macros() -> str:
    here = Path(__file__).parent
    return "\n".join(here.joinpath(part).read_text() for part in _PARTS)


def _name(table: str) -> str:
    return f"{table}_versions" if table in _VERSIONED else table


def _blank(table: str) -> str:
    """Return the view of a table without files."""
    fields = [f"CAST(NULL AS {_type(field.type)}) AS {field.name}" for field in PUBLISHED[table]]
    fields += ["CAST(NULL AS VARCHAR) AS dt", "CAST(NULL AS INTEGER) AS hr"]
    return f"CREATE OR REPLACE VIEW {_name(table)} AS SELECT {', '.join(fields)} WHERE false;"


def _view(table: str, files: Sequence[str]) -> str:
    listed = ",\n  ".join(map(_quoted, files))
    columns = ", ".join((*PUBLISHED[table].names, "dt", "hr"))
    return (  # a script is nothing but text; what goes in is ours, and quoted
        f"CREATE OR REPLACE VIEW {_name(table)} AS SELECT {columns} FROM read_parquet([\n  {listed}\n"  # noqa: S608
        "], hive_partitioning = true, hive_types = {'dt': VARCHAR, 'hr': INTEGER});\n"
    )


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{field.name} {_type(field.type)}' for field in kind)})"
    return _TYPES[kind]


def _quoted(file: str) -> str:
    return "'" + pattern(file).replace("'", "''") + "'"
