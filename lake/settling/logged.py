"""The order book of one shard's hour, in log order, and what becomes of each row.

Owns that void deltas are published as orphans, void snapshots and checkpoints and repeated closes are left out, closes
that a dead shard owes are added. Which rows are void is lake.settling.withdrawals', how they are sorted
lake.settling.order's. Never chooses between shards.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from book.records import Kind
from lake import paths
from lake.journal.batches import Ints
from lake.schemas import ORDERBOOK, PUBLISHED
from lake.settling.columns import BookColumns, Mask, Numbers, book_columns, integers, joined, level_columns, runs
from lake.settling.fingerprint import Fingerprint, fingerprint
from lake.settling.order import book_order
from lake.settling.sources import Source
from lake.settling.withdrawals import void_rows

KINDS = tuple(kind.name.lower() for kind in Kind)


@dataclass(frozen=True)
class HourCounts:
    """What was read of an hour and what became of it.

    ``rows`` are rows read by table; ``kinds`` orderbook rows read by kind (snapshot, delta, checkpoint, close, orphan;
    derived closes are not among them). ``left_out`` counts rows not published: void ``snapshot`` and ``checkpoint``
    rows, repeated ``close`` rows, ``early_checkpoint`` rows (not even read: see Source). ``void_groups`` counts the
    void snapshots and checkpoints themselves, ``void_snapshots`` the former by conn. ``orphaned`` are deltas published
    as orphans, ``derived`` closes of a shard without END. ``elsewhere`` are rows of what is published from another
    shard, by table, ``elsewhere_messages`` their messages by conn; nothing of them is counted but in ``rows`` and
    ``kinds``.
    """

    rows: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    void_groups: dict[str, int] = field(default_factory=dict)
    void_snapshots: dict[int, int] = field(default_factory=dict)
    orphaned: int = 0
    derived: int = 0
    elsewhere: dict[str, int] = field(default_factory=dict)
    elsewhere_messages: dict[int, int] = field(default_factory=dict)


class LoggedBook:
    """One shard's order book of an hour, with the closes that it owes."""

    def __init__(self, source: Source, derived: pa.Table) -> None:
        """Take what was logged, and the closes of lake.settling.crashes."""
        self.hour = source.hour
        self._source = source
        own = source.tables.get("orderbook", ORDERBOOK.empty_table())
        self.rows = joined(ORDERBOOK, [own, source.late_closes, derived])
        self.columns = book_columns(self.rows)
        self.derived = derived.num_rows
        self.void = void_rows(self.columns, book_columns(source.withdrawing), source.withdrawing_at)
        self.repeated = _repeated_closes(self.rows, self.columns)
        self.orphaned = self.void & (self.columns.kind == Kind.DELTA)

    def published(self) -> pa.Table:
        """Return the rows of all markets in published order and schema. Call it last: columns are given up as used."""
        columns = self.columns
        kept = np.flatnonzero(~self.left_out)
        kind = np.where(self.orphaned, Kind.ORPHAN, columns.kind).astype(np.int8)
        keys = replace(columns, kind=kind)  # an orphan sorts after a close of the same stamp and number
        order = kept[book_order(keys, level_columns(self.rows), paths.hour_start_us(self.hour), kept)]
        del kept, keys
        names, market = pa.array(columns.names, pa.utf8()), columns.market
        known: dict[str, Numbers] = {
            "ts_recv": columns.ts_us, "conn": columns.conn, "seq": columns.seq, "kind": kind,
        }  # fmt: skip
        del self.columns, columns
        arrays: dict[str, pa.Array] = {}
        for entry in PUBLISHED["orderbook"]:
            if entry.name in known:
                arrays[entry.name] = pa.array(known.pop(entry.name)[order]).cast(entry.type)
            elif entry.name != "ticker":
                arrays[entry.name] = _gathered(self.rows[entry.name], order)
        arrays["ticker"] = names.take(pa.array(market[order]))
        return pa.table([arrays[name] for name in PUBLISHED["orderbook"].names], schema=PUBLISHED["orderbook"])

    @property
    def left_out(self) -> Mask:
        """Which rows are not published, whatever their market."""
        left_out: Mask = (self.void & ~self.orphaned) | self.repeated
        return left_out

    def elsewhere(self, tickers: Collection[str]) -> Mask:
        """Say which rows are of some markets."""
        columns = book_columns(self.rows)
        found: Mask = np.array([name in tickers for name in columns.names], bool)[columns.market]
        return found

    def fingerprint(self, elsewhere: Mask) -> Fingerprint:
        """Return what the published rows must come to: all rows but those left out, void deltas as orphans.

        ``elsewhere`` are rows of markets that are published from another shard.
        """
        left_out, orphaned = self.left_out | elsewhere, self.orphaned & ~elsewhere
        deltas = self.rows.filter(pa.array(orphaned))
        kinds = pa.array(np.full(deltas.num_rows, Kind.ORPHAN, np.int8))
        orphans = deltas.set_column(deltas.schema.get_field_index("kind"), deltas.schema.field("kind"), kinds)
        left = fingerprint(self.rows).minus(fingerprint(self.rows.filter(pa.array(left_out))))
        return left.minus(fingerprint(deltas)).plus(fingerprint(orphans))

    def counts(self, elsewhere: Mask) -> HourCounts:
        """Return what was read and what became of it; ``elsewhere`` as in ``fingerprint``. Never after published."""
        source, columns = self._source, self.columns
        rows = Counter({name: table.num_rows for name, table in source.tables.items()})
        rows.update(orderbook=source.late_closes.num_rows)
        kinds = np.bincount(columns.kind, minlength=len(KINDS)).tolist()
        kinds[Kind.CLOSE] -= self.derived
        left = np.bincount(columns.kind[self.left_out & ~elsewhere], minlength=len(KINDS)).tolist()
        groups = self._groups(self.void & ~self.orphaned & ~elsewhere)
        left_out = dict(zip(KINDS, left, strict=True))
        left_out["early_checkpoint"] = source.early_checkpoints
        of_snapshots = columns.conn[groups[columns.kind[groups] == Kind.SNAPSHOT]]
        found = HourCounts(
            rows=dict(+rows),
            kinds=dict(zip(KINDS, kinds, strict=True)),
            left_out={name: count for name, count in left_out.items() if count},
            void_groups=dict(Counter(KINDS[kind] for kind in columns.kind[groups].tolist())),
            void_snapshots=dict(Counter(of_snapshots.tolist())),
            orphaned=int(np.count_nonzero(self.orphaned & ~elsewhere)),
            derived=self.derived,
        )
        if elsewhere.any():
            found.elsewhere["orderbook"] = int(np.count_nonzero(elsewhere))
            found.elsewhere_messages.update(self._messages(elsewhere))
        return found

    def _messages(self, rows: Mask) -> Counter[int]:
        """Return the messages among some rows by conn: a change is a row, a snapshot a group of rows."""
        columns = self.columns
        changes = rows & ((columns.kind == Kind.DELTA) | (columns.kind == Kind.ORPHAN))
        groups = self._groups(rows & (columns.kind == Kind.SNAPSHOT))
        return Counter(columns.conn[changes].tolist()) + Counter(columns.conn[groups].tolist())

    def _groups(self, rows: Mask) -> Ints:
        """Return the first row of each group among some rows."""
        columns, places = self.columns, np.flatnonzero(rows)
        keys = [key[places] for key in (columns.market, columns.ts_us, columns.conn, columns.seq, columns.kind)]
        order = np.lexsort(keys)
        found: Ints = places[order[runs(*(key[order] for key in keys))]]
        return found


def _repeated_closes(rows: pa.Table, columns: BookColumns) -> Mask:
    """Say which closes are the same as one logged before them: market, stamp, conn, seq and reason."""
    repeated = np.zeros(len(columns), bool)
    closes = np.flatnonzero(columns.kind == Kind.CLOSE)
    reasons = rows["reason"].take(pa.array(closes)).to_pylist()
    keys = (columns.market, columns.ts_us, columns.conn, columns.seq)
    seen: set[tuple[object, ...]] = set()
    for row, *key in zip(closes.tolist(), *(column[closes].tolist() for column in keys), reasons, strict=True):
        repeated[row] = tuple(key) in seen
        seen.add(tuple(key))
    return repeated


def _gathered(column: pa.ChunkedArray, order: Ints) -> pa.Array:
    """Return a column's values in an order; columns of nulls alone are made, not moved."""
    if column.null_count == len(column):
        return pa.nulls(len(order), column.type)
    if pa.types.is_string(column.type):
        texts = column.dictionary_encode().combine_chunks()
        return texts.take(pa.array(order)).cast(column.type)
    null = None
    if column.null_count:
        null = column.is_null().to_numpy()[order]
    return pa.array(integers(column)[order], mask=null).cast(column.type)
