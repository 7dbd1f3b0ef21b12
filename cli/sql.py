"""Owns ``kalshibook sql``: where the statements come from, how rows are shown, and the exit code.

What can be asked stands in query.sql; a statement that fails ends the command, but not the prompt.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import duckdb
import msgspec
from duckdb import ExpectedResultType

from book.errors import LakeError
from ops.settings import Settings
from query.sql.session import Session

_INTERRUPTED = 130
_PROMPT, _MORE = "kalshibook> ", "       ...> "
_LEAVE = frozenset({"exit", "quit", ".exit", ".quit", "exit;", "quit;"})
_INTERRUPT_EVERY_S = 0.05
_BATCH = 10_000
_MOST_AT_PROMPT = 1_000
_PLAN = ["explain_key", "explain_value"]

Echo = Callable[..., None]
"""Print a line; with ``err=True`` to standard error."""
Row = tuple[Any, ...]


def run_sql(settings: Settings, query: str | None, json: bool, echo: Echo) -> int:
    """Run ``query``, else the statements on standard input, else a prompt; return the exit code.

    Rows are shown as a table, with ``json`` as one JSON object a line. 1: nothing is published, or a statement failed;
    2: no statement was given; 130: interrupted.
    """
    lake = settings.lake_root
    try:
        session = Session(lake)
    except LakeError as error:
        echo(f"kalshibook: {error}", err=True)
        return 1
    with contextlib.closing(session):
        if not session.shelf.hours():
            remedy = "an hour is published a minute or more after its end, by `kalshibook publish`, which `up` runs"
            echo(f"kalshibook: no hour is published under {lake} yet: {remedy}", err=True)
            return 1
        try:
            if query is None and sys.stdin.isatty():
                return _prompt(session, json, echo)
            text = sys.stdin.read() if query is None else query
            return _run_all(session.connection, text, json, echo)
        except KeyboardInterrupt:
            return _INTERRUPTED


def _run_all(connection: duckdb.DuckDBPyConnection, text: str, json: bool, echo: Echo) -> int:
    try:
        if not _run(connection, text, json, echo, None):
            echo("kalshibook: no statement was given, neither as QUERY nor on standard input", err=True)
            return 2
    except duckdb.Error as error:
        echo(f"kalshibook: {error}", err=True)
        return 1
    return 0


def _prompt(session: Session, json: bool, echo: Echo) -> int:
    """Ask for statements until the end of input; each runs as soon as a line ends it with a semicolon."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - its import alone gives input() a history; not every Python has it
    count = len(session.shelf.hours())
    echo(f"Published hours: {count}. SHOW TABLES lists the views; end a statement with ; and leave with exit.")
    typed: list[str] = []
    while True:
        try:
            line = input(_MORE if typed else _PROMPT)
        except EOFError:
            echo("")
            return 0
        except KeyboardInterrupt:
            echo("")
            typed.clear()
            continue
        if not typed and line.strip().lower() in _LEAVE:
            return 0
        typed.append(line)
        if not line.rstrip().endswith(";") and "".join(typed).strip():
            continue
        text = "\n".join(typed)
        typed.clear()
        try:
            session.refresh()
            _run(session.connection, text, json, echo, _MOST_AT_PROMPT)
        except (duckdb.Error, LakeError) as error:
            echo(str(error), err=True)
        except KeyboardInterrupt:
            echo("interrupted", err=True)


def _run(connection: duckdb.DuckDBPyConnection, text: str, json: bool, echo: Echo, most: int | None) -> int:
    """Run statements and show their rows; return how many there were. ``most`` rows of each are shown, None: all."""
    statements = connection.extract_statements(text)
    for statement in statements:
        try:
            result = _interruptible(connection, connection.execute, statement)
            if ExpectedResultType.QUERY_RESULT in statement.expected_result_type:
                _show([column[0] for column in result.description or ()], _batches(result), json, echo, most)
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None  # which is what it was
    return len(statements)


def _batches(result: duckdb.DuckDBPyConnection) -> Iterator[list[Row]]:
    while batch := _interruptible(result, result.fetchmany, _BATCH):
        yield batch


def _interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[Any], Any], argument: Any) -> Any:
    """Return ``work(argument)``, done in another thread: DuckDB loses a Ctrl-C that falls between two of its looks."""
    with ThreadPoolExecutor(1) as worker:
        pending = worker.submit(work, argument)
        try:
            return pending.result()
        except KeyboardInterrupt:
            while not pending.done():  # an interrupt before the query has begun stops nothing: again until it ends
                connection.interrupt()
                wait([pending], timeout=_INTERRUPT_EVERY_S)
            raise


def _show(names: Sequence[str], batches: Iterator[list[Row]], json: bool, echo: Echo, most: int | None) -> None:
    if list(names) == _PLAN:
        for rows in batches:
            for row in rows:
                echo(row[1])
        return
    shown = 0
    widths: list[int] = []
    keys = _distinct(names)
    for rows in batches:
        if most is not None and shown + len(rows) > most:
            rows = rows[: most - shown]
        if json:
            for row in rows:
                echo(_ENCODER.encode(dict(zip(keys, row, strict=True))).decode())
        else:
            cells = [[_text(value) for value in row] for row in rows]
            if not widths:
                widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
                echo(_line(names, widths, names))
                echo("  ".join("-" * width for width in widths))
            for row, texts in zip(rows, cells, strict=True):
                echo(_line(texts, widths, row))
        shown += len(rows)
        if most is not None and shown >= most:
            echo(f"the first {shown} rows; ask for fewer with LIMIT, or for all with kalshibook sql QUERY", err=True)
            return
    if not shown and not json and names != ["Count"]:
        echo(_line(names, [len(name) for name in names], names))
        echo("no rows")


def _line(texts: Sequence[str], widths: Sequence[int], values: Sequence[Any]) -> str:
    """Return one line of a table: numbers to the right, everything else to the left."""
    cells = [
        text.ljust(width) if isinstance(value, bool) or not hasattr(value, "__trunc__") else text.rjust(width)
        for text, width, value in zip(texts, widths, values, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _text(value: Any) -> str:
    """Return a value as a table shows it; what is neither text nor a number, as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("\n", "\\n")
    return _ENCODER.encode(value).decode().strip('"')


def _distinct(names: Sequence[str]) -> list[str]:
    """Return the names of columns, a number behind those that stood before."""
    found: list[str] = []
    for name in names:
        number, key = 0, name
        while key in found:
            number += 1
            key = f"{name}_{number}"
        found.append(key)
    return found


_ENCODER = msgspec.json.Encoder(decimal_format="number", enc_hook=str)
