"""Which spans a dead process left open.

Owns the search through its hours, newest first. Never writes: the journal logs the closes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from book.records import HOUR_US, Kind
from lake import paths
from lake.journal.flush import ConnMark
from lake.journal.reader import Hour

LOOK_BACK_HOURS = 48
BATCHES_A_PART = 1024
_HOURS_A_DAY = 24
_KINDS = (Kind.SNAPSHOT, Kind.CHECKPOINT, Kind.CLOSE)

Ints = npt.NDArray[np.signedinteger]


def open_spans(home: Path, shard: int, crashed: Mapping[int, ConnMark]) -> list[tuple[str, int]]:
    """Return (ticker, conn) of spans open on ``crashed`` conns, and of those that ended later than these were heard.

    An hour's flush file names every conn that lived in it, so the search ends before the first hour that names none of
    these; and with an hour that begins at midnight past which all of these were heard: there every live book has a
    checkpoint. Cost: the flush files
    and the kind and conn of every row of those hours, at most 25 unless hours are missing.
    """
    last: dict[tuple[str, int], tuple[int, int]] = {}
    hours = paths.hours(home, shard)[-LOOK_BACK_HOURS:]
    for hour in reversed(hours):
        reader = Hour(paths.hour_dir(home, shard, hour), shard, hour)
        if reader.poll() and not crashed.keys() & reader.conns.keys():
            break
        newest: dict[tuple[str, int], tuple[int, int]] = {}
        for ticker, ts_us, conn, kind in _bases_and_closes(reader, list(crashed)):
            newest[ticker, conn] = (kind, ts_us)
        last = newest | last
        heard = min((mark.last_frame_us for mark in crashed.values()), default=0)
        if hour % _HOURS_A_DAY == 0 and heard // HOUR_US > hour:
            break
    return sorted(
        (ticker, conn)
        for (ticker, conn), (kind, ts_us) in last.items()
        if kind != Kind.CLOSE or ts_us > crashed[conn].last_frame_us + 1
    )


def _bases_and_closes(hour: Hour, conns: list[int]) -> Iterator[tuple[str, int, int, int]]:
    """Yield (ticker, ts_us, conn, kind) of the snapshots, checkpoints and closes of some conns, in log order.

    Only batches with such rows are decoded whole, a part at a time, and only those rows become Python objects.
    """
    known = hour.batches("orderbook")
    for start in range(0, known.count, BATCHES_A_PART):
        numbers = np.arange(start, min(known.count, start + BATCHES_A_PART))
        plain = hour.integers("orderbook", numbers, ["conn", "kind"])
        places = known.first_row[start] + np.flatnonzero(_is_wanted(plain["kind"], plain["conn"], conns))
        chosen = np.unique(known.of_rows(places))
        if not len(chosen):
            continue
        rows = hour.decode("orderbook", chosen, ["ticker", "ts_recv", "conn", "kind"])
        rows = rows.filter(pa.array(_is_wanted(rows["kind"].to_numpy(), rows["conn"].to_numpy(), conns)))
        columns = (rows["ticker"], rows["ts_recv"].cast("int64"), rows["conn"], rows["kind"])
        yield from zip(*(column.to_pylist() for column in columns), strict=True)


def _is_wanted(kinds: Ints, of: Ints, conns: list[int]) -> npt.NDArray[np.bool_]:
    return np.isin(kinds, _KINDS) & np.isin(of, conns)
