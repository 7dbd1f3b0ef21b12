"""``bench book-cold``: a book out of segments against the plain decoding of the batches that it rests on.

Owns the questions, the floor and the check: every answer is compared with a plain fold of the tape. The index of the
log is known beforehand, decoded rows are not kept. Both sides read the same files, warm in the page cache, in one
thread; figures are CPU time.
"""

import os
import random
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from bench import figures, machine, offline, tape
from book.ladder import Book
from book.wire import decode
from lake import framing, paths
from lake.reader import Hour
from lake.schemas import ORDERBOOK
from query.log import Log
from query.point import BookAnswer, book_at

TARGET = "<= 1.25"
ROUNDS = 5
QUESTIONS = 200
MARKETS = 12_000
GENERATED_MESSAGES = 300_000
RECORDED_FRAMES = 150_000
COLUMNS = ("ts_recv", "ts_exch", "conn", "seq", "kind", "side", "price_e4", "qty_e2")
_MEMORY = Path("/dev/shm")  # noqa: S108 - files of one run, in a folder of their own


class Question(NamedTuple):
    """A market at an instant, with the digest of its book as the tape has it."""

    ticker: str
    at_us: int
    digest: str


class Floor(NamedTuple):
    """What a question's answer rests on: byte ranges of files, and how many rows stand in them."""

    parts: list[tuple[Path, list[tuple[int, int]]]]
    rows: int
    batches: int


def run() -> None:
    """Measure both data sets and print the figures; a ratio line ends each."""
    print(machine.describe())
    print(machine.load())
    _measure(tape.generated(MARKETS, GENERATED_MESSAGES))
    folder = tape.recorded_folder()
    if folder is None:
        print("book-cold recorded: no recorded frames here (KALSHIBOOK_TEST_DATA names their folder)")
    else:
        _measure(tape.recorded(folder, RECORDED_FRAMES))


def _measure(played: tape.Tape) -> None:
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        home = Path(folder)
        offline.record(played, home)
        stamps = offline.stamps_us(played)
        questions = choose(played, stamps, QUESTIONS, random.Random(7))
        log = Log(home, lambda: stamps[-1], row_bytes=0)
        answers = [book_at(log, question.ticker, question.at_us) for question in questions]
        for question, answer in zip(questions, answers, strict=True):
            assert answer.digest == question.digest, f"{question.ticker} at {question.at_us} differs from the tape"
        floors = _floors(home, answers)
        print(
            f"\n{played.name}: {len(played.books)} markets, {len(played.bodies)} messages, {len(questions)} questions "
            f"weighted by activity, all answers equal to a plain fold"
        )
        _compare(played.name, log, questions, floors)


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
            if isinstance(message, decode.Delta):
                books[message.ticker].apply(message.side, message.price_e4, message.change_e2)
            else:
                books[message.ticker] = Book(message.levels)
    return found
