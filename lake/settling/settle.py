"""From the logs of an hour to the rows that are published of it.

Owns what becomes of each row: void deltas are published as orphans, void snapshots and checkpoints and repeated closes
are left out, closes that a dead shard owes are added. Which rows are void is lake.settling.withdrawals', how they are
sorted lake.settling.order's. Never writes a file and never decides which hour is due.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from book.errors import PublishError
from book.records import Kind
from lake import paths
from lake.journal.batches import Ints
from lake.journal.flush import ConnMark, Silence
from lake.schemas import ORDERBOOK, PUBLISHED, TABLES
from lake.settling.columns import BookColumns, Mask, Numbers, book_columns, coded, integers, joined, level_columns, runs
from lake.settling.crashes import derived_closes
from lake.settling.fingerprint import Fingerprint, fingerprint
from lake.settling.order import book_order, sorted_rows
from lake.settling.sources import Source
from lake.settling.standing import Standing
from lake.settling.withdrawals import void_rows

KINDS = tuple(kind.name.lower() for kind in Kind)


@dataclass(frozen=True)
class HourCounts:
    """What was read of an hour and what became of it.

    ``rows`` are rows read by table; ``kinds`` orderbook rows read by kind (snapshot, delta, checkpoint, close, orphan;
    derived closes are not among them). ``left_out`` counts rows not published: void ``snapshot`` and ``checkpoint``
    rows, repeated ``close`` rows, ``early_checkpoint`` rows (not even read: see Source). ``void_groups`` counts the
    void snapshots and checkpoints themselves, ``void_snapshots`` the former by conn. ``orphaned`` are deltas published
    as orphans, ``derived`` closes of a shard without END.
    """

    rows: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    void_groups: dict[str, int] = field(default_factory=dict)
    void_snapshots: dict[int, int] = field(default_factory=dict)
    orphaned: int = 0
    derived: int = 0


@dataclass(frozen=True)
class SettledHour:
    """An hour as it is published."""

    hour: int
    tables: dict[str, pa.Table]
    """Published schemas, sorted by SORT_KEYS; only tables with rows."""
    conns: dict[int, ConnMark] = field(default_factory=dict)
    """The newest mark of every conn of the hour."""
    shard_of_conn: dict[int, int] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    counts: HourCounts = field(default_factory=HourCounts)
    marks: dict[int, ConnMark] = field(default_factory=dict)
    """The mark of every conn of the hour when the hour ended: what was received in it, and before."""
    before: dict[int, ConnMark] = field(default_factory=dict)
    """The mark of each of these conns when the hour before ended, where it had begun."""
    prints: Mapping[str, Fingerprint] = field(default_factory=dict)
    """What the published rows of each table must come to, reckoned from the sources."""


def settle(sources: Sequence[Source], standing: Standing) -> SettledHour:
    """Return an hour as it is published, from what its shards have logged of it.

    ``standing`` is what stood at the end of the latest published hour before it. Raises PublishError where two shards
    have a market. Cost: about 1 us an orderbook row and three times their memory.
    """
    hour = sources[0].hour
    if any(source.hour != hour for source in sources):
        raise PublishError(hour, "sources are of different hours")
    derived = [derived_closes(source, standing) for source in sources]
    _refuse_shared(hour, sources, standing)
    tables: dict[str, pa.Table] = {}
    prints: dict[str, Fingerprint] = {}
    book = _Book(hour, sources, derived)
    counts = book.counts(sources)
    if book.rows.num_rows:
        prints["orderbook"] = book.fingerprint()
        tables["orderbook"] = book.published()
    for name in TABLES:
        if name != "orderbook" and any(name in source.tables for source in sources):
            logged = joined(TABLES[name], [source.tables[name] for source in sources if name in source.tables])
            prints[name] = fingerprint(logged)
            tables[name] = sorted_rows(logged, name)
    return SettledHour(
        hour=hour,
        tables=tables,
        conns={conn: mark for source in sources for conn, mark in source.conns.items()},
        shard_of_conn={conn: source.shard for source in sources for conn in source.conns},
        silences=sorted(silence for source in sources for silence in source.silences),
        counts=counts,
        marks={conn: mark for source in sources for conn, mark in source.marks.items()},
        before={conn: mark for source in sources for conn, mark in source.before.items()},
        prints=prints,
    )


def _refuse_shared(hour: int, sources: Sequence[Source], standing: Standing) -> None:
    """Refuse an hour in which two shards have rows of a market, or one has rows and another its living span."""
    owner = {ticker: stand.shard for ticker, stand in standing.markets.items() if stand.live}
    for source in sources:
        names: set[str] = set()
        for table in (source.tables.get("orderbook", ORDERBOOK.empty_table()), source.late_closes):
            names.update(coded(table["ticker"])[0])
        for name in sorted(names):
            other = owner.setdefault(name, source.shard)
            if other != source.shard:
                raise PublishError(hour, f"shards {other} and {source.shard} both have market {name}")


class _Book:
    """The order book of an hour, in log order, and what is to become of each row."""

    def __init__(self, hour: int, sources: Sequence[Source], derived: Sequence[pa.Table]) -> None:
        self.hour = hour
        parts: list[pa.Table] = []
        early_at: list[Ints] = []
        at = 0
        for source, closes in zip(sources, derived, strict=True):
            early_at.append(at + source.withdrawing_at)
            own = (source.tables.get("orderbook", ORDERBOOK.empty_table()), source.late_closes, closes)
            parts.extend(own)
            at += sum(table.num_rows for table in own)
        self.rows = joined(ORDERBOOK, parts)
        self.columns = book_columns(self.rows)
        self.derived = sum(table.num_rows for table in derived)
        early = book_columns(joined(ORDERBOOK, [source.withdrawing for source in sources]))
        self.void = void_rows(self.columns, early, np.concatenate(early_at))
        self.repeated = _repeated_closes(self.rows, self.columns)
        self.orphaned = self.void & (self.columns.kind == Kind.DELTA)

    def published(self) -> pa.Table:
        """Return the rows in published order and schema. Call it last: columns are given up as they are used."""
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
        """Which rows are not published."""
        left_out: Mask = (self.void & ~self.orphaned) | self.repeated
        return left_out

    def fingerprint(self) -> Fingerprint:
        """Return what the published rows must come to: all rows but those left out, void deltas as orphans."""
        deltas = self.rows.filter(pa.array(self.orphaned))
        kinds = pa.array(np.full(deltas.num_rows, Kind.ORPHAN, np.int8))
        orphans = deltas.set_column(deltas.schema.get_field_index("kind"), deltas.schema.field("kind"), kinds)
        left = fingerprint(self.rows).minus(fingerprint(self.rows.filter(pa.array(self.left_out))))
        return left.minus(fingerprint(deltas)).plus(fingerprint(orphans))

    def counts(self, sources: Sequence[Source]) -> HourCounts:
        """Return what was read and what became of it."""
        columns = self.columns
        rows: Counter[str] = Counter()
        for source in sources:
            rows.update({name: table.num_rows for name, table in source.tables.items()})
            rows.update(orderbook=source.late_closes.num_rows)
        kinds = np.bincount(columns.kind, minlength=len(KINDS)).tolist()
        kinds[Kind.CLOSE] -= self.derived
        left = np.bincount(columns.kind[self.left_out], minlength=len(KINDS)).tolist()
        void = np.flatnonzero(self.void & ~self.orphaned)
        keys = [key[void] for key in (columns.market, columns.ts_us, columns.conn, columns.seq, columns.kind)]
        order = np.lexsort(keys)
        groups = void[order[runs(*(key[order] for key in keys))]]
        left_out = dict(zip(KINDS, left, strict=True))
        left_out["early_checkpoint"] = sum(source.early_checkpoints for source in sources)
        of_snapshots = columns.conn[groups[columns.kind[groups] == Kind.SNAPSHOT]]
        return HourCounts(
            rows=dict(+rows),
            kinds=dict(zip(KINDS, kinds, strict=True)),
            left_out={name: count for name, count in left_out.items() if count},
            void_groups=dict(Counter(KINDS[kind] for kind in columns.kind[groups].tolist())),
            void_snapshots=dict(Counter(of_snapshots.tolist())),
            orphaned=int(np.count_nonzero(self.orphaned)),
            derived=self.derived,
        )


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
