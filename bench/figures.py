"""The arithmetic of a bench: medians, spread, and the one line that says the ratio.

Owns how figures are summed up and written. Measures nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio over rounds: of the medians, and the least and greatest of the rounds taken by themselves."""

    value: float
    least: float
    greatest: float

    def line(self, name: str, target: str) -> str:
        """Return the line that ends a bench: ``ingest generated ratio 0.61 (target >= 0.60)``."""
        return f"{name} ratio {self.value:.2f} (target {target}); by round {self.least:.2f}-{self.greatest:.2f}"


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Return median(above) / median(below) of rounds measured in turn; both of one length, at least 1, none zero.

    Raises ValueError where the rounds do not pair.
    """
    rounds = [a / b for a, b in zip(above, below, strict=True)]
    if not rounds:
        raise ValueError("no rounds")
    return Ratio(median(above) / median(below), min(rounds), max(rounds))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below or at which ``share`` (0..1) of the values lie, by nearest rank.

    Raises ValueError where there are none or the share is out of range.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("a percentile needs values and a share of 0 to 1")
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]
