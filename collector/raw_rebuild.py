"""An hour of a shard's log made anew from its raw frames.

Owns what is played, from which state, and the refusal where something of it is missing. Never alters what was
recorded, and publishes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from book.errors import CorruptError, PublishError
from book.records import HOUR_US
from collector.raw_replay import Crash, Replay, State, until_flush
from collector.rows import pieces
from collector.taken import Taken
from lake import paths
from lake.journal.ends import read_end
from lake.journal.flush import ConnMark, FlushTail, Silence
from lake.raw.entries import Entry
from lake.raw.hours import ProcessHour, goes_on, read_hour, successor
from lake.raw.rebuilt import RebuiltLog, left_state

FROM_FRAMES = frozenset({"orderbook", "audits", "lifecycle", "quarantine", "trades", "tickers"})
"""Tables whose rows come from frames; trades that were learned otherwise are among them."""
CARRIED_ROWS = 1 << 16
STATE_ENTRIES = 3
"""An hour begins with an event and two tables."""


def rebuild(
    home: Path,
    shard: int,
    hour: int,
    into: Path,
    *,
    before: Path | None,
    carried: Mapping[str, pa.Table],
    expected: Mapping[int, int],
) -> None:
    """Write a shard's hour to the journal under ``into``, read from the raw frames under ``home``.

    ``before`` is the folder of the rebuild that the hour before was published from, None where it was published from
    its log. ``carried`` are rows that come from no frame, in the segments' schemas; ``expected`` is the last sequence
    number of each conn as it is known so far. Raises PublishError where raw frames are missing, naming what,
    CorruptError where they are altered, OSError. Cost: that of recording the hour.
    """
    found = read_hour(home, shard, hour)
    if not found:
        raise PublishError(hour, f"shard {shard} has no raw frames of it")
    _refuse_late(home, shard, hour, found[0])
    work = _Rebuild(home, shard, hour, into, before)
    for process in found:
        work.add(process)
    work.finish(carried)
    for conn, last_seq in expected.items():
        mark = work.log.conns.get(conn)
        if mark is None or mark.last_seq < last_seq:
            reached = "there are none" if mark is None else f"they end with message {mark.last_seq}"
            raise PublishError(hour, f"shard {shard}: raw frames of conn {conn} are missing: {reached} of {last_seq}")


class _Rebuild:
    """The work on one hour."""

    def __init__(self, home: Path, shard: int, hour: int, into: Path, before: Path | None) -> None:
        self.log = RebuiltLog(into, shard, hour)
        self._home, self._shard, self._hour = home, shard, hour
        self._before = before
        self._first_flush = 0
        self._reached = 0
        self._flush = 0
        self._at_us = hour * HOUR_US
        self._marks: dict[int, ConnMark] = {}

    def add(self, process: ProcessHour) -> None:
        """Play one process's part of the hour."""
        if process.head is None:
            return  # killed before its first flush: nothing of it was acknowledged
        if goes_on(self._home, self._shard, self._hour, process.start_us):
            process.prove_ended()
        self._crashed_before(process.head)
        entries = process.entries()
        bodies = [entry.body for entry in islice(entries, STATE_ENTRIES)]
        if len(bodies) < STATE_ENTRIES:
            return  # killed while it began: the same
        state: State = bodies[0], bodies[1:]
        if self._before is not None:
            state = left_state(self._before, self._shard, self._hour - 1, process.start_us) or state
        replay = Replay(self._shard, state)
        self._marks |= replay.marks()
        end = self._end(process)
        self._reached = int(process.head["flush"])
        kept = entries if end is None else until_flush(self._seen(entries), end.flush, ended=process.ended)
        for taken in replay.play(self._counted(kept)):
            self._take(taken)
        if end is not None and not process.ended and self._reached < end.flush:
            self._refuse(f"raw frames end with flush {self._reached}, the log went on to flush {end.flush}")
        if end is not None and not (process.ended and self._reached <= end.flush):
            self._take(replay.crash(end))
        else:
            self.log.leave(process.start_us, replay.state())

    def finish(self, carried: Mapping[str, pa.Table]) -> None:
        """Add what comes from no frame, and acknowledge the whole."""
        for table, rows in carried.items():
            self.log.append(table, rows.combine_chunks().to_batches(max_chunksize=CARRIED_ROWS))
        recorded = FlushTail(paths.hour_dir(self._home, self._shard, self._hour) / paths.FLUSH_NAME).poll()
        for record in recorded:
            self.log.carry(record)
        end = read_end(self._home, self._shard, self._hour)
        if not self._flush:
            self._refuse("its raw frames hold nothing that was acknowledged")
        self.log.begin_with(self._first_flush - 1, self._hour * HOUR_US - 1, self._marks)
        self.log.finish(self._flush, self._at_us, ended=None if end is None else end.conns)

    def _seen(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Note up to which flush there are entries."""
        for entry in entries:
            if isinstance(entry.body, dict) and entry.body.get("at") == "flush":
                self._reached = entry.body["n"]
            yield entry

    def _counted(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Note which flushes acknowledged what is played."""
        for entry in entries:
            if isinstance(entry.body, dict) and entry.body.get("at") == "flush":
                self._flush = entry.body["n"]
                self._first_flush = self._first_flush or self._flush
            yield entry

    def _take(self, taken: Taken) -> None:
        for table in FROM_FRAMES & taken.tables.keys():
            batch = taken.tables[table]
            self.log.append(table, pieces(batch) if table == "orderbook" else (batch,))
        marks = {conn: ConnMark(us, seq, int(up), apart) for conn, (us, seq, up, apart) in taken.conns.items()}
        self.log.tell(marks, [Silence(*silence) for silence in taken.silences], taken.close_hours)
        self._at_us = max(self._at_us, taken.at_us)

    def _end(self, process: ProcessHour) -> Crash | None:
        """Return what is known of the end of a process, be it later; None where it ended the hour and nothing is."""
        head = successor(self._home, self._shard, process.start_us)
        if head is not None and head["start"] is None:
            self._refuse("the raw frames of how the next process began are missing")
        if head is not None:
            return _crash(head["start"])
        folder = paths.hour_dir(self._home, self._shard, self._hour)
        records = FlushTail(folder / paths.FLUSH_NAME).poll()
        if records:
            return Crash(records[-1].n, {})
        if not process.ended:
            self._refuse("its raw frames have no end, and no log says up to where it was acknowledged")
        return None

    def _crashed_before(self, head: Mapping[str, Any]) -> None:
        """Tell the conns that a process found up, of one that was killed in an earlier hour."""
        if head["start"] is not None:
            earlier = _crash(head["start"]).conns
            earlier = {conn: mark for conn, mark in earlier.items() if conn not in self.log.conns}
            self._marks |= earlier
            self.log.tell({conn: mark._replace(up=0) for conn, mark in earlier.items()}, (), ())

    def _refuse(self, error: str) -> NoReturn:
        raise PublishError(self._hour, f"shard {self._shard}: {error}")


def _crash(start: Mapping[str, Any]) -> Crash:
    return Crash(start["flush"], {int(conn): ConnMark(*mark) for conn, mark in start["crashed"].items()})


def _refuse_late(home: Path, shard: int, hour: int, first: ProcessHour) -> None:
    """Refuse an hour whose first process began in it, where another one before it had recorded of it too."""
    start = first.head["start"] if first.head else None
    if start is not None and start["last_us"] >= paths.hour_start_us(hour):
        folder = paths.raw_hour_dir(home, shard, hour)
        raise CorruptError(str(folder), 0, f"the raw frames of the process before {first.start_us} are missing")
