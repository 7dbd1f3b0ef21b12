"""Owns what the server counts: answers by operation and status, how long they took, how far publishing has come.

Knows no port: who runs the process shows the registry. Labels name operations, never a market, a path or a key.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from book.errors import KalshiBookError
from query.status import Status

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_UNKNOWN = float("nan")


class ServerMetrics:
    """The figures of one server, in ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._answers = Counter(
            "kalshibook_requests", "Answers, refusals among them.", ("operation", "status"), registry=registry
        )
        self._seconds = Histogram(
            "kalshibook_request_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("operation",),
            buckets=_BUCKETS,
            registry=registry,
        )

    def answered(self, operation: str, status: int, elapsed_us: int) -> None:
        """Count an answer of ``status``, ended ``elapsed_us`` after its request came."""
        self._answers.labels(operation, str(status)).inc()
        self._seconds.labels(operation).observe(elapsed_us / 1_000_000)

    def watch(self, status: Callable[[], Status]) -> None:
        """Show how recording and publishing do, asked for when the metrics are read. Called once."""
        for name, about, value in _FIGURES:
            gauge = Gauge(name, about, registry=self.registry)
            gauge.set_function(_asked(status, value))


def _asked(status: Callable[[], Status], value: Callable[[Status], float]) -> Callable[[], float]:
    def ask() -> float:
        try:
            return value(status())
        except (KalshiBookError, OSError):  # a log that cannot be read must not hide the other figures
            return _UNKNOWN

    return ask


def _lag_s(status: Status) -> float:
    return _UNKNOWN if status.lag_us is None else status.lag_us / 1_000_000


_FIGURES: tuple[tuple[str, str, Callable[[Status], float]], ...] = (
    ("kalshibook_hours_published", "Hours that stand published.", lambda status: status.hours_published),
    (
        "kalshibook_unpublished_hours",
        "Recorded hours that have ended and are not published.",
        lambda status: status.unpublished_hours,
    ),
    (
        "kalshibook_publish_lateness_seconds",
        "Time since the end of the oldest hour that is not published; 0 where there is none.",
        lambda status: status.publish_lateness_us / 1_000_000,
    ),
    ("kalshibook_recording_lag_seconds", "How far the newest record lies behind the clock.", _lag_s),
)
