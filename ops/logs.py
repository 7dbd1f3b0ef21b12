"""Owns how a process logs: JSON lines on one stream with ts, level, event and the fields of the call.

Lines of the standard library's logging, the web server's among them, come out in the same form. Secrets are not
looked for: who logs a field answers for it.
"""

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor


def configure(role: str, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send every log line of this process to ``stream`` (stderr), each with ``role``, from ``level`` up.

    Called once, by the entry point of a process. ts is machine time, ISO 8601 UTC with six decimals.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    out = sys.stderr if stream is None else stream
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


def get(name: str, **fields: Any) -> FilteringBoundLogger:
    """Return the logger of module ``name``, which puts ``fields`` on each of its lines.

    It may be made before ``configure`` is called, at the top of a module too: it looks the configuration up at its
    first line.
    """
    logger: FilteringBoundLogger = structlog.get_logger(module=name, **fields)
    return logger


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
