"""The fingerprint of a set of rows, whatever their order.

Owns how a row is hashed. Equal sets have equal fingerprints within one process; they are never stored.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

_ODD, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
_MODULO = 1 << 64
_PART_ROWS = 1 << 20


class Fingerprint(NamedTuple):
    """How many rows, and the sum of their hashes modulo 2**64: fingerprints of disjoint sets add up."""

    rows: int = 0
    total: int = 0

    def plus(self, other: "Fingerprint") -> "Fingerprint":
        """Return the fingerprint of both sets together."""
        return Fingerprint(self.rows + other.rows, (self.total + other.total) % _MODULO)

    def minus(self, other: "Fingerprint") -> "Fingerprint":
        """Return the fingerprint of what is left without a part of the set."""
        return Fingerprint(self.rows - other.rows, (self.total - other.total) % _MODULO)


def fingerprints(table: pa.Table, by: str) -> dict[str, Fingerprint]:
    """Return the fingerprint of the rows of each value of a text column. Cost: that of one over all."""
    found: dict[str, Fingerprint] = {}
    for start in range(0, table.num_rows, _PART_ROWS):
        part = table.slice(start, _PART_ROWS)
        names = part[by].cast(pa.utf8()).combine_chunks().dictionary_encode()
        codes = names.indices.to_numpy()
        totals = np.zeros(len(names.dictionary), np.uint64)
        np.add.at(totals, codes, _rows(part))
        counts = np.bincount(codes, minlength=len(totals))
        for name, rows, total in zip(names.dictionary.to_pylist(), counts.tolist(), totals.tolist(), strict=True):
            found[name] = found.get(name, Fingerprint()).plus(Fingerprint(rows, total))
    return found


def fingerprint(table: pa.Table) -> Fingerprint:
    """Return the fingerprint of a table's rows; text as a dictionary counts as the text it stands for.

    Cost: about 0.1 us a row; works in parts of a million rows.
    """
    found = Fingerprint()
    for start in range(0, table.num_rows, _PART_ROWS):
        part = table.slice(start, _PART_ROWS)
        found = found.plus(Fingerprint(part.num_rows, int(_rows(part).sum())))
    return found


def _rows(part: pa.Table) -> NDArray[np.uint64]:
    """Return the hash of each row."""
    total = np.zeros(part.num_rows, np.uint64)
    for place, column in enumerate(part.columns):
        # Not a sum over columns: values that change places between rows must change it.
        total = (total ^ _hashes(column, place + 1)) * _ODD
        total ^= total >> _HALF
    return total


def _hashes(column: pa.ChunkedArray, seed: int) -> NDArray[np.uint64]:
    if not pa.types.is_dictionary(column.type):
        return _series(column).hash(seed).to_numpy()
    whole = column.unify_dictionaries()
    texts = _series(whole.chunk(0).dictionary).hash(seed).to_numpy()
    hashes: NDArray[np.uint64] = texts[np.concatenate([chunk.indices.to_numpy() for chunk in whole.chunks])]
    return hashes


def _series(column: pa.Array | pa.ChunkedArray) -> pl.Series:
    series = pl.from_arrow(column)
    assert isinstance(series, pl.Series)  # noqa: S101 - for the type checker: a column gives a series
    return series
