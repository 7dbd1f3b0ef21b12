"""Owns ``kalshibook verify``: which hours a person asked to be proved, and how the report is told.

What is proved, and how, stands in lake.verify. Progress goes to stderr where that is a terminal, the report to stdout.
"""

import sys
from collections.abc import Callable, Sequence

import typer

from cli.hours import hour_text
from lake.publishing.shelf import Shelf
from lake.verify import verify
from lake.verifying.findings import FAILURES
from ops.settings import Settings

Say = Callable[[str], None]


def run_verify(settings: Settings, hours: Sequence[int], days: Sequence[int], say: Say) -> int:
    """Prove these hours and days, the whole lake where none are named; return the exit code.

    ``hours`` are whole hours since the epoch, ``days`` the first hours of days. 1 where anything is in doubt, or where
    an hour, or every hour of a day, that was asked for is not published.
    """
    asked = sorted({*hours, *(first + n for first in days for n in range(24))})
    report = verify(settings.lake_root, settings.home, asked or None, _progress)
    for line in report.proved:
        say(f"proved  {line}")
    missing = _missing(settings, hours, days)
    for line in missing:
        say(f"DOUBT   {line}")
    for doubt in report.doubts:
        say(f"DOUBT   {doubt.what if doubt.what.startswith(doubt.path) else f'{doubt.path}: {doubt.what}'}")
    doubts = len(report.doubts) + len(missing)
    what = "the lake" if not asked else f"{len(hours)} hours and {len(days)} days"
    say(f"{what}: {f'{doubts} doubts' if doubts else 'no doubt'}")
    return 1 if doubts else 0


def _missing(settings: Settings, hours: Sequence[int], days: Sequence[int]) -> list[str]:
    if not settings.lake_root.is_dir():
        return [f"there is no lake at {settings.lake_root}"]
    shelf = Shelf(settings.lake_root)
    try:
        shelf.refresh()
    except FAILURES:
        return []  # the report has it
    published = set(shelf.hours())
    lines = [f"{hour_text(hour)} is not published" for hour in hours if hour not in published]
    empty = [first for first in days if published.isdisjoint(range(first, first + 24))]
    return [*lines, *(f"no hour of {hour_text(first)[:10]} is published" for first in empty)]


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        typer.echo(f"{line} ...", err=True)
