"""Two sides of a bench over the same questions, in turn.

Owns the rounds, the CPU time of each question and how both are printed. Knows neither side.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median

from bench import figures

ROUNDS = 5


class Pair:
    """``ours`` answers a question by its place, ``floor`` does no more than what the answer cannot do without."""

    def __init__(self, ours: Callable[[int], object], floor: Callable[[int], object]) -> None:
        self._sides = {"book_at": ours, "decode": floor}
        self._p50_ms: dict[str, list[float]] = {side: [] for side in self._sides}

    def measure(self, count: int) -> None:
        """Ask both sides ``count`` questions, one side after the other, in several rounds; print what each took."""
        p99_ms: dict[str, list[float]] = {side: [] for side in self._sides}
        for _ in range(ROUNDS):
            for side, work in self._sides.items():
                took = [cpu_ms(work, place) for place in range(count)]
                self._p50_ms[side].append(figures.percentile(took, 0.5))
                p99_ms[side].append(figures.percentile(took, 0.99))
        for side, p50 in self._p50_ms.items():
            spread = f"({min(p50):.3f}-{max(p50):.3f})"
            print(f"{side:8} p50 {median(p50):7.3f} ms of CPU {spread}, p99 {median(p99_ms[side]):.3f} ms")

    def ratio(self) -> figures.Ratio:
        """Return the ratio of the medians."""
        return figures.ratio(self._p50_ms["book_at"], self._p50_ms["decode"])


def cpu_ms(work: Callable[[int], object], place: int) -> float:
    """Return the CPU milliseconds, of all threads, that a call takes."""
    start_ns = time.process_time_ns()
    work(place)
    return (time.process_time_ns() - start_ns) / 1e6


def spread(values: Sequence[float]) -> str:
    """Say the median and the 99th percentile of counts."""
    return f"p50 {figures.percentile(values, 0.5):,.0f}, p99 {figures.percentile(values, 0.99):,.0f}"
