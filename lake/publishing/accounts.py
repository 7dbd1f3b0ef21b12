"""The messages of each conn in an hour, counted: what the venue numbered stands somewhere, or is said not to.

Owns the sum: messages in tables, those of what is published from another shard and those apart make up the range of
sequence numbers. Never repairs anything.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from book.errors import ProofError
from book.records import Kind, Reason
from lake.journal.flush import NOT_COUNTED, ConnMark
from lake.publishing.manifest import Account
from lake.settling.settle import SettledHour

MISSING = frozenset({Reason.SEQ_GAP, Reason.OVERFLOW, Reason.CHANNEL_ERROR})
"""Closes that say that messages of their conn are missing, so that a sum that differs is no defect of ours."""
_NEVER = ConnMark(0, 0, 0, 0)
_Counts = dict[int, int]


def accounts_of(settled: SettledHour) -> dict[int, Account]:
    """Return the account of every conn that was heard in an hour.

    Raises ProofError where a sum is wrong though nothing was recorded as missing. Cost: some passes over two columns.
    """
    counts = {name: _messages(settled, name) for name in ("snapshots", "deltas", "orphans")}
    counts |= {name: _distinct(settled.tables.get(name)) for name in ("trades", "lifecycle")}
    counts["audits"] = _distinct(_equal(settled.tables.get("audits")))
    found: dict[int, Account] = {}
    for conn, mark in settled.marks.items():
        parts = {name: number.get(conn, 0) for name, number in counts.items()}
        parts["elsewhere"] = settled.counts.elsewhere_messages.get(conn, 0)
        found[conn] = _account(settled, conn, mark, parts)
        if found[conn].sum_ok is False and not _has_missing(settled, conn):
            raise ProofError(
                f"hour {settled.hour}, conn {conn}: messages {found[conn].first_seq} to {mark.last_seq} should be "
                f"{parts} in tables and {found[conn].apart} apart"
            )
    return found


def _account(settled: SettledHour, conn: int, mark: ConnMark, parts: Mapping[str, int]) -> Account:
    before = settled.before.get(conn, _NEVER)
    counted = NOT_COUNTED not in (mark.apart, before.apart)
    apart = mark.apart - before.apart if counted else None
    return Account(
        shard=settled.shard_of_conn[conn],
        **parts,
        apart=apart,
        lost=None,
        first_seq=before.last_seq + 1,
        last_seq=mark.last_seq,
        sum_ok=None if apart is None else sum(parts.values()) + apart == mark.last_seq - before.last_seq,
        apart_total=mark.apart,
    )


def _messages(settled: SettledHour, name: str) -> _Counts:
    """Return the order book's messages of one kind by conn; a change is a row, a snapshot a group of rows."""
    kind = {"snapshots": Kind.SNAPSHOT, "deltas": Kind.DELTA, "orphans": Kind.ORPHAN}[name]
    rows = settled.tables.get("orderbook")
    if rows is not None:
        rows = rows.select(["conn", "seq"]).filter(pc.equal(rows["kind"], int(kind)))
    if kind != Kind.SNAPSHOT:
        return {} if rows is None else _by_conn(rows["conn"])
    found = _distinct(rows)
    for conn, void in settled.counts.void_snapshots.items():
        found[conn] = found.get(conn, 0) + void
    return found


def _distinct(rows: pa.Table | None) -> _Counts:
    """Return the distinct sequence numbers of rows that have one, by conn."""
    if rows is None:
        return {}
    numbered = rows.select(["conn", "seq"]).filter(pc.is_valid(rows["seq"]))
    return _by_conn(numbered.group_by(["conn", "seq"]).aggregate([])["conn"])


def _equal(audits: pa.Table | None) -> pa.Table | None:
    """Return the audits that left no snapshot."""
    return None if audits is None else audits.filter(audits["equal"])


def _by_conn(conns: pa.ChunkedArray) -> _Counts:
    values, counts = np.unique(conns.to_numpy(), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _has_missing(settled: SettledHour, conn: int) -> bool:
    """Say whether a close of the conn in this hour says that messages are missing."""
    rows = settled.tables.get("orderbook")
    if rows is None:
        return False
    told = pc.is_in(rows["reason"], pa.array(sorted(MISSING), pa.utf8()))
    return bool(pc.any(pc.and_(told, pc.equal(rows["conn"], conn))).as_py())
