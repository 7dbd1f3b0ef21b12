"""The shard's durable log: segments of the hour, the flush file, and what a dead process left.

Owns when segments are opened, sealed and given up, and the closes of spans that a crash ended. Blocking: call it from
one worker thread at a time.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from book.errors import CollectorError
from book.records import HOUR_US, Kind, Reason
from collector.endings import Endings
from collector.rows import OrderbookRows, pieces
from collector.session import Taken
from lake import durable, paths
from lake.journal.flush import ConnMark, Extent, FlushRecord, FlushWriter, Silence
from lake.journal.reader import Hour
from lake.journal.recovery import Recovered, recover_hour, recover_shard
from lake.journal.segment import SegmentWriter
from lake.schemas import TABLES

SEAL_BYTES = 64 << 20
WRITE_TRIES = 2
LOOK_BACK_HOURS = 48
BATCHES_A_PART = 1024


class _Open:
    """A table's open segment, since when (monotonic seconds) and up to where it is acknowledged."""

    def __init__(self, writer: SegmentWriter, since_s: float) -> None:
        self.writer = writer
        self.since_s = since_s
        self.durable = 0


class Journal:
    """Append flushes to a shard's log; opening it puts in order what a dead process left.

    ``last_us`` and ``last_conn`` are the last durable stamp and conn of the shard: neither may go back.
    """

    def __init__(self, home: Path, shard: int, *, seal_s: float, monotonic_s: Callable[[], float]) -> None:
        """Lock and recover the shard. Raises CollectorError where another process has it, CorruptError, OSError."""
        self._home = home
        self._shard = shard
        self._seal_s = seal_s
        self._monotonic_s = monotonic_s
        self._lock = _lock(home, shard)
        self._endings = Endings(home, shard, monotonic_s)
        self._open: dict[str, _Open] = {}
        self._next: dict[str, int] = {}
        self._hour = -1
        self._flush: FlushWriter | None = None
        self.recovered = recover_shard(home, shard)
        found = self._last_hour()
        last = found.last if found else None
        self._number = last.n if last else 0
        self.last_us = last.at_us if last else 0
        self._conns = {conn: mark._replace(up=0) for conn, mark in found.conns.items()} if found else {}
        self.last_conn = max(self._conns, default=0)
        self._crashed = {int(conn): mark for conn, mark in last.conns.items() if mark.up} if last else {}

    def close_crashed(self, hour: int) -> int:
        """Close, at its last frame, every span that the dead process had open; return how many closes were written.

        ``hour`` is that of now.
        """
        if not self._crashed:
            return 0
        names: list[str] = []
        rows = OrderbookRows(names)
        hours: set[int] = set()
        for ticker, conn in self._open_at_crash():
            mark = self._crashed[conn]
            rows.add_close(len(names), mark.last_frame_us + 1, conn, mark.last_seq, Reason.CRASH)
            names.append(ticker)
            hours.add((mark.last_frame_us + 1) // HOUR_US)
        count = rows.count
        batch = rows.take()
        conns = {conn: (mark.last_frame_us, mark.last_seq, False, mark.apart) for conn, mark in self._crashed.items()}
        at_us = max(self.last_us, paths.hour_start_us(hour))
        self.write(hour, Taken({} if batch is None else {"orderbook": batch}, conns, [], hours, at_us))
        self._crashed = {}
        return count

    def write(self, hour: int, taken: Taken) -> None:
        """Make one flush durable: on return it is acknowledged. Seals what is due, and ends hours that are complete.

        A segment whose write or sync fails is cut back and given up, and the whole batch goes to the next one, once.
        Raises OSError where that fails too; nothing of the flush is acknowledged then.
        """
        conns = {
            conn: ConnMark(heard_us, seq, int(up), apart) for conn, (heard_us, seq, up, apart) in taken.conns.items()
        }
        if hour != self._hour:
            self._roll(hour)
            if self.last_conn and self.last_conn not in conns and self.last_conn in self._conns:
                conns[self.last_conn] = self._conns[self.last_conn]
        extents = {table: self._append(table, batch) for table, batch in taken.tables.items()}
        record = FlushRecord(
            n=self._number + 1,
            at_us=taken.at_us,
            tables=extents,
            conns={str(conn): mark for conn, mark in conns.items()},
            silences=[Silence(*silence) for silence in taken.silences],
            reach=sorted(one for one in taken.close_hours if one < hour),
        )
        self._acknowledge(record)
        for table, extent in extents.items():
            self._open[table].durable = extent.length
        self._number += 1
        self.last_us = max(self.last_us, taken.at_us)
        self.last_conn = max(self.last_conn, *conns, 0)
        kept = {conn: mark for conn, mark in self._conns.items() if mark.up or conn == self.last_conn}
        self._conns = kept | conns
        self._seal_due()
        self._endings.flushed(hour, record)

    def close(self) -> None:
        """Seal every segment and give the shard up."""
        for table in list(self._open):
            self._seal(table)
        if self._flush is not None:
            self._flush.close()
        os.close(self._lock)

    def _roll(self, hour: int) -> None:
        if hour < self._hour:
            raise CollectorError(f"hour {hour} after hour {self._hour}: stamps never go back")
        for table in list(self._open):
            self._seal(table)
        if self._flush is not None:
            self._flush.close()
        self._hour = hour
        folder = paths.hour_dir(self._home, self._shard, hour)
        same = [found for found in self.recovered if found.hour_dir == folder]
        self._next = dict(same[-1].next_number) if same else {}
        durable.make_folder(folder)
        self._flush = FlushWriter(folder / paths.FLUSH_NAME)
        self._endings.begin(hour)

    def _append(self, table: str, batch: Any) -> Extent:
        for left in reversed(range(WRITE_TRIES)):
            one = self._open.get(table) or self._start(table)
            try:
                for part in pieces(batch) if table == "orderbook" else (batch,):
                    one.writer.append(part)
                added = one.writer.sync()
                return Extent(one.writer.path.name, added.length, added.crc32, added.rows)
            except OSError:
                del self._open[table]
                one.writer.abandon(one.durable)
                if not left:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _acknowledge(self, record: FlushRecord) -> None:
        path = paths.hour_dir(self._home, self._shard, self._hour) / paths.FLUSH_NAME
        writer, self._flush = self._flush or FlushWriter(path), None
        try:
            writer.append(record)
        except OSError:
            writer = FlushWriter(path)
            if writer.last is None or writer.last.n != record.n:
                writer.append(record)  # else its line was whole, and opening the file has made it durable
        self._flush = writer

    def _start(self, table: str) -> _Open:
        number = self._next.get(table, 0)
        self._next[table] = number + 1
        folder = paths.hour_dir(self._home, self._shard, self._hour)
        writer = SegmentWriter(folder / paths.segment_name(table, number), TABLES[table])
        self._open[table] = _Open(writer, self._monotonic_s())
        return self._open[table]

    def _seal_due(self) -> None:
        now_s = self._monotonic_s()
        for table, one in list(self._open.items()):
            if now_s - one.since_s >= self._seal_s or one.writer.length >= SEAL_BYTES:
                self._seal(table)

    def _seal(self, table: str) -> None:
        """Seal a segment; where that fails it is cut back to what is acknowledged, and recovery seals it."""
        one = self._open.pop(table)
        try:
            one.writer.seal({conn: (mark.last_frame_us, mark.last_seq) for conn, mark in self._conns.items()})
        except OSError:
            one.writer.abandon(one.durable)

    def _last_hour(self) -> Recovered | None:
        """Return the hour of the shard's last acknowledgement, looking back over hours in which there was none."""
        known = {found.hour_dir: found for found in self.recovered}
        for hour in reversed(paths.hours(self._home, self._shard)):
            folder = paths.hour_dir(self._home, self._shard, hour)
            found: Recovered = known.get(folder) or recover_hour(folder)
            if found.last is not None:
                return found
        return None

    def _open_at_crash(self) -> list[tuple[str, int]]:
        """Return (ticker, conn) of spans open at the crash and of those that ended later than their conn was heard.

        A live book has a row since its conn began, and a checkpoint every day: older hours cannot hold its last one.
        A conn's number may lie some milliseconds after its first row, and so in the next hour.
        """
        last: dict[tuple[str, int], tuple[int, int]] = {}
        first_hour = min(self._crashed) // 1024 * 1000 // HOUR_US - 1
        for hour in paths.hours(self._home, self._shard)[-LOOK_BACK_HOURS:]:
            if hour < first_hour:
                continue
            reader = Hour(paths.hour_dir(self._home, self._shard, hour), self._shard, hour)
            reader.poll()
            for ticker, ts_us, conn, kind in _bases_and_closes(reader, list(self._crashed)):
                last[ticker, conn] = (kind, ts_us)
        return [
            (ticker, conn)
            for (ticker, conn), (kind, ts_us) in last.items()
            if kind != Kind.CLOSE or ts_us > self._crashed[conn].last_frame_us + 1
        ]


def _bases_and_closes(hour: Hour, conns: list[int]) -> Iterator[tuple[str, int, int, int]]:
    """Yield (ticker, ts_us, conn, kind) of the snapshots, checkpoints and closes of some conns, in log order.

    Cost: the hour's rows are decoded a part at a time; only those yielded become Python objects.
    """
    count = hour.batches("orderbook").count
    kinds = pa.array([Kind.SNAPSHOT, Kind.CHECKPOINT, Kind.CLOSE], pa.int8())
    for start in range(0, count, BATCHES_A_PART):
        numbers = range(start, min(count, start + BATCHES_A_PART))
        rows = hour.decode("orderbook", numbers, ["ticker", "ts_recv", "conn", "kind"])
        wanted = pc.and_(pc.is_in(rows["kind"], kinds), pc.is_in(rows["conn"], pa.array(conns, pa.int64())))
        rows = rows.filter(wanted)
        columns = (rows["ticker"], rows["ts_recv"].cast("int64"), rows["conn"], rows["kind"])
        yield from zip(*(column.to_pylist() for column in columns), strict=True)


def _lock(home: Path, shard: int) -> int:
    folder = paths.journal_dir(home, shard)
    durable.make_folder(folder)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise CollectorError(
            f"shard {shard} of {home} belongs to another process; stop it or set KALSHIBOOK_SHARD"
        ) from error
    return lock
