"""What a collector shows of itself: its figures, and whether all it should hear stands.

Owns their names and meanings. Never asks anything of the session: it is handed what it shows, by the one thread that
records, and read by the thread that answers.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from collector.figures import Figures
from collector.links import Role, Slot

FRESH_S = 5.0
"""How old the last flush may be where all is well."""
DURABLE_S = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0)
_FLUSH_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LAG_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """The recorder as of one look; ``offset_us`` is how far stamps stand ahead of the wall clock."""

    figures: Figures
    queued: int
    segment_age_s: float
    offset_us: int
    free_bytes: int
    stopped: bool
    raw_bytes: int
    raw_failures: int


class Waits(Collector):
    """How long frames took from the socket until they were durable, each counted at the age of its flush's oldest.

    So no figure taken from it is too small. Cost: one addition a flush, however many frames it held.
    """

    def __init__(self) -> None:
        self._counts = [0] * (len(DURABLE_S) + 1)
        self._sum_s = 0.0

    def add(self, oldest_s: float, frames: int) -> None:
        """Count a flush of so many frames, the oldest of which had waited ``oldest_s``."""
        place = next((place for place, bound_s in enumerate(DURABLE_S) if oldest_s <= bound_s), len(DURABLE_S))
        self._counts[place] += frames
        self._sum_s += oldest_s * frames

    def collect(self) -> Iterator[Any]:
        """Give the histogram."""
        total, buckets = 0, []
        for bound, count in zip([*map(str, DURABLE_S), "+Inf"], list(self._counts), strict=True):
            total += count
            buckets.append((bound, float(total)))
        yield HistogramMetricFamily(
            "kalshibook_socket_to_durable_seconds",
            "Time from a frame's arrival to its acknowledgement on disk, at most.",
            buckets=buckets,
            sum_value=self._sum_s,
        )


class Watch(Collector):
    """The figures of one collector, in ``registry``, and its readiness."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry(auto_describe=True) if registry is None else registry
        self.seen: Seen | None = None
        self.flushed_s: float | None = None
        """When the last flush was acknowledged, in monotonic seconds."""
        self.waits = Waits()
        self._flush = Histogram(
            "kalshibook_flush_seconds", "Time one flush took.", buckets=_FLUSH_S, registry=self.registry
        )
        self._lag = Histogram(
            "kalshibook_message_lag_seconds",
            "Receipt minus the exchange's own time, of the last change of each flush.",
            buckets=_LAG_S,
            registry=self.registry,
        )
        self._ended = Counter(
            "kalshibook_connections_ended", "Connections that ended.", ("role", "code"), registry=self.registry
        )
        age = Gauge("kalshibook_flush_age_seconds", "Time since the last flush.", registry=self.registry)
        age.set_function(lambda: time.monotonic() - (self.flushed_s or 0.0))
        self.registry.register(self.waits)
        self.registry.register(self)

    def flushed(self, took_s: float, tables: dict[str, Any]) -> None:
        """Count a flush of these batches. Cost: microseconds."""
        self.flushed_s = time.monotonic()
        self._flush.observe(took_s)
        book = tables.get("orderbook")
        if book is not None and book.num_rows:
            last = book.num_rows - 1
            sent, received = book.column("ts_exch")[last], book.column("ts_recv")[last]
            if sent.is_valid:
                self._lag.observe((received.value - sent.value) / 1_000_000)

    def ended(self, slot: Slot, code: str) -> None:
        """Count a connection that has ended with a close code."""
        self._ended.labels(slot.role.value, code).inc()

    def missing(self) -> list[str]:
        """Return what is not as it should be, in words; nothing where all is recorded."""
        found: list[str] = []
        seen = self.seen
        if self.flushed_s is None or time.monotonic() - self.flushed_s >= FRESH_S:
            found.append(f"no flush in the last {FRESH_S:g} s")
        if seen is None:
            return [*found, "recording has not begun"]
        if seen.stopped:
            found.append(f"recording is stopped: {seen.free_bytes} bytes are free on the disk")
        up = seen.figures.up
        for role in Role.TAPE, Role.LIFECYCLE, Role.BOOKS:
            slots = sorted(slot.number for slot in up if slot.role is role)
            if not slots:
                found.append(f"{role.value}: no connection is asked for yet")
            found += [f"{role.value} {number}: not subscribed" for number in slots if not up[Slot(number, role)]]
        return found

    def collect(self) -> Iterator[Any]:
        """Give what was seen at the last look."""
        seen = self.seen
        if seen is None:
            return
        figures = seen.figures
        yield _labelled("messages", "Messages taken in.", "type", figures.messages)
        yield _labelled(
            "sequence_verdicts", "Sequence numbers that were not the next one.", "verdict", figures.verdicts
        )
        yield _labelled("closes", "Books that became unknown, or ended.", "reason", figures.closes)
        audits = {"equal": figures.audits_equal, "unequal": figures.audits_unequal}
        yield _labelled("audits", "Comparisons of our books with the venue's.", "outcome", audits)
        for name, about, count in (
            ("audits_asked", "Books asked of the venue for comparison.", figures.audits_asked),
            ("reconnects", "Connections made on a slot that had had one before.", figures.reconnects),
            ("commands_refused", "Commands that the venue found too fast.", figures.commands_refused),
            ("raw_bytes", "Bytes of raw frames written.", seen.raw_bytes),
            ("raw_failures", "Files of raw frames given up.", seen.raw_failures),
        ):
            yield CounterMetricFamily(f"kalshibook_{name}", about, value=count)
        for name, about, value in (
            ("live_markets", "Markets whose book is known.", figures.live),
            ("suspect_markets", "Markets that should be known and are not.", figures.waiting),
            ("listed_markets", "Markets that should be recorded now.", figures.listed),
            ("markets_without_room", "Markets that no connection has room for.", figures.without_room),
            ("connections_wanted", "Connections that should stand.", len(figures.up)),
            ("connections_subscribed", "Connections whose subscriptions stand.", sum(figures.up.values())),
            ("queue_frames", "Items received and not decoded yet.", seen.queued),
            ("open_segment_age_seconds", "Age of the oldest open segment.", seen.segment_age_s),
            ("clock_offset_seconds", "How far stamps stand ahead of the wall clock.", seen.offset_us / 1_000_000),
            ("disk_free_bytes", "Bytes free on the journal's disk, beside the reserve.", seen.free_bytes),
            ("recording_stopped", "1 while recording is stopped for want of space.", int(seen.stopped)),
        ):
            yield GaugeMetricFamily(f"kalshibook_{name}", about, value=value)


def _labelled(name: str, about: str, label: str, counts: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"kalshibook_{name}", about, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family
