"""What coverage says of conns: how far each was heard in the hour, and when none was.

Owns these rows. Knows no market.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from book.records import Reason
from lake import paths
from lake.journal.flush import ConnMark, Silence
from lake.settling.columns import integers
from lake.settling.fragments import CONTINUES
from lake.settling.ledger import BOOK

EVERY = "*"
"""The ticker of rows that concern a conn or a whole table."""
NOTHING: dict[str, Any] = {
    "ticker": EVERY, "channel": BOOK, "snapshots": 0, "deltas": 0, "checkpoints": 0, "closes": 0, "orphans": 0,
    "rows": 0, "bases": [], "audits": 0,
}  # fmt: skip


class Heard(Protocol):
    """What was heard in an hour; see lake.settling.settle.SettledHour."""

    @property
    def hour(self) -> int:
        """Return the hour."""

    @property
    def conns(self) -> Mapping[int, ConnMark]:
        """Return the newest mark of every conn."""

    @property
    def shard_of_conn(self) -> Mapping[int, int]:
        """Return the shard of every conn."""

    @property
    def silences(self) -> Sequence[Silence]:
        """Return the silences."""


def conn_rows(settled: Heard, book: pa.Table) -> list[dict[str, Any]]:
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
            NOTHING
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


def silence_rows(settled: Heard) -> list[dict[str, Any]]:
    """Return the silences of the conns."""
    return [
        NOTHING
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
