"""``bench size``: bytes of a published order book for each change in it.

Owns both data sets and the account: everything that stands in the orderbook files counts, checkpoints, both stamps and
page checksums too, divided by the changes alone. What the checkpoints take is told by writing the same rows without.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from bench import flow, flowlog, machine, offline, published, tape
from book.digest import digest
from book.records import Kind
from lake import paths
from lake.publishing import parquet

TARGET = "<= 6.6"
MARKETS = 12_000
CHANGES_PER_S = 628
HOUR = 496_223
CHANGE_KINDS = pa.array([Kind.DELTA, Kind.ORPHAN], pa.int8())


@dataclass
class Account:
    """Sums over files: their bytes, rows by kind, and what the same rows take without checkpoints."""

    size_bytes: int = 0
    rows: int = 0
    changes: int = 0
    checkpoint_rows: int = 0
    size_without_bytes: int = 0

    @property
    def ratio(self) -> float:
        """Bytes a change."""
        return self.size_bytes / self.changes

    def line(self) -> str:
        """Say it."""
        rows, bytes_ = self.checkpoint_rows / self.rows, 1 - self.size_without_bytes / self.size_bytes
        return (
            f"{self.size_bytes:,} bytes, {self.rows:,} rows, {self.changes:,} changes; checkpoints {rows:.1%} of the "
            f"rows and {bytes_:.1%} of the bytes"
        )


def run() -> None:
    """Measure both data sets and print the figures; a ratio line ends each."""
    print(machine.describe())
    folder = tape.recorded_folder()
    if folder is None:
        print("size recorded: no recorded frames here (KALSHIBOOK_TEST_DATA names their folder)")
    else:
        _recorded(tape.recorded(folder))
    _generated(flow.generated(MARKETS, CHANGES_PER_S, paths.hour_start_us(HOUR)))


def _recorded(played: tape.Tape) -> None:
    with tempfile.TemporaryDirectory(dir=machine.memory()) as folder:
        home, lake = Path(folder) / "home", Path(folder) / "lake"
        offline.record(played, home)
        found = account(lake, published.publish(home, lake))
    assert found.changes == played.count(tape.DELTA), f"{found.changes} changes published"
    print(f"\nsize recorded: {len(played.books)} markets; {found.line()}")
    print(f"size recorded ratio {found.ratio:.2f} (target {TARGET})")


def _generated(made: flow.Flow) -> None:
    with tempfile.TemporaryDirectory(dir=machine.memory()) as folder:
        home, lake = Path(folder) / "home", Path(folder) / "lake"
        flowlog.write(made, home, HOUR)
        published.publish(home, lake)
        found = account(lake, [HOUR])
        check(made, lake, HOUR)
    assert found.changes == len(made.market), f"{found.changes} changes published"
    print(f"\nsize generated: {len(made.tickers)} markets in an hour; {found.line()}")
    print(f"size generated ratio {found.ratio:.2f} (no target)")


def check(made: flow.Flow, lake: Path, hour: int) -> None:
    """Compare each market's book at the hour's end with the flow's own. Raises AssertionError."""
    found = published.digests(lake, hour)
    wanted = {ticker: digest(levels) for ticker, levels in zip(made.tickers, made.last, strict=True)}
    assert found == wanted, "books at the end of the hour differ from the flow's"


def account(lake: Path, hours: list[int]) -> Account:
    """Return the sums over the order book's files of some hours. Cost: reads them, and writes them once more."""
    found = Account()
    for hour in hours:
        for path in published.orderbook_files(lake, hour):
            rows = parquet.read_file(path, "orderbook")
            without = rows.filter(pc.not_equal(rows["kind"], int(Kind.CHECKPOINT)))
            again = path.with_suffix(".without")
            parquet.write_file(again, "orderbook", without)
            found.size_bytes += path.stat().st_size
            found.size_without_bytes += again.stat().st_size
            found.rows += rows.num_rows
            found.changes += pc.sum(pc.is_in(rows["kind"], CHANGE_KINDS)).as_py() or 0
            found.checkpoint_rows += rows.num_rows - without.num_rows
            again.unlink()
    return found
