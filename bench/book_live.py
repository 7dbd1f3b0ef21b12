"""``bench book-live``: a book out of segments against the plain decoding of the batches that it rests on.

Owns the floor and the check: every answer is compared with a plain fold of the tape. The index of the
log is known beforehand, decoded rows are not kept. Both sides read the same files, warm in the page cache, in one
thread; figures are CPU time.
"""

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import ipc

from bench import machine, offline, tape, versus
from bench.questions import choose
from book.records import Kind
from lake import paths
from lake.journal import framing
from lake.journal.reader import Hour
from lake.schemas import ORDERBOOK
from query.log import Log
from query.point import BookAnswer, book_at

TARGET = "<= 1.25"
QUESTIONS = 200
MARKETS = 12_000
GENERATED_MESSAGES = 300_000
RECORDED_FRAMES = 150_000
COLUMNS = ("ts_recv", "ts_exch", "conn", "seq", "kind", "side", "price_e4", "qty_e2")


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
        print("book-live recorded: no recorded frames here (KALSHIBOOK_TEST_DATA names their folder)")
    else:
        _measure(tape.recorded(folder, RECORDED_FRAMES))


def _measure(played: tape.Tape) -> None:
    with tempfile.TemporaryDirectory(dir=machine.memory()) as folder:
        home = Path(folder)
        offline.record(played, home)
        stamps = offline.stamps_us(played)
        questions = choose(played, stamps, QUESTIONS, random.Random(7))
        log = Log(home, lambda: stamps[-1], row_bytes=0)
        answers = [book_at(log, question.ticker, question.at_us) for question in questions]
        for question, answer in zip(questions, answers, strict=True):
            assert answer.digest == question.digest, f"{question.ticker} at {question.at_us} differs from the tape"
        floors = floors_of(home, answers)
        print(
            f"\n{played.name}: {len(played.books)} markets, {len(played.bodies)} messages, {len(questions)} questions "
            f"weighted by activity, all answers equal to a plain fold"
        )
        rows, batches = ([float(value) for value in values] for values in zip(*(f[1:] for f in floors), strict=True))
        print(f"rows decoded {versus.spread(rows)}; batches {versus.spread(batches)}")
        read = decoder(floors)
        took = versus.Pair(lambda place: book_at(log, *questions[place][:2]), lambda place: read(floors[place]))
        took.measure(len(questions))
        print(took.ratio().line(f"book-live {played.name}", TARGET))


class _Rows:
    """Every row of a log, in log order, with the batch it stands in; batches are numbered through all hours."""

    def __init__(self, home: Path) -> None:
        self.batches: list[tuple[Path, int, int, int]] = []
        """File, first byte, end, rows."""
        columns: dict[str, list[NDArray[np.int64]]] = {"batch": [], "ts_recv": [], "conn": [], "kind": []}
        tickers: list[str] = []
        for number in paths.hours(home, 0):
            hour = Hour(paths.hour_dir(home, 0, number), 0, number)
            hour.poll()
            known = hour.batches("orderbook")
            sizes = known.sizes(np.arange(known.count))
            columns["batch"].append(np.repeat(np.arange(known.count) + len(self.batches), sizes))
            for segment, offset, end, rows in zip(known.segment, known.offset, known.end, sizes, strict=True):
                path = hour.dir / paths.segment_name("orderbook", int(segment))
                self.batches.append((path, int(offset), int(end), int(rows)))
            table = hour.table("orderbook")
            tickers += table.column("ticker").cast(pa.string()).to_pylist()
            for name in ("ts_recv", "conn", "kind"):
                column = table.column(name)
                columns[name].append(column.cast(pa.int64()).to_numpy())
        self.batch, self.ts_us, self.conn, self.kind = (np.concatenate(parts) for parts in columns.values())
        self.of: dict[str, list[int]] = {}
        for row, ticker in enumerate(tickers):
            self.of.setdefault(ticker, []).append(row)

    def floor(self, answer: BookAnswer) -> Floor:
        """Return the batches that hold an answer's base, or a record of its market and conn from there on."""
        mine = np.array(self.of[answer.ticker])
        mine = mine[self.conn[mine] == answer.conn]
        base = mine[(self.ts_us[mine] == answer.basis_at_us) & (self.kind[mine] != Kind.DELTA)]
        needed = mine[(mine >= base[0]) & (self.ts_us[mine] <= answer.at_us)]
        numbers = np.unique(self.batch[needed]).tolist()
        parts: list[tuple[Path, list[tuple[int, int]]]] = []
        for path, start, end, _ in (self.batches[number] for number in numbers):
            if not parts or parts[-1][0] != path:
                parts.append((path, []))
            ranges = parts[-1][1]
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((start, end))
        return Floor(parts, sum(self.batches[number][3] for number in numbers), len(numbers))


def floors_of(home: Path, answers: list[BookAnswer]) -> list[Floor]:
    """Return what each answer rests on. Cost: reads the whole log."""
    rows = _Rows(home)
    return [rows.floor(answer) for answer in answers]


def decoder(floors: list[Floor]) -> Callable[[Floor], int]:
    """Return what decodes a floor: one plain pyarrow read of its batches, the columns of a book; returns rows."""
    files = {path: pa.memory_map(os.fspath(path)).read_buffer() for floor in floors for path, _ in floor.parts}
    head = framing.schema_message(ORDERBOOK)
    fields = sorted(ORDERBOOK.get_field_index(name) for name in COLUMNS)
    options = ipc.IpcReadOptions(use_threads=False, included_fields=fields)

    def read(floor: Floor) -> int:
        parts = [head]
        for path, ranges in floor.parts:
            file = files[path]
            parts += [file[start:end] for start, end in ranges]
        with ipc.open_stream(pa.py_buffer(b"".join(parts)), options=options) as stream:
            return int(stream.read_all().num_rows)

    return read
