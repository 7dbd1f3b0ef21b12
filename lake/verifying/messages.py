"""The messages of each conn in an hour against the rows of its files.

Owns the proof of a manifest's accounts by what is published: rows are as many as stated, the parts make up the range of
numbers, and ranges join from hour to hour.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from book.errors import CorruptError
from book.records import Kind
from lake.publishing.manifest import Account, HourEntry
from lake.settling.columns import Numbers, integers

Counts = dict[int, int]


def prove_accounts(entry: HourEntry, before: HourEntry | None, tables: Mapping[str, pa.Table]) -> int:
    """Prove an hour's accounts; ``before`` is the entry of the hour before. Returns how many messages they count.

    Raises CorruptError, naming the conn and what differs. Cost: some passes over three columns.
    """
    rows = _counted(tables, entry)
    total = 0
    for conn, account in entry.conns.items():
        for name, found in rows.items():
            if found.get(conn, 0) != getattr(account, name):
                told = f"{getattr(account, name)} {name} are stated, {found.get(conn, 0)} are in the files"
                raise CorruptError("accounts", 0, f"conn {conn}: {told}")
        count = sum(getattr(account, name) for name in rows) + account.elsewhere
        total += count
        _prove_sum(conn, account, count)
        earlier = before.conns.get(conn) if before else None
        if before and earlier:
            _prove_joint(conn, account, earlier, one_reader=_rebuilt(entry, account) == _rebuilt(before, earlier))
    unknown = {conn for found in rows.values() for conn in found} - set(entry.conns)
    if unknown and entry.reason != "import":
        raise CorruptError("accounts", 0, f"conn {min(unknown)} has rows and no account")
    return total


def _prove_sum(conn: int, account: Account, count: int) -> None:
    if account.sum_ok is None or account.apart is None or account.first_seq is None:
        return
    if account.sum_ok != (count + account.apart == account.last_seq - account.first_seq + 1):
        raise CorruptError("accounts", 0, f"conn {conn}: the sum of its messages is not as stated")


def _rebuilt(entry: HourEntry, account: Account) -> bool:
    """Say whether an account is of a log that was rebuilt from raw frames."""
    read = entry.shards.get(account.shard)
    return read is not None and read.rebuilt > 0


def _prove_joint(conn: int, account: Account, earlier: Account, *, one_reader: bool) -> None:
    """Prove that an account goes on where the hour before left off.

    What stands apart is counted from the conn's first message on by the reader of its log: without ``one_reader`` the
    two counts are not of one sum.
    """
    if account.first_seq is not None and account.first_seq != earlier.last_seq + 1:
        raise CorruptError("accounts", 0, f"conn {conn}: goes on with {account.first_seq} after {earlier.last_seq}")
    if one_reader and account.apart is not None and account.apart != account.apart_total - earlier.apart_total:
        raise CorruptError("accounts", 0, f"conn {conn}: {account.apart} apart is not the difference of the totals")


def _counted(tables: Mapping[str, pa.Table], entry: HourEntry) -> dict[str, Counts]:
    """Return the messages in the files by what they are and conn, the void snapshots that were left out among them."""
    found: dict[str, Counts] = {"snapshots": {}, "deltas": {}, "orphans": {}}
    if "orderbook" in tables:
        conn, seq, kind = (integers(tables["orderbook"][name]) for name in ("conn", "seq", "kind"))
        found["snapshots"] = _distinct(conn[kind == Kind.SNAPSHOT], seq[kind == Kind.SNAPSHOT])
        found["deltas"] = _by_conn(conn[kind == Kind.DELTA])
        found["orphans"] = _by_conn(conn[kind == Kind.ORPHAN])
    for text, void in entry.counts.get("void_snapshots", {}).items():
        found["snapshots"][int(text)] = found["snapshots"].get(int(text), 0) + void
    for name in ("trades", "lifecycle", "audits"):
        found[name] = {}
        if name in tables:
            rows = tables[name]
            chosen = rows["seq"].is_valid().to_numpy()
            chosen &= rows["equal"].to_numpy() if name == "audits" else True
            found[name] = _distinct(integers(rows["conn"])[chosen], integers(rows["seq"])[chosen])
    return found


def _distinct(conn: Numbers, seq: Numbers) -> Counts:
    return _by_conn(np.unique(np.column_stack([conn, seq]).astype(np.int64), axis=0)[:, 0])


def _by_conn(conns: Numbers) -> Counts:
    values, counts = np.unique(conns, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
