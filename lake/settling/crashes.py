"""The closes that a shard which did not end its hour would have written.

Owns what is derived where a log just stops: the same rows that the collector writes when it starts again
(collector.journal), so that they are the same rows when it does. Never alters the log.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from book.records import HOUR_US, Kind, Reason
from lake.schemas import ORDERBOOK, TICKER
from lake.settling.columns import integers
from lake.settling.sources import Source
from lake.settling.standing import Standing

_BASE = (int(Kind.CHECKPOINT), 0)


def derived_closes(source: Source, standing: Standing) -> pa.Table:
    """Return a close of reason crash for each market whose span a conn left open that was last heard in this hour.

    Like the collector's it stands at the last frame + 1 us and also closes a span that ended later than that. None
    where the shard has ended its hour. Schema of a segment. Cost: nothing but where a conn was left up.
    """
    crashed = {
        conn: mark
        for conn, mark in source.conns.items()
        if mark.up and source.end is None and (mark.last_frame_us + 1) // HOUR_US == source.hour
    }
    if not crashed:
        return ORDERBOOK.empty_table()
    last = {
        (ticker, stand.conn): _BASE
        for ticker, stand in standing.markets.items()
        if stand.live and stand.conn in crashed
    }
    for ticker, conn, kind, ts_us in _bases_and_closes(source, list(crashed)):
        last[ticker, conn] = (kind, ts_us)
    found = [
        (ticker, conn)
        for (ticker, conn), (kind, ts_us) in sorted(last.items())
        if kind != Kind.CLOSE or ts_us > crashed[conn].last_frame_us + 1
    ]
    count = len(found)
    columns = {
        "ticker": pa.array([ticker for ticker, _ in found], pa.utf8()).dictionary_encode().cast(TICKER),
        "ts_recv": pa.array([crashed[conn].last_frame_us + 1 for _, conn in found], pa.int64()),
        "conn": pa.array([conn for _, conn in found], pa.int64()),
        "seq": pa.array([crashed[conn].last_seq for _, conn in found], pa.int64()),
        "kind": pa.array([Kind.CLOSE] * count, pa.int8()),
        "reason": pa.array([Reason.CRASH.value] * count, pa.utf8()),
    }
    arrays = [columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
              for field in ORDERBOOK]  # fmt: skip
    return pa.table(arrays, schema=ORDERBOOK)


def _bases_and_closes(source: Source, conns: list[int]) -> Iterator[tuple[str, int, int, int]]:
    """Yield (ticker, conn, kind, ts_us) of the snapshots, checkpoints and closes of some conns, in log order."""
    book = source.tables.get("orderbook", ORDERBOOK.empty_table())
    places = (np.arange(book.num_rows), source.withdrawing_at - 0.5, np.full(source.late_closes.num_rows, np.inf))
    found: list[tuple[float, str, int, int, int]] = []
    for table, place in zip((book, source.withdrawing, source.late_closes), places, strict=True):
        kind = integers(table["kind"])
        wanted = np.isin(integers(table["conn"]), conns) & (kind != Kind.DELTA) & (kind != Kind.ORPHAN)
        rows = table.filter(pa.array(wanted))
        columns = (rows["ticker"], rows["conn"], rows["kind"], rows["ts_recv"].cast(pa.int64()))
        found += zip(place[wanted].tolist(), *(column.to_pylist() for column in columns), strict=True)
    for _, ticker, conn, of_kind, ts_us in sorted(found, key=lambda one: one[0]):
        yield ticker, conn, of_kind, ts_us
