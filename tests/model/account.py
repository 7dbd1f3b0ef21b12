"""What the flushes of a shard's log claim, checked flush by flush against the rows.

Owns two plain readings: that every sequence number of a conn stands in a row or is counted apart, and that an hour's
END was true when it was written and stayed so.
"""

from pathlib import Path

from book.records import HOUR_US, Kind
from lake import paths
from lake.journal.ends import read_end
from lake.journal.flush import ConnMark, FlushRecord, FlushTail
from lake.journal.reader import Hour

NUMBERED = ("orderbook", "audits", "trades", "lifecycle")
OURS = (Kind.CHECKPOINT, Kind.CLOSE)


def records(home: Path, shard: int) -> list[tuple[int, FlushRecord]]:
    """Return every flush with the hour of its folder, in the order of their numbers."""
    found = [
        (hour, record)
        for hour in paths.hours(home, shard)
        for record in FlushTail(paths.hour_dir(home, shard, hour) / paths.FLUSH_NAME).poll()
    ]
    return sorted(found, key=lambda one: one[1].n)


def _rows(home: Path, shard: int, hour: int) -> dict[str, list[tuple[int, int | None]]]:
    """Return (conn, seq) of each row of an hour's folder in log order; the seq of what is ours is None."""
    reader = Hour(paths.hour_dir(home, shard, hour), shard, hour)
    reader.poll()
    found = {}
    for name in NUMBERED:
        table = reader.table(name)
        kinds = table["kind"].to_pylist() if name == "orderbook" else [None] * table.num_rows
        columns = (table["conn"].to_pylist(), table["seq"].to_pylist(), kinds)
        found[name] = [(conn, None if kind in OURS else seq) for conn, seq, kind in zip(*columns, strict=True)]
    return found


def complaints(home: Path, shard: int) -> list[str]:
    """Say for which flush and conn rows and numbers counted apart do not make up the last number."""
    found: list[str] = []
    seen: dict[int, set[int]] = {}
    hours = {hour: _rows(home, shard, hour) for hour in paths.hours(home, shard)}
    at: dict[tuple[int, str], int] = {}
    for hour, record in records(home, shard):
        for table, extent in record.tables.items():
            if table in NUMBERED:
                start = at.get((hour, table), 0)
                at[hour, table] = start + extent.rows
                for conn, seq in hours[hour][table][start : start + extent.rows]:
                    if seq is not None:
                        seen.setdefault(conn, set()).add(seq)
        for text, mark in record.conns.items():
            numbers = seen.get(int(text), set())
            if len(numbers) + mark.apart != mark.last_seq or max(numbers, default=0) > mark.last_seq:
                found.append(f"flush {record.n}, conn {text}: {len(numbers)} in rows, {mark}")
    return found


def false_ends(home: Path, shard: int) -> list[str]:
    """Say which END is not true."""
    found: list[str] = []
    flushes = records(home, shard)
    for hour in paths.hours(home, shard):
        end = read_end(home, shard, hour)
        if end is None:
            continue
        own = [record for folder, record in flushes if folder == hour]
        counted = [record for _, record in flushes if record.n <= end.flush]
        newest: dict[str, ConnMark] = {}
        for record in counted:
            newest |= record.conns
        named = {conn for record in own for conn in record.conns}
        wrong = {
            "a flush follows it": any(record.n > end.flush for record in own),
            "its flush is not there": counted[-1].n != end.flush,
            "stamps may fall into it": counted[-1].at_us < (hour + 1) * HOUR_US,
            "its segments": end.segments
            != sorted({extent.segment for record in own for extent in record.tables.values()}),
            "its reach": end.reach != sorted({one for record in own for one in record.reach}),
            "its conns": set(end.conns) != named,
            "a conn is not done": not all(
                _done(mark, hour) and _done(newest[conn], hour) for conn, mark in end.conns.items()
            ),
            "a mark that no flush has": any(
                mark not in [record.conns.get(conn) for record in counted] for conn, mark in end.conns.items()
            ),
        }
        found += [f"END of hour {hour}: {text}" for text, is_wrong in wrong.items() if is_wrong]
    return found


def unended(home: Path, shard: int) -> list[int]:
    """Return the hours, counted back from the newest, that have no END."""
    hours = paths.hours(home, shard)
    return [hour - hours[-1] for hour in hours if read_end(home, shard, hour) is None]


def _done(mark: ConnMark, hour: int) -> bool:
    return not mark.up or mark.last_frame_us >= (hour + 1) * HOUR_US
