"""Owns what the server is told: where the log and the lake lie, its key, its address, its bounds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ServerSettings:
    """Passed in whole; nothing is read from the environment here.

    ``now_us`` is the clock that stamps the log, in microseconds since the Unix epoch. ``fresh_us`` is how far, on that
    clock, the log may lie behind it before the server calls itself not ready. ``deadline_s`` is machine time.
    """

    home: Path
    lake: Path
    api_key: str = field(repr=False)
    public_url: str
    host: str
    port: int
    now_us: Callable[[], int]
    fresh_us: int = 15_000_000
    threads: int = 4
    waiting: int = 64
    deadline_s: float = 20.0

    @property
    def errors_url(self) -> str:
        """The page that explains each error code; a code is its fragment."""
        return f"{self.public_url.rstrip('/')}/docs/errors"
