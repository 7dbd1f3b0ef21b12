"""The coverage rows of an hour.

Owns what they consist of: markets' fragments (lake.settling.ledger), how far each conn was heard, and when none was.
Derived from published rows and marks alone, so that anybody can derive them again. Never reads or writes a file.
"""

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from book.records import Reason
from lake import paths
from lake.schemas import PUBLISHED, SORT_KEYS
from lake.settling.columns import integers, joined
from lake.settling.fragments import CONTINUES
from lake.settling.ledger import BOOK, DERIVED, FilePart, Ledger
from lake.settling.settle import SettledHour
from lake.settling.standing import Standing

__all__ = ["DERIVED", "EVERY", "FilePart", "derive"]

EVERY = "*"
"""The ticker of rows that concern a conn or a whole table."""
_NOTHING: dict[str, Any] = {
    "ticker": EVERY, "channel": BOOK, "snapshots": 0, "deltas": 0, "checkpoints": 0, "closes": 0, "orphans": 0,
    "rows": 0, "bases": [], "audits": 0,
}  # fmt: skip


def derive(settled: SettledHour, parts: Sequence[FilePart], standing: Standing) -> pa.Table:
    """Return the hour's coverage rows of states known, gap, silence and conn, in order of SORT_KEYS["coverage"].

    Of ``settled`` the tables orderbook and audits, conns, shards and silences are read; ``parts`` say in which files
    the orderbook's rows stand, ascending; ``standing`` is what stood at the end of the latest published hour before.
    Schema DERIVED. Raises PublishError where the parts do not hold the rows. Cost: about 0.5 us a row and 50 us a
    fragment.
    """
    tables = {name: settled.tables.get(name, PUBLISHED[name].empty_table()) for name in (BOOK, "audits")}
    ledger = Ledger(settled.hour, tables[BOOK], standing.into(settled.hour))
    markets = ledger.rows(parts, tables["audits"], settled.shard_of_conn)
    others = [*_conns(settled, tables[BOOK]), *_silences(settled)]
    found = joined(DERIVED, [markets, pa.Table.from_pylist(others, DERIVED)])
    keys = [key for key in SORT_KEYS["coverage"] if key in DERIVED.names]
    frame = pl.DataFrame(pl.from_arrow(found.select(keys))).with_row_index("at_")
    return found.take(pa.array(frame.sort(keys, nulls_last=False, maintain_order=True)["at_"].to_numpy()))


def _conns(settled: SettledHour, book: pa.Table) -> list[dict[str, Any]]:
    """Return how far each conn was heard in the hour; one that was not, has no row.

    A conn's number tells when it began, or some milliseconds later; its first row may stand before that.
    """
    start_us, end_us = paths.hour_start_us(settled.hour), paths.hour_start_us(settled.hour + 1)
    conn, ts_us = integers(book["conn"]), integers(book["ts_recv"])
    rows: list[dict[str, Any]] = []
    for number, mark in sorted(settled.conns.items()):
        known_us = mark.last_frame_us + 1
        if known_us <= start_us:
            continue
        began_us = (number >> 10) * 1000
        if began_us > start_us:
            began_us = min(began_us, known_us - 1, int(ts_us.min(where=conn == number, initial=known_us)))
        goes_on = known_us > end_us
        rows.append(
            _NOTHING
            | {
                "state": "conn",
                "shard": settled.shard_of_conn.get(number, number % 1024),
                "conn": number,
                "ts_from": max(start_us, began_us),
                "ts_to": min(known_us, end_us),
                "end_reason": CONTINUES if goes_on else None,
                "last_seq": None if goes_on else mark.last_seq,
            }
        )
    return rows


def _silences(settled: SettledHour) -> list[dict[str, Any]]:
    return [
        _NOTHING
        | {
            "state": "silence",
            "shard": settled.shard_of_conn.get(silence.conn, silence.conn % 1024),
            "conn": silence.conn,
            "ts_from": silence.from_us,
            "ts_to": silence.to_us,
            "end_reason": Reason.STALL.value,
        }
        for silence in settled.silences
    ]
