"""Owns the publisher as a process: its clock, log, metrics and signals, and what follows a publication.

What is published, and when, stands in lake.publishing.publisher. After each publication the script that opens the lake
in DuckDB is written anew, and each look leaves its mark for ``kalshibook health``.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import typer
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from book.errors import LakeError, PublishError
from cli import leash
from cli.health import look_path
from cli.hours import hour_text
from cli.rebuilding import rebuild_of
from lake import paths
from lake.publishing.publisher import AFTER_ERROR_S, LOOK_EVERY_S, Publisher
from ops import logs, metrics
from ops.settings import Settings
from query.sql.views import write_views

GRACE_S = 3.0
"""How long a publication under way may take when the process is asked to end; what it began is finished at the next
start."""
_INTERRUPTED = 130
_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)


def run_publisher(
    settings: Settings, *, once: bool, hours: Sequence[int], from_raw: Sequence[int], on_leash: bool
) -> int:
    """Publish until SIGTERM or SIGINT, or ``once`` or just ``hours`` (whole hours since the epoch) and return.

    ``from_raw`` are hours to be read anew from their raw frames, and nothing else.

    Returns the exit code. Raises SettingsError where the metrics' port is taken.
    """
    logs.configure("publish")
    if on_leash:
        leash.hold()
    process = PublisherProcess(settings)
    if from_raw:
        return _ended(lambda: process.publish_from_raw(from_raw), process.stop, _INTERRUPTED)
    if once or hours:
        return _ended(lambda: process.publish_once(hours or None), process.stop, _INTERRUPTED)
    with metrics.shown(settings, "publish", process.metrics.registry):
        return _ended(process.run, process.stop, 0)


class PublisherProcess:
    """One publisher with what belongs to it. ``stop`` ends ``run`` between two tasks."""

    def __init__(self, settings: Settings) -> None:
        self.stop = threading.Event()
        self._settings = settings
        self._log = logs.get("publisher")
        clock = settings.clock
        self._publisher = Publisher(settings.lake_root, settings.home, clock.now_us, self._tell)
        self.metrics = PublisherMetrics(metrics.registry(), self._publisher, clock.now_us)
        self._viewed: int | None = None

    def run(self) -> int:
        """Look for work every second of machine time until told to stop; return the exit code."""
        self._log.info("publishing", home=str(self._settings.home), lake=str(self._settings.lake_root))
        while not self.stop.is_set():
            well = self._publisher.look(self.stop)
            well = self._write_views() and well
            self._leave_mark()
            self.stop.wait(LOOK_EVERY_S if well else AFTER_ERROR_S)
        return 0

    def publish_once(self, hours: Sequence[int] | None) -> int:
        """Publish what is due now, or these hours, and say what was published; return the exit code."""
        return self._publish(lambda: self._publisher.once(hours), "nothing was to be published")

    def publish_from_raw(self, hours: Sequence[int]) -> int:
        """Publish these hours anew from their raw frames, and say what was published; return the exit code."""
        shelf = self._publisher.shelf
        made = rebuild_of(self._settings.lake_root, self._settings.home, shelf)
        return self._publish(
            lambda: self._publisher.from_raw(hours, made), "the raw frames say what is published already"
        )

    def _publish(self, work: Callable[[], list[int]], nothing: str) -> int:
        try:
            done = work()
        except PublishError as error:
            typer.echo(f"kalshibook: {hour_text(error.hour)}: {error.error}", err=True)
            return 1
        except (LakeError, OSError) as error:
            typer.echo(f"kalshibook: {error}", err=True)
            return 1
        for hour in done:
            typer.echo(f"published {hour_text(hour)}")
        if not done:
            typer.echo(nothing)
        return 0 if self._write_views() else 1

    def _write_views(self) -> bool:
        """Write the views' script where something was published since it was; say whether it stands."""
        number = self._publisher.shelf.manifest_number()
        if number == self._viewed:
            return True
        try:
            write_views(self._settings.lake_root, self._publisher.shelf)
        except (LakeError, OSError) as error:
            self._log.error("views_failed", error=str(error))
            return False
        self._viewed = number
        return True

    def _leave_mark(self) -> None:
        path = look_path(self._settings.home)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            self._log.error("mark_failed", error=str(error))

    def _tell(self, event: str, **fields: Any) -> None:
        self.metrics.count(event, fields)
        (self._log.error if event == "publish_failed" else self._log.info)(event, **fields)
        self._leave_mark()  # a look that has days to publish takes long


class PublisherMetrics:
    """The figures of one publisher, in ``registry``."""

    def __init__(self, registry: CollectorRegistry, publisher: Publisher, now_us: Callable[[], int]) -> None:
        self.registry = registry
        self._publisher = publisher
        self._now_us = now_us
        self._versions = Counter(
            "kalshibook_publications", "Versions of hours published.", ("reason",), registry=registry
        )
        self._failures = Counter("kalshibook_publish_failures", "Looks that failed.", registry=registry)
        self._seconds = Histogram(
            "kalshibook_publication_seconds",
            "Time from reading an hour's log to its commit, with the hours published together with it.",
            buckets=_BUCKETS,
            registry=registry,
        )
        for name, about, value in (
            ("kalshibook_hours_published", "Hours that stand published.", lambda: len(publisher.shelf.hours())),
            (
                "kalshibook_unpublished_hours",
                "Recorded hours that have ended and are not published.",
                lambda: len(self._waiting()),
            ),
            (
                "kalshibook_publish_lateness_seconds",
                "Time since the end of the oldest hour that is not published; 0 where there is none.",
                self._lateness_s,
            ),
        ):
            Gauge(name, about, registry=registry).set_function(value)

    def count(self, event: str, fields: dict[str, Any]) -> None:
        """Count what the publisher told."""
        if event == "published":
            self._versions.labels(str(fields["reason"])).inc()
            self._seconds.observe(float(fields["took_s"]))
        elif event == "publish_failed":
            self._failures.inc()

    def _waiting(self) -> list[int]:
        """Return the hours that the last look found waiting and that were not published since."""
        return [hour for hour in self._publisher.waiting if not self._publisher.shelf.published(hour)]

    def _lateness_s(self) -> float:
        waiting = self._waiting()
        return max(0, self._now_us() - paths.hour_start_us(waiting[0] + 1)) / 1_000_000 if waiting else 0.0


def _ended(work: Callable[[], int], stop: threading.Event, left_code: int) -> int:
    """Run ``work`` in a thread until it returns, or until a signal and GRACE_S more; return the exit code.

    A thread that does not end by then is left behind, and the process ends with ``left_code``: a publication can be
    left anywhere.
    """
    log = logs.get(__name__)
    ended = threading.Event()
    codes: list[int] = []

    def watched() -> None:
        try:
            codes.append(work())
        except Exception:  # the outermost loop: a bug ends the process, with its traceback in the log
            log.exception("crashed")
            codes.append(1)
        ended.set()

    def ask(_number: int, _frame: object) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    threading.Thread(target=watched, name="publisher", daemon=True).start()
    while not ended.wait(0.2):
        if stop.is_set() and not ended.wait(GRACE_S):
            log.warning("left_unfinished")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(left_code)
    log.info("stopped")
    return codes[0]
