"""Questions about a tape: a market at an instant, with the digest of its book by a plain fold.

Owns which questions a bench asks and what the right answers are. Asks nobody.
"""

import random
from bisect import bisect_right
from typing import NamedTuple

from bench import tape
from book.ladder import Book
from book.wire import encode
from book.wire.decode import decode
from book.wire.messages import Delta, Snapshot


class Question(NamedTuple):
    """A market at an instant, with the digest of its book as the tape has it."""

    ticker: str
    at_us: int
    digest: str


def choose(played: tape.Tape, stamps: list[int], count: int, rng: random.Random) -> list[Question]:
    """Return questions about markets as often as they act, at instants up to 100 ms after a change, by a plain fold."""
    deltas = [place for place, kind in enumerate(played.kinds) if kind == tape.DELTA]
    wanted: dict[int, list[tuple[str, int]]] = {}
    for place in rng.sample(deltas, count):
        at_us = min(stamps[place] + rng.randrange(100_000), stamps[-1])
        ticker = _message(played, place).ticker
        wanted.setdefault(bisect_right(stamps, at_us), []).append((ticker, at_us))
    books = {ticker: Book(levels) for ticker, levels in played.books.items()}
    found: list[Question] = []
    for place in range(len(played.bodies) + 1):
        found += [Question(ticker, at_us, books[ticker].digest()) for ticker, at_us in wanted.get(place, [])]
        if place < len(played.bodies) and played.kinds[place] in (tape.DELTA, tape.SNAPSHOT):
            message = _message(played, place)
            if isinstance(message, Delta):
                books[message.ticker].apply(message.side, message.price_e4, message.change_e2)
            else:
                books[message.ticker] = Book(message.levels)
    return found


def _message(played: tape.Tape, place: int) -> Delta | Snapshot:
    frame = encode.sequenced(tape.FRAME_TYPES[played.kinds[place]], 1, 1, played.bodies[place])
    message = decode(frame)
    assert isinstance(message, Delta | Snapshot)
    return message
