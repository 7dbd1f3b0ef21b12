"""Owns how a process logs: JSON lines on one stream with ts, level, event and the fields of the call.

Lines of the standard library's logging, the web server's among them, come out in the same form. Secrets are not
looked for: who logs a field answers for it.
"""

import logging
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor


def configure(role: str, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send every log line of this process to ``stream`` (stderr), each with ``role``, from ``level`` up.

    Called once, by the entry point of a process. A line that the stream does not take is lost.
    ts is machine time, ISO 8601 UTC with six decimals.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    out: Any = _Forgiving(sys.stderr if stream is None else stream)
    structlog.configure(
        processors=[*shared, _with_role(role), structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _with_role(role), _with_module],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))  # libraries say too much below that


class _Forgiving:
    """A stream whose lines are lost where they cannot be written: a full disk under a log ends no process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def get(name: str, **fields: Any) -> FilteringBoundLogger:
    """Return the logger of module ``name``, which puts ``fields`` on each of its lines.

    It may be made before ``configure`` is called, at the top of a module too: it looks the configuration up at its
    first line.
    """
    logger: FilteringBoundLogger = structlog.get_logger(module=name, **fields)
    return logger


class Limited:
    """Pass lines on, but of one event at most ``most`` in ``every_s`` machine seconds; then say how many were left out.

    Called as a log's method is: ``limited(event, **fields)``. Lines of ``loud`` events are errors, others are told as
    information. Bounded by the number of different events.
    """

    def __init__(
        self,
        log: FilteringBoundLogger,
        monotonic_s: Callable[[], float],
        *,
        loud: Collection[str] = (),
        most: int = 50,
        every_s: float = 10.0,
    ) -> None:
        self._log = log
        self._monotonic_s = monotonic_s
        self._loud = frozenset(loud)
        self._most = most
        self._every_s = every_s
        self._counts: dict[str, tuple[float, int]] = {}

    def __call__(self, event: str, **fields: Any) -> None:
        """Tell one happening, or count it where its event has been told too often of late."""
        now_s = self._monotonic_s()
        since_s, count = self._counts.get(event, (now_s, 0))
        if now_s - since_s >= self._every_s:
            if count > self._most:
                self._tell(event, left_out=count - self._most)
            since_s, count = now_s, 0
        self._counts[event] = (since_s, count + 1)
        if count < self._most:
            self._tell(event, **fields)

    def _tell(self, event: str, **fields: Any) -> None:
        (self._log.error if event in self._loud else self._log.info)(event, **fields)


def _with_role(role: str) -> Processor:
    def add(_: Any, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        line.setdefault("role", role)
        return line

    return add


def _with_module(_: Any, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Put a library's logger name where ours puts the module."""
    record: logging.LogRecord = line["_record"]
    line["module"] = record.name
    return line
