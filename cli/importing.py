"""Owns ``kalshibook import``: frames that were recorded elsewhere, published as hours of this lake.

What a capture holds stands in cli.captured, how it becomes a log in cli.rerecording. Never replaces an hour: one that
is recorded here, or published from anything else, is refused before anything is published.
"""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from book.errors import KalshiBookError, PublishError
from book.records import HOUR_US
from cli.captured import Captured
from cli.hours import hour_text
from cli.lessons import Documents, lessons
from cli.rerecording import SHARD, Rerecording
from exchange.capture import capture_metadata
from exchange.errors import SourceError
from lake import paths
from lake.publishing.publish import publish_settled, standing_before
from lake.publishing.shelf import Shelf
from lake.settling.settle import settle
from lake.settling.sources import read_source
from ops.settings import Settings

REASON = "import"
_REMEDY = "to have both, import into another lake: set KALSHIBOOK_LAKE to a folder of its own"

Say = Callable[[str], None]


class ImportRefusedError(KalshiBookError):
    """An hour that cannot be imported; ``hour`` counts from the epoch, ``why`` says what stands in the way."""

    def __init__(self, hour: int, why: str) -> None:
        super().__init__(f"hour {hour_text(hour)} {why}; {_REMEDY}")
        self.hour = hour
        self.why = why


def run_import(settings: Settings, capture: Path, tickers: tuple[str, ...], say: Say = typer.echo) -> int:
    """Publish the hours of a capture, those of ``tickers`` alone where any are named; return the exit code.

    2 where it is no capture or an hour is taken. The same capture again changes nothing and is 0. An hour is published
    as a whole or not at all; where a later one fails, those before it stand. Cost: the capture is read twice, its rows
    are written to a journal under the home that is removed afterwards.
    """
    try:
        documents = capture_metadata(capture)
        captured = Captured(capture, tickers, documents)
        _refuse_taken(settings, captured.hours)
        say(f"read {captured.frames} frames of {len(captured.first_us)} markets in {len(captured.hours)} hours")
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="import-", dir=settings.home) as folder:
            _record(settings, documents, captured, Path(folder), say)
            _publish(settings, Path(folder), say)
    except (SourceError, ImportRefusedError) as error:
        typer.echo(f"kalshibook: {error}", err=True)
        return 2
    return 0


def _record(settings: Settings, documents: Documents, captured: Captured, home: Path, say: Say) -> None:
    """Write the capture as a log under ``home``, and say what was left out of it."""
    told = list(lessons(documents, captured.first_us))
    taken = _Taken(settings)
    kept = [one for one in told if one.at_us // HOUR_US in captured.hours or taken.why(one.at_us // HOUR_US) is None]
    close_us = captured.closed_us | {
        ticker: documents[ticker][0].close_us for ticker in captured.first_us.keys() & documents.keys()
    }
    counts = Rerecording(captured, kept, home, close_us=close_us, pause_s=settings.watchdog_s).run()
    if len(kept) < len(told):
        say(f"left out  {len(told) - len(kept)} results, whose hours are recorded or published already")
    for what, count in sorted(captured.left_out.items()):
        say(f"left out  {count} lines: {what}")
    for what, count in sorted(counts.items()):
        if what.startswith("closed: ") or what == "quarantined":
            say(f"recorded  {count} {what}")


def _publish(settings: Settings, home: Path, say: Say) -> None:
    """Publish the log's hours, each by itself so that one is in memory at a time."""
    hours = paths.hours(home, SHARD)
    _refuse_taken(settings, hours)
    lake = settings.lake_root
    for hour in hours:
        settled = settle([read_source(home, SHARD, hour)], standing_before(lake, hour))
        rows = sum(table.num_rows for table in settled.tables.values())
        try:
            manifest = publish_settled(lake, [settled], now_us=settings.clock.now_us, reason=REASON)
        except PublishError as error:
            raise ImportRefusedError(hour, f"cannot be published: {error.error}") from error
        state = "published" if manifest is not None else "unchanged"
        say(f"{state} {hour_text(hour)}: {rows} rows")


class _Taken:
    """Which hours belong to something other than an import."""

    def __init__(self, settings: Settings) -> None:
        self._now_us = settings.clock.now_us()
        self._shelf = Shelf(settings.lake_root)
        self._shelf.refresh()
        home = settings.home
        self._recorded = {hour for shard in paths.shards(home) for hour in paths.hours(home, shard)}

    def why(self, hour: int) -> str | None:
        """Say why an hour cannot be had, None where it can: it is free, or imported, perhaps from the same frames."""
        if hour in self._recorded:
            return "is recorded here"
        if self._shelf.published(hour) and REASON not in self._shelf.standing_rows(hour)["reason"].unique().to_pylist():
            return "is published already, from what was recorded"
        if paths.hour_start_us(hour + 1) > self._now_us:
            return "is not over yet"
        return None


def _refuse_taken(settings: Settings, hours: Iterable[int]) -> None:
    """Refuse where any of the hours belongs to something else. Raises ImportRefusedError."""
    taken = _Taken(settings)
    for hour in sorted(hours):
        why = taken.why(hour)
        if why is not None:
            raise ImportRefusedError(hour, why)
