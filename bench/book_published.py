"""``bench book-cold`` and ``book-hot``: a book out of published hours against decoding the row groups it rests on.

Owns the floor and the check: every answer is compared with a plain fold of the tape. Coverage and footers are known
beforehand on both sides. Cold: decoded rows are not kept. Hot: all of them are. Both sides read the same files, warm in
the page cache, in one thread; figures are CPU time.
"""

import random
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench import machine, offline, published, tape, versus
from bench.questions import Question, choose
from book.records import Kind
from query.log import Log
from query.point import BookAnswer, book_at

COLD_TARGET, HOT_TARGET = "<= 1.25", "<= 0.10"
QUESTIONS = 200
MARKETS = 12_000
GENERATED_MESSAGES = 300_000
COLUMNS = ["ts_recv", "ts_exch", "conn", "seq", "kind", "side", "price_e4", "qty_e2"]
HOT_BYTES = 4 << 30
_BASES = {"snapshot": Kind.SNAPSHOT, "checkpoint": Kind.CHECKPOINT}


class Floor(NamedTuple):
    """What a question's answer rests on: row groups of files, and how many rows stand in them."""

    parts: list[tuple[Path, list[int]]]
    rows: int


def run_cold() -> None:
    """Measure both data sets with nothing decoded kept; a ratio line ends each."""
    _run("book-cold", COLD_TARGET, row_bytes=0)


def run_hot() -> None:
    """Measure both data sets with everything decoded kept; a ratio line ends each."""
    _run("book-hot", HOT_TARGET, row_bytes=HOT_BYTES)


def _run(bench: str, target: str, row_bytes: int) -> None:
    print(machine.describe())
    print(machine.load())
    _measure(bench, target, row_bytes, tape.generated(MARKETS, GENERATED_MESSAGES))
    folder = tape.recorded_folder()
    if folder is None:
        print(f"{bench} recorded: no recorded frames here (KALSHIBOOK_TEST_DATA names their folder)")
    else:
        _measure(bench, target, row_bytes, tape.recorded(folder))


def _measure(bench: str, target: str, row_bytes: int, played: tape.Tape) -> None:
    with tempfile.TemporaryDirectory(dir=machine.memory()) as folder:
        home, lake = Path(folder) / "home", Path(folder) / "lake"
        offline.record(played, home)
        hours = published.publish(home, lake)
        stamps = offline.stamps_us(played)
        questions = choose(played, stamps, QUESTIONS, random.Random(7))
        log = Log(home, lambda: stamps[-1], lake=lake, row_bytes=row_bytes)
        answers = ask(log, questions)
        floors = floors_of(lake, hours, answers)
        print(
            f"\n{played.name}: {len(played.books)} markets, {len(played.bodies)} messages in {len(hours)} published "
            f"hours, {len(questions)} questions weighted by activity, all answers equal to a plain fold"
        )
        print(f"rows decoded {versus.spread([float(floor.rows) for floor in floors])}")
        read = decoder(floors)
        took = versus.Pair(lambda place: book_at(log, *questions[place][:2]), lambda place: read(floors[place]))
        took.measure(len(questions))
        print(took.ratio().line(f"{bench} {played.name}", target))


def ask(log: Log, questions: list[Question]) -> list[BookAnswer]:
    """Return the answers. Raises AssertionError where one differs from the tape."""
    answers = [book_at(log, question.ticker, question.at_us) for question in questions]
    for question, answer in zip(questions, answers, strict=True):
        assert answer.digest == question.digest, f"{question.ticker} at {question.at_us} differs from the tape"
    return answers


class _File:
    """One file's rows as they lie, and where its row groups begin."""

    def __init__(self, path: Path) -> None:
        self.path = path
        file = pq.ParquetFile(path)
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        self.starts = np.cumsum([0, *sizes])
        rows = file.read(["ticker", "ts_recv", "conn", "kind"])
        self.ts_us, self.conn, self.kind = (
            rows[name].cast(pa.int64()).to_numpy() for name in ("ts_recv", "conn", "kind")
        )
        self.of: dict[str, list[int]] = defaultdict(list)
        for row, ticker in enumerate(rows["ticker"].to_pylist()):
            self.of[ticker].append(row)

    def needed(self, answer: BookAnswer) -> NDArray[np.int64]:
        """Return the rows of an answer's base and of what follows it up to the instant, on its conn."""
        mine = np.array(self.of.get(answer.ticker, []), np.int64)
        ts_us, kind = self.ts_us[mine], self.kind[mine]
        base = (ts_us == answer.basis_at_us) & (kind == _BASES[answer.basis])
        later = (ts_us >= answer.basis_at_us) & (ts_us <= answer.at_us) & (kind == Kind.DELTA)
        first = np.flatnonzero(base)
        later &= np.arange(len(mine)) > (first[0] if len(first) else -1)
        chosen: NDArray[np.int64] = mine[(base | later) & (self.conn[mine] == answer.conn)]
        return chosen


def floors_of(lake: Path, hours: list[int], answers: list[BookAnswer]) -> list[Floor]:
    """Return what each answer rests on. Cost: reads the files."""
    files = [_File(path) for hour in hours for path in published.orderbook_files(lake, hour)]
    found = []
    for answer in answers:
        parts, rows = [], 0
        for file in files:
            groups = np.unique(np.searchsorted(file.starts, file.needed(answer), side="right") - 1).tolist()
            if groups:
                parts.append((file.path, groups))
                rows += sum(int(file.starts[group + 1] - file.starts[group]) for group in groups)
        found.append(Floor(parts, rows))
    return found


def decoder(floors: list[Floor]) -> Callable[[Floor], int]:
    """Return what decodes a floor: plain pyarrow, the columns of a book, footers known; returns rows."""
    files = {path: pq.ParquetFile(path, memory_map=True) for floor in floors for path, _ in floor.parts}

    def read(floor: Floor) -> int:
        tables = [
            files[path].read_row_groups(groups, columns=COLUMNS, use_threads=False) for path, groups in floor.parts
        ]
        return sum(table.num_rows for table in tables)

    return read
