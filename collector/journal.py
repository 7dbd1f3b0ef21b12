"""The shard's durable log: segments of the hour, the flush file, and what a dead process left.

Owns when segments are opened, sealed and given up, and the closes of spans that a crash ended. Blocking: call it from
one worker thread at a time.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from book.errors import CollectorError, FencedError
from book.records import HOUR_US, Reason
from collector.crashes import open_spans
from collector.disk import RESERVE_BYTES, Reserve
from collector.endings import Endings
from collector.fence import Fence
from collector.rows import OrderbookRows, pieces
from collector.taken import Taken
from lake import durable, paths
from lake.journal.flush import ConnMark, Extent, FlushRecord, FlushWriter, Silence, heard_on
from lake.journal.recovery import Recovered, recover_hour, recover_shard
from lake.journal.segment import SegmentWriter
from lake.schemas import TABLES

SEAL_BYTES = 64 << 20
WRITE_TRIES = 2


class _Draft(NamedTuple):
    """A flush whose rows are durable and whose record may or may not be."""

    hour: int
    taken: Taken
    record: FlushRecord


class _Open:
    """A table's open segment, since when (monotonic seconds) and up to where it is acknowledged."""

    def __init__(self, writer: SegmentWriter, since_s: float) -> None:
        self.writer = writer
        self.since_s = since_s
        self.durable = 0

    def give_up(self) -> None:
        """Cut the file back to what is acknowledged; where the disk refuses even that, recovery cuts it."""
        with suppress(OSError):
            self.writer.abandon(self.durable)


class Journal:
    """Append flushes to a shard's log; opening it puts in order what a dead process left.

    ``last_us`` and ``last_conn`` are the last durable stamp and conn of the shard: neither may go back.
    """

    def __init__(
        self,
        home: Path,
        shard: int,
        *,
        seal_s: float,
        monotonic_s: Callable[[], float],
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        """Lock and recover the shard; on a full disk the reserve is given back for that.

        Raises CollectorError where another process has it, CorruptError, OSError.
        """
        self._home = home
        self._shard = shard
        self._seal_s = seal_s
        self._monotonic_s = monotonic_s
        self._open: dict[str, _Open] = {}
        self._next: dict[str, int] = {}
        self._hour = -1
        self._flush: FlushWriter | None = None
        self._first = False
        self._draft: _Draft | None = None
        self.reserve = Reserve(paths.reserve_path(home, shard), reserve_bytes)
        try:
            self._fence, self.recovered = _begin(home, shard)
        except OSError:
            if not self.reserve.release():
                raise
            self._fence, self.recovered = _begin(home, shard)
        self._endings = Endings(home, shard, monotonic_s, self._fence)
        found = self._last_hour()
        last = found.last if found else None
        self._number = last.n if last else 0
        self.last_us = last.at_us if last else 0
        self._conns = {conn: mark._replace(up=0) for conn, mark in found.conns.items()} if found else {}
        self.last_conn = max(self._conns, default=0)
        self._last_words: tuple[int, Taken] | None = None
        self._crashed = {int(conn): mark for conn, mark in last.conns.items() if mark.up} if last else {}
        self.feeds = dict(found.feeds) if found else {}
        """The last mark of every firehose, as it is known by what was written."""

    @property
    def next_flush(self) -> int:
        """Number of the flush that is written next."""
        return self._number + 1

    @property
    def crashed(self) -> dict[int, ConnMark]:
        """The conns that a dead process left up, with their last mark, until ``close_crashed``."""
        return dict(self._crashed)

    def close_crashed(self, hour: int) -> int:
        """Close, at its last frame, every span that the dead process had open; return how many closes were written.

        ``hour`` is that of now. After an OSError it may be called again. Cost: collector.crashes.open_spans.
        """
        if not self._crashed:
            return 0
        if self._last_words is None:
            self._last_words = hour, self._crash_flush(hour)
        hour, taken = self._last_words
        self.write(hour, taken)
        self._crashed, self._last_words = {}, None
        return sum(batch.num_rows for batch in taken.tables.values())

    def _crash_flush(self, hour: int) -> Taken:
        names: list[str] = []
        rows = OrderbookRows(names)
        hours: set[int] = set()
        for ticker, conn in open_spans(self._home, self._shard, self._crashed):
            mark = self._crashed[conn]
            rows.add_close(len(names), mark.last_frame_us + 1, conn, mark.last_seq, Reason.CRASH)
            names.append(ticker)
            hours.add((mark.last_frame_us + 1) // HOUR_US)
        batch = rows.take()
        conns = {conn: (mark.last_frame_us, mark.last_seq, False, mark.apart) for conn, mark in self._crashed.items()}
        at_us = max(self.last_us, paths.hour_start_us(hour))
        feeds = {
            channel: mark._replace(up=0, reason=Reason.CRASH, known_us=mark.lapse_us - 1)
            for channel, mark in self.feeds.items()
            if mark.up
        }
        return Taken({} if batch is None else {"orderbook": batch}, conns, [], hours, at_us, feeds)

    def write(self, hour: int, taken: Taken) -> None:
        """Make one flush durable: on return it is acknowledged. Seals what is due, and ends hours that are complete.

        A segment whose write or sync fails is cut back and given up, and the whole batch goes to the next one, once.
        Raises OSError where that fails too: nothing of the flush is acknowledged by us then, and the next call must be
        with this same flush, since its record may stand in the file already. Raises FencedError where a later process
        has the shard.
        """
        if self._draft is None:
            self._draft = self._write_rows(hour, taken)
        elif self._draft.taken is not taken:
            raise CollectorError("a flush follows one of which it is not known whether it is acknowledged")
        record = self._draft.record
        self._acknowledge(record)
        self._draft = None
        self._first = False
        for table, extent in record.tables.items():
            self._open[table].durable = extent.length
        conns = {int(conn): mark for conn, mark in record.conns.items()}
        self._number += 1
        self.last_us = max(self.last_us, record.at_us)
        self.last_conn = max(self.last_conn, *conns, 0)
        kept = {conn: mark for conn, mark in self._conns.items() if mark.up or conn == self.last_conn}
        self._conns = kept | conns
        self.feeds = {channel: heard_on(mark, conns) for channel, mark in (self.feeds | record.feeds).items()}
        self._seal_due()
        self._endings.flushed(hour, record)

    def open_for_s(self) -> float:
        """Return how long the oldest open segment has been open, in machine seconds; 0 where there is none."""
        now_s = self._monotonic_s()
        return max((now_s - one.since_s for one in tuple(self._open.values())), default=0.0)

    def close(self) -> None:
        """Seal every segment and give the shard up."""
        for table in list(self._open):
            self._seal(table)
        if self._flush is not None:
            self._flush.close()
        self._fence.close()

    def _write_rows(self, hour: int, taken: Taken) -> _Draft:
        """Make the rows of a flush durable and return it; where that fails none of them stays in a segment."""
        conns = {
            conn: ConnMark(heard_us, seq, int(up), apart) for conn, (heard_us, seq, up, apart) in taken.conns.items()
        }
        if hour != self._hour:
            self._roll(hour)
        if self._first and self.last_conn and self.last_conn not in conns and self.last_conn in self._conns:
            conns[self.last_conn] = self._conns[self.last_conn]
        try:
            extents = {table: self._append(table, batch) for table, batch in taken.tables.items()}
        except OSError:
            self._give_up(taken.tables)
            raise
        record = FlushRecord(
            n=self._number + 1,
            at_us=taken.at_us,
            tables=extents,
            conns={str(conn): mark for conn, mark in conns.items()},
            silences=[Silence(*silence) for silence in taken.silences],
            reach=sorted(one for one in taken.close_hours if one < hour),
            feeds={**(self.feeds if self._first else {}), **taken.feeds},
            lapses=list(taken.lapses),
            fills=list(taken.fills),
        )
        return _Draft(hour, taken, record)

    def _roll(self, hour: int) -> None:
        """Go on in another hour's folder; where that fails it is begun anew by the next call."""
        if hour < self._hour:
            raise CollectorError(f"hour {hour} after hour {self._hour}: stamps never go back")
        for table in list(self._open):
            self._seal(table)
        if self._flush is not None:
            self._flush.close()
            self._flush = None
        folder = paths.hour_dir(self._home, self._shard, hour)
        same = [found for found in self.recovered if found.hour_dir == folder]
        self._next = dict(same[-1].next_number) if same else {}
        durable.make_folder(folder)
        self._flush = FlushWriter(folder / paths.FLUSH_NAME)
        self._endings.begin(hour)
        self._first = True
        self._hour = hour

    def _append(self, table: str, batch: Any) -> Extent:
        for left in reversed(range(WRITE_TRIES)):
            try:
                one = self._open.get(table) or self._start(table)
                for part in pieces(batch) if table == "orderbook" else (batch,):
                    one.writer.append(part)
                added = one.writer.sync()
                return Extent(one.writer.path.name, added.length, added.crc32, added.rows)
            except OSError:
                self._give_up((table,))
                if not left:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _give_up(self, tables: Iterable[str]) -> None:
        for table in tables:
            one = self._open.pop(table, None)
            if one is not None:
                one.give_up()

    def _acknowledge(self, record: FlushRecord) -> None:
        """Write a flush's record, unless it turns out to stand in the file since the last try."""
        path = paths.hour_dir(self._home, self._shard, self._hour) / paths.FLUSH_NAME
        for left in reversed(range(WRITE_TRIES)):
            self._fence.check()
            try:
                writer = self._flush or FlushWriter(path)
                self._flush = None
                if writer.last is None or writer.last.n != record.n:
                    self._check_own(writer, record)
                    writer.append(record)
            except OSError:
                if not left:
                    raise
            else:
                self._flush = writer
                return

    def _check_own(self, writer: FlushWriter, record: FlushRecord) -> None:
        """Raise FencedError where the flush file holds what this process has not written."""
        before = writer.last.n if writer.last else None
        if before not in {None, record.n - 1} or writer.path.stat().st_size != writer.length:
            raise FencedError(f"{writer.path}: another process writes it too")

    def _start(self, table: str) -> _Open:
        number = self._next.get(table, 0)
        self._next[table] = number + 1
        path = paths.hour_dir(self._home, self._shard, self._hour) / paths.segment_name(table, number)
        try:
            writer = SegmentWriter(path, TABLES[table])
        except FileExistsError:
            raise FencedError(f"{path}: another process has made it") from None
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
            one.give_up()

    def _last_hour(self) -> Recovered | None:
        """Return the hour of the shard's last acknowledgement, looking back over hours in which there was none."""
        known = {found.hour_dir: found for found in self.recovered}
        for hour in reversed(paths.hours(self._home, self._shard)):
            folder = paths.hour_dir(self._home, self._shard, hour)
            found: Recovered = known.get(folder) or recover_hour(folder)
            if found.last is not None:
                return found
        return None


def _begin(home: Path, shard: int) -> tuple[Fence, list[Recovered]]:
    fence = Fence(home, shard)
    try:
        return fence, recover_shard(home, shard)
    except BaseException:
        fence.close()
        raise
