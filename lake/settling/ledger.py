"""The coverage rows of markets: fragments with their counts, places, bases and digests.

Owns what is reckoned about a fragment's rows. Which fragments there are is lake.settling.fragments'; conns and
silences are lake.settling.coverage's.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from book.errors import PublishError
from book.records import Kind
from lake import paths
from lake.journal.batches import Ints
from lake.schemas import BASES, COVERAGE
from lake.settling.columns import BookColumns, Groups, book_columns, groups, level_columns
from lake.settling.fold import Stretches, fold
from lake.settling.fragments import Fragment, Walk
from lake.settling.standing import Stand, Standing

BOOK = "orderbook"
DERIVED = pa.schema([COVERAGE.field(name) for name in COVERAGE.names[: COVERAGE.get_field_index("version")]])
"""Coverage rows before they are published: without version, manifest, published_at, superseded_at and reason."""


@dataclass(frozen=True)
class FilePart:
    """The orderbook rows [first_row, first_row + rows) of the sorted hour stand in ``file``, from its row 0 on."""

    file: str
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Told:
    """A fragment, whose it is, its market's first row, and what stood of the market before the hour."""

    ticker: str
    first_row: int
    stand: Stand | None
    fragment: Fragment


class Ledger:
    """An hour's fragments, in order of ticker and row: together they hold all rows and all groups."""

    def __init__(self, hour: int, book: pa.Table, standing: Standing) -> None:
        """Take an hour's orderbook in published schema and order, and what is carried into the hour."""
        self._hour = hour
        self._book = book
        self._columns = book_columns(book)
        self._groups = groups(self._columns)
        self._told = _fragments(hour, self._columns, self._groups, book["reason"], standing)
        ones = [told.fragment for told in self._told]
        self._row = np.array([one.row for one in ones], np.int64)
        self._end = np.array([one.end for one in ones], np.int64)
        self._group = np.array([one.group for one in ones], np.int64)
        self._group_end = np.array([one.group_end for one in ones], np.int64)

    def rows(self, parts: Sequence[FilePart], audits: pa.Table, shards: Mapping[int, int]) -> pa.Table:
        """Return a coverage row for each fragment, schema DERIVED.

        ``parts`` say where the rows stand; ``audits`` are the hour's in published schema and order; ``shards`` maps
        conns to shards. Raises PublishError where the parts do not hold the rows.
        """
        ones = [told.fragment for told in self._told]
        stands = [told.stand for told in self._told]
        row_file, row_part = self._places(parts)
        columns: dict[str, Any] = {
            "ticker": [told.ticker for told in self._told],
            "channel": [BOOK] * len(ones),
            "state": ["known" if one.known else "gap" for one in ones],
            "shard": [_shard(told, shards) for told in self._told],
            "conn": [one.conn for one in ones],
            "ts_from": [one.from_us for one in ones],
            "ts_to": [one.to_us for one in ones],
            "end_reason": [one.reason for one in ones],
            "file": row_file,
            "first_row": row_part,
            "rows": self._end - self._row,
            "last_record_hour": [
                None if stand is None or stand.record_hour is None else paths.hour_start_us(stand.record_hour)
                for stand in stands
            ],
            "last_change": self._last_change(),
            "digest": self._digests(),
        }
        columns |= self._counts() | self._seqs() | _audited(self._told, audits)
        arrays = [
            self._bases(parts)
            if field.name == "bases"
            else pa.array(columns[field.name], field.type if isinstance(columns[field.name], list) else None).cast(
                field.type
            )
            for field in DERIVED
        ]
        return pa.table(arrays, schema=DERIVED)

    def _places(self, parts: Sequence[FilePart]) -> tuple[list[str | None], list[int | None]]:
        """Return the file of each fragment and its first row there, None where it has no rows."""
        if sum(part.rows for part in parts) != len(self._columns):
            raise PublishError(self._hour, "the files hold other orderbook rows than the hour")
        files: list[str | None] = []
        rows: list[int | None] = []
        for number, (row, end) in enumerate(zip(self._row.tolist(), self._end.tolist(), strict=True)):
            part = None if row == end else parts[_part(parts, row)]
            if part is not None and end > part.first_row + part.rows:
                raise PublishError(self._hour, f"{self._told[number].ticker} stands in two files")
            files.append(part.file if part else None)
            rows.append(row - part.first_row if part else None)
        return files, rows

    def _counts(self) -> dict[str, Ints]:
        """Return how many groups and changes of each kind a fragment holds."""
        kind = self._columns.kind
        of_group = kind[self._groups.row]
        counts = {
            name: self._between(np.flatnonzero(of_group == value), self._group, self._group_end)
            for name, value in (("snapshots", Kind.SNAPSHOT), ("checkpoints", Kind.CHECKPOINT), ("closes", Kind.CLOSE))
        }
        counts["orphans"] = self._between(np.flatnonzero(kind == Kind.ORPHAN), self._row, self._end)
        held = np.append(0, np.cumsum(self._groups.rows))
        in_groups = held[self._group_end] - held[self._group]
        return counts | {"deltas": self._end - self._row - counts["orphans"] - in_groups}

    @staticmethod
    def _between(places: Ints, start: Ints, end: Ints) -> Ints:
        """Return how many of some ascending places lie in each [start, end)."""
        found: Ints = np.searchsorted(places, end) - np.searchsorted(places, start)
        return found

    def _seqs(self) -> dict[str, list[int | None]]:
        """Return the first and the last seq of each fragment's records on its own conn, orphans aside."""
        conn = np.repeat(np.array([told.fragment.conn for told in self._told], np.int64), self._end - self._row)
        own = np.flatnonzero((self._columns.conn == conn) & (self._columns.kind != Kind.ORPHAN))
        return {
            "first_seq": self._picked(own, self._columns.seq, np.searchsorted(own, self._row)),
            "last_seq": self._picked(own, self._columns.seq, np.searchsorted(own, self._end) - 1),
        }

    def _picked(self, rows: Ints, column: Ints, at: Ints) -> list[int | None]:
        """Return, for each fragment, a column at ``rows[at]``, None where that row is not the fragment's."""
        if not len(rows):
            return [None] * len(at)
        row = rows[np.clip(at, 0, len(rows) - 1)]
        inside = (at >= 0) & (at < len(rows)) & (row >= self._row) & (row < self._end)
        return [value if ours else None for value, ours in zip(column[row].tolist(), inside.tolist(), strict=True)]

    def _last_change(self) -> list[int | None]:
        """Return the stamp of the last snapshot or delta of the market up to each fragment's end."""
        changes = np.flatnonzero(self._columns.kind <= Kind.DELTA)
        at = np.searchsorted(changes, self._end) - 1
        found: list[int | None] = []
        for told, place in zip(self._told, at.tolist(), strict=True):
            row = int(changes[place]) if place >= 0 else -1
            if row >= told.first_row:
                found.append(int(self._columns.ts_us[row]))
            else:
                found.append(told.stand.last_change_us if told.stand else None)
        return found

    def _digests(self) -> list[str | None]:
        """Return the digest of each known fragment's book at its end: folded, or the one carried in."""
        bases = np.flatnonzero(self._columns.kind[self._groups.row] != Kind.CLOSE)
        at = np.searchsorted(bases, self._group_end) - 1
        last = bases[np.maximum(at, 0)] if len(bases) else np.zeros(len(at), np.int64)
        known = np.array([told.fragment.known for told in self._told], bool)
        folded = np.flatnonzero(known & (at >= 0) & (last >= self._group))
        base = last[folded]
        stretches = Stretches(self._groups.row[base], self._groups.rows[base], self._end[folded])
        digests = fold(self._columns, level_columns(self._book), stretches).digests(len(folded))
        found: list[str | None] = [
            told.stand.digest if told.stand and told.fragment.known else None for told in self._told
        ]
        for number, text in zip(folded.tolist(), digests, strict=True):
            found[number] = text
        return found

    def _bases(self, parts: Sequence[FilePart]) -> pa.Array:
        """Return each fragment's groups, as COVERAGE lists them."""
        rows = self._groups.row
        starts = np.array([part.first_row for part in parts], np.int64)
        within = rows - starts[np.searchsorted(starts, rows, side="right") - 1] if len(rows) else rows
        taken = self._book.select(["ts_recv", "ts_exch", "conn", "seq", "kind", "reason"]).take(pa.array(rows))
        columns = {name: taken[name].combine_chunks() for name in taken.column_names}
        columns |= {"row": pa.array(within), "rows": pa.array(self._groups.rows.astype(np.int32))}
        struct = BASES.value_type
        fields = [struct.field(place) for place in range(struct.num_fields)]
        values = pa.StructArray.from_arrays([columns[field.name].cast(field.type) for field in fields], fields=fields)
        offsets = np.append(self._group, len(rows))
        for place in range(len(self._group) - 1, -1, -1):  # a fragment without groups begins where the next one does
            if self._group[place] == self._group_end[place]:
                offsets[place] = offsets[place + 1]
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=BASES)


def _fragments(
    hour: int, columns: BookColumns, found: Groups, reasons: pa.ChunkedArray, standing: Standing
) -> list[_Told]:
    """Return every market's fragments, by ticker and then in order."""
    start_us, end_us = paths.hour_start_us(hour), paths.hour_start_us(hour + 1)
    rows = np.searchsorted(columns.market, np.arange(len(columns.names) + 1))
    at = np.searchsorted(found.row, rows).tolist()
    rows = rows.tolist()
    keys = (columns.kind, columns.ts_us, columns.conn)
    told_by = (*(key[found.row].tolist() for key in keys), reasons.take(pa.array(found.row)).to_pylist())
    numbered = list(zip(*told_by, found.row.tolist(), range(len(found)), strict=True))
    place = {name: number for number, name in enumerate(columns.names)}
    told: list[_Told] = []
    for ticker in sorted({*columns.names, *standing.markets}):
        stand, number = standing.markets.get(ticker), place.get(ticker)
        row, end, group, group_end = (
            (0, 0, 0, 0) if number is None else (rows[number], rows[number + 1], at[number], at[number + 1])
        )
        walk = Walk(start_us, end_us, stand, row, group)
        for one in numbered[group:group_end]:
            walk.take(*one)
        first = (int(columns.conn[row]), int(columns.ts_us[row])) if row < end else None
        told += [_Told(ticker, row, stand, fragment) for fragment in walk.finish(first, end, group_end)]
    return told


def _part(parts: Sequence[FilePart], row: int) -> int:
    """Return which part holds a row."""
    place = bisect_left(parts, row + 1, key=lambda part: part.first_row) - 1
    return max(place, 0)


def _shard(told: _Told, shards: Mapping[int, int]) -> int:
    """Return the shard of a fragment's conn: as it was read, as it stood, as its number says."""
    conn, stand = told.fragment.conn, told.stand
    known = shards.get(conn)
    if known is None and stand is not None and stand.conn == conn:
        known = stand.shard
    return conn % 1024 if known is None else known


def _audited(told: Sequence[_Told], audits: pa.Table) -> dict[str, list[Any]]:
    """Return how many audits each fragment holds, and the stamp of the last equal one up to its end."""
    stamps: dict[str, list[int]] = {}
    equal: dict[str, list[int]] = {}
    columns = (audits["ticker"], audits["ts_recv"].cast(pa.int64()), audits["equal"])
    for ticker, ts_us, same in zip(*(column.to_pylist() for column in columns), strict=True):
        stamps.setdefault(ticker, []).append(ts_us)
        if same:
            equal.setdefault(ticker, []).append(ts_us)
    counts: list[int] = []
    last: list[int | None] = []
    for one in told:
        fragment, own = one.fragment, stamps.get(one.ticker, [])
        counts.append(bisect_left(own, fragment.to_us) - bisect_left(own, fragment.from_us))
        proofs = equal.get(one.ticker, [])
        place = bisect_left(proofs, fragment.to_us)
        carried = one.stand.last_audit_us if one.stand else None
        last.append(proofs[place - 1] if place else carried)
    return {"audits": counts, "last_audit": last}
