"""What happens at the simulated venue: markets with their lives, and the changes and trades in them.

Owns the reading of recorded files (by place, never copied) and the generated ones that stand in where there are none.
"""

import gzip
import random
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import msgspec

from book.ladder import Book
from book.records import Level
from book.wire.decode import decode
from book.wire.messages import Delta, Snapshot, Trade
from tests.model.times import NS


class _Line(msgspec.Struct):
    recv_ms: int
    event: msgspec.Raw


_line = msgspec.json.Decoder(_Line).decode

Happening = tuple[int, str, Level]
"""Offset in nanoseconds, "change" or "trade", (side, price_e4, signed change or size)."""


@dataclass
class Life:
    """A market: from when (machine ns of the run) to when (None: past the end), its first book, what happens in it."""

    ticker: str
    from_ns: int
    to_ns: int | None
    levels: list[Level]
    happenings: list[Happening] = field(default_factory=list)


@lru_cache(maxsize=32)
def _recorded(path: Path, most: int) -> tuple[tuple[Level, ...], tuple[Happening, ...]]:
    """Return the first book of a file and what followed, at most ``most`` lines."""
    levels: tuple[Level, ...] | None = None
    found: list[Happening] = []
    start_ms = 0
    with gzip.open(path) as lines:
        for number, text in enumerate(lines):
            if number >= most:
                break
            line = _line(text)
            message = decode(bytes(line.event))
            if isinstance(message, Snapshot) and levels is None:
                levels, start_ms = message.levels, line.recv_ms
            if levels is None:
                continue
            at_ns = (line.recv_ms - start_ms) * 1_000_000
            if isinstance(message, Delta):
                found.append((at_ns, "change", (message.side, message.price_e4, message.change_e2)))
            elif isinstance(message, Trade):
                found.append((at_ns, "trade", (message.taker_side or 0, message.yes_price_e4, message.qty_e2)))
    return levels or (), tuple(found)


def _generated(seed: int, seconds: float) -> tuple[tuple[Level, ...], tuple[Happening, ...]]:
    """Return a book and changes like the recorded ones in number, burst and size, sub-cent prices among them."""
    rng = random.Random(seed)
    book = Book((side, 100 * price, rng.randint(100, 50_000)) for side in (0, 1) for price in range(2, 45, 2))
    first = tuple(book.levels())
    found: list[Happening] = []
    at_ns = 0
    while at_ns < seconds * NS:
        at_ns += int(rng.expovariate(8) * NS) // 1_000_000 * 1_000_000
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            levels = book.levels()
            if levels and rng.random() < 0.55:
                side, price, size = rng.choice(levels)
                change = -size if rng.random() < 0.5 else -rng.randint(1, size)
            else:
                side, price = rng.randint(0, 1), rng.choice((100, 100, 100, 10, 1)) * rng.randint(1, 48)
                change = rng.choice((100, 100, 37)) * rng.randint(1, 300)
            book.apply(side, price, change)
            found.append((at_ns, "change", (side, price, change)))
        if rng.random() < 0.05:
            found.append((at_ns, "trade", (rng.randint(0, 1), 4500, 100 * rng.randint(1, 50))))
    return first, tuple(found)


def sources(folder: Path | None, files: int, seconds: float) -> list[tuple[tuple[Level, ...], tuple[Happening, ...]]]:
    """Return the beginnings of recorded markets, of about ``seconds``, or generated ones."""
    if folder is None:
        return [_generated(number, seconds) for number in range(files)]
    paths = sorted((folder / "kalshi-gold15m" / "events").glob("*/*.ndjson.gz"))
    return [_recorded(path, int(100 * seconds) + 400) for path in paths[:files]]


def lives(folder: Path | None, files: int, seconds: float, piece_s: float | None, rng: random.Random) -> list[Life]:
    """Return the markets of a run of ``seconds`` machine seconds.

    With ``piece_s`` each file becomes a succession of markets of about that length, which open and close in the run.
    """
    found = []
    end_ns = int(seconds * NS)
    for number, (levels, happenings) in enumerate(sources(folder, files, seconds)):
        book = Book(levels)
        times = [at_ns for at_ns, _, _ in happenings]
        from_ns, piece = 0, 0
        while from_ns < end_ns:
            length_ns = end_ns if piece_s is None else int(piece_s * rng.uniform(0.5, 1.6) * NS)
            to_ns = from_ns + length_ns
            life = Life(f"KXMODEL-{number:02d}-{piece}", from_ns, None if to_ns >= end_ns else to_ns, book.levels())
            chosen = happenings[bisect_left(times, from_ns) : bisect_left(times, to_ns)]
            for at_ns, kind, (side, price_e4, qty_e2) in chosen:
                if kind == "change":
                    book.apply(side, price_e4, qty_e2)
                life.happenings.append((at_ns, kind, (side, price_e4, qty_e2)))
            found.append(life)
            from_ns, piece = to_ns, piece + 1
    return found
