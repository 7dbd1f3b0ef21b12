"""What a verification has proved and what it doubts.

Owns the account of both. Checks nothing.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from book.errors import BookError, LakeError

FAILURES = (LakeError, BookError, OSError, pa.ArrowException, ValueError, KeyError)
"""What reading altered bytes may raise: pyarrow and msgspec say ValueError or their own."""


@dataclass(frozen=True)
class Doubt:
    """A file, folder or table that does not hold what it should, and what is wrong with it."""

    path: str
    what: str


@dataclass
class Findings:
    """A growing account: ``counts`` of what was proved by its words, and the doubts in the order they were met."""

    counts: Counter[str] = field(default_factory=Counter)
    doubts: list[Doubt] = field(default_factory=list)

    def proved(self, what: str, count: int = 1) -> None:
        """Count something proved; ``what`` is a plural, such as ``manifests``."""
        self.counts[what] += count

    def doubt(self, path: Path | str, what: str) -> None:
        """Note a doubt; the same one once."""
        found = Doubt(str(path), what)
        if found not in self.doubts:
            self.doubts.append(found)

    @contextmanager
    def doubting(self, path: Path | str) -> Iterator[None]:
        """Turn what reading altered bytes raises into a doubt about ``path``; what stands behind it is not done."""
        try:
            yield
        except FAILURES as error:
            self.doubt(path, f"{error}" or type(error).__name__)

    def lines(self) -> list[str]:
        """Return what was proved, a line each: ``12 manifests``."""
        return [f"{count:,} {what}" for what, count in self.counts.items()]
