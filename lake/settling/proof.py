"""Proofs about an hour's rows, before they are published and whenever somebody doubts them.

Owns what must hold: the order of rows, the fold from each base to the next, and that nothing is lost or altered on the
way into a file. Never repairs anything.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from book.digest import digest
from book.errors import ProofError
from book.records import Kind, Level
from lake.journal.batches import Ints
from lake.settling.columns import (
    BookColumns,
    Groups,
    Levels,
    Numbers,
    book_columns,
    concat_ranges,
    groups,
    level_columns,
    runs,
)
from lake.settling.fingerprint import Fingerprint, fingerprint
from lake.settling.fold import Folded, Stretches, fold, slots
from lake.settling.standing import Standing

_PART_ROWS = 1 << 20

__all__ = ["Fingerprint", "fingerprint", "prove_conserved", "prove_order", "prove_replay"]


def prove_order(orderbook: pa.Table) -> None:
    """Prove that rows of an hour, in published schema and order, can be read by the rule.

    For each market and conn the order of rows is that of (seq, kind); no change stands twice; each delta follows a
    snapshot or checkpoint of its own conn with no close and no other conn's book between. Orphans are outside this.
    Raises ProofError. Cost: about 0.3 us a row.
    """
    columns, levels = book_columns(orderbook), level_columns(orderbook)
    for part in _parts(columns):
        own = columns.part(part)
        _sorted(own, levels.part(part))
        _within_conns(own)
        _within_spans(own, groups(own))


def prove_replay(orderbook: pa.Table, standing: Standing) -> None:
    """Prove that each base and the deltas after it give the next checkpoint, and that no level falls below zero.

    ``orderbook`` is an hour in published schema and order, ``standing`` what stood before it: a market's first
    checkpoint must be the book that was carried into the hour. Raises ProofError. Cost: about 0.6 us a row.
    """
    columns = book_columns(orderbook)
    levels = level_columns(orderbook)
    found = groups(columns)
    bases = np.flatnonzero(columns.kind[found.row] != Kind.CLOSE)
    ends = np.append(found.row[1:], len(columns))[: len(found)]
    ends = np.minimum(ends, np.searchsorted(columns.market, columns.market[found.row], side="right"))
    folded = fold(columns, levels, Stretches(found.row[bases], found.rows[bases], ends[bases]))
    for rows, error in (
        (folded.negative, "a level falls below zero"),
        (folded.twice, "a level stands twice in one book"),
    ):
        if len(rows):
            raise _error(columns, int(rows[0]), error)
    _carried_in(columns, levels, found, standing)
    _checkpoints(columns, levels, found, bases, folded)


def prove_conserved(prints: Mapping[str, Fingerprint], table: str, written: Iterable[pa.Table]) -> None:
    """Prove that what was written of a table is what its sources come to: no row lost, added or altered.

    ``prints`` are SettledHour.prints; ``written`` are the rows read back, in any parts and order, published schema.
    Raises ProofError. Cost: about 0.1 us a row.
    """
    found = Fingerprint()
    for part in written:
        found = found.plus(fingerprint(part))
    expected = prints.get(table, Fingerprint())
    if found.rows != expected.rows:
        raise ProofError(f"{table} was written with {found.rows} rows; its sources come to {expected.rows}")
    if found != expected:
        raise ProofError(f"{table} was written with other rows than its sources come to")


def _parts(columns: BookColumns) -> Iterator[slice]:
    """Yield slices of about a million rows, each of whole markets. Raises ProofError where markets do not ascend."""
    wrong = _descends((columns.market,))
    if len(wrong):
        raise _error(columns, int(wrong[0]) + 1, "a row stands before one that sorts before it")
    at = 0
    while at < len(columns):
        last = columns.market[min(at + _PART_ROWS, len(columns)) - 1]
        end = int(np.searchsorted(columns.market, last, side="right"))
        yield slice(at, end)
        at = end


def _error(columns: BookColumns, row: int, error: str) -> ProofError:
    return ProofError(error, ticker=columns.name(row), ts_us=int(columns.ts_us[row]))


def _descends(keys: tuple[Numbers, ...]) -> Ints:
    """Return the places whose successor is smaller by the keys, the first weighing most."""
    equal = np.ones(max(0, len(keys[0]) - 1), bool)
    smaller = np.zeros(len(equal), bool)
    for key in keys:
        smaller |= equal & (key[1:] < key[:-1])
        equal &= key[1:] == key[:-1]
    return np.flatnonzero(smaller)


def _sorted(columns: BookColumns, levels: Levels) -> None:
    level = (levels.side, levels.price_e4)
    wrong = _descends((columns.market, columns.ts_us, columns.conn, columns.seq, columns.kind, *level))
    if len(wrong):
        raise _error(columns, int(wrong[0]) + 1, "a row stands before one that sorts before it")


def _within_conns(columns: BookColumns) -> None:
    """Prove the order of each market's rows on each conn."""
    rows = np.flatnonzero(columns.kind != Kind.ORPHAN)
    starts = rows[runs(columns.market[rows], columns.conn[rows])]
    pairs = np.unique(np.stack([columns.market[starts].astype(np.int64), columns.conn[starts]]), axis=1)
    if pairs.shape[1] != len(starts):  # some market changes conn and back
        rows = rows[np.lexsort((columns.conn[rows], columns.market[rows]))]
    keys = tuple(key[rows] for key in (columns.market, columns.conn, columns.seq, columns.kind))
    wrong = _descends(keys)
    if len(wrong):
        raise _error(columns, int(rows[wrong[0] + 1]), "a row stands after one of its conn with a greater number")
    same = np.all([key[1:] == key[:-1] for key in keys], axis=0) & (keys[3][1:] == Kind.DELTA)
    if np.any(same):
        raise _error(columns, int(rows[int(np.argmax(same)) + 1]), "a change stands twice")


def _within_spans(columns: BookColumns, found: Groups) -> None:
    """Prove that the last group before each delta is a base of its conn."""
    deltas = np.flatnonzero(columns.kind == Kind.DELTA)
    group = np.searchsorted(found.row, deltas) - 1
    row = found.row[np.maximum(group, 0)] if len(found) else deltas
    inside = (group >= 0) & (columns.market[row] == columns.market[deltas])
    inside &= (columns.kind[row] != Kind.CLOSE) & (columns.conn[row] == columns.conn[deltas])
    if not inside.all():
        raise _error(columns, int(deltas[int(np.argmin(inside))]), "a delta stands outside its conn's span")


def _carried_in(columns: BookColumns, levels: Levels, found: Groups, standing: Standing) -> None:
    """Prove that a market's first checkpoint is the book that stood before the hour."""
    first = runs(columns.market[found.row])
    for number in first.tolist():
        row, rows = int(found.row[number]), int(found.rows[number])
        stand = standing.markets.get(columns.name(row))
        if columns.kind[row] != Kind.CHECKPOINT or stand is None:
            continue
        if not stand.live or stand.conn != columns.conn[row]:
            raise _error(columns, row, "a checkpoint stands outside its conn's span")
        if stand.digest is not None and digest(_levels(levels, row, rows)) != stand.digest:
            raise _error(columns, row, "the book is not the one that stood before the hour")


def _levels(levels: Levels, row: int, rows: int) -> list[Level]:
    part = slice(row, row + rows)
    told = zip(levels.side[part].tolist(), levels.price_e4[part].tolist(), levels.qty_e2[part].tolist(), strict=True)
    return [(side, price_e4, qty_e2) for side, price_e4, qty_e2 in told if price_e4 >= 0]


def _checkpoints(columns: BookColumns, levels: Levels, found: Groups, bases: Ints, folded: Folded) -> None:
    """Prove that each checkpoint but a market's first is the book folded from the base before it."""
    market, conn, kind = (key[found.row] for key in (columns.market, columns.conn, columns.kind))
    follows = np.append(False, market[1:] == market[:-1])[: len(market)]
    checked = np.flatnonzero((kind == Kind.CHECKPOINT) & follows)
    outside = checked[(kind[checked - 1] == Kind.CLOSE) | (conn[checked - 1] != conn[checked])]
    if len(outside):
        raise _error(columns, int(found.row[outside[0]]), "a checkpoint stands outside its conn's span")
    rows = concat_ranges(found.row[checked], found.rows[checked])
    number = np.repeat(np.arange(len(checked)), found.rows[checked])
    told = (levels.price_e4[rows] >= 0) & (levels.qty_e2[rows] != 0)
    rows, number = rows[told], number[told]
    said = np.stack([number, slots(levels, rows), levels.qty_e2[rows]])
    checks = np.full(len(bases), -1)
    checks[np.searchsorted(bases, checked - 1)] = np.arange(len(checked))
    ours = checks[folded.stretch] if len(folded.stretch) else folded.stretch
    reached = np.stack([ours, folded.slot, folded.qty_e2])[:, ours >= 0]
    if np.array_equal(said, reached):
        return
    for place in range(len(checked)):
        if not np.array_equal(said[:, said[0] == place], reached[:, reached[0] == place]):
            raise _error(columns, int(found.row[checked[place]]), "the checkpoint is not the book folded up to it")
    raise ProofError("checkpoints are not told in the order of their levels")
