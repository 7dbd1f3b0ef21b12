"""Versions of metadata that several shards have learned, each once.

Owns when two shards' versions are the same one. Never compares prices, sizes and the like, which move all the time.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa

from book.errors import FrameError
from book.wire.lasting import comparable, lasting_fields
from book.wire.rest import parse_document
from lake.schemas import TABLES
from lake.settling.columns import integers, joined


def versions(tables: Sequence[pa.Table], name: str) -> tuple[pa.Table, int]:
    """Return the versions that shards have learned, each once at its earliest, and how many were left out.

    ``tables`` are rows of one table of metadata, a shard each. A shard that comes back to an earlier version has it
    twice, and so it stays. Cost: about 40 us a row where several shards have rows.
    """
    found = [table for table in tables if table.num_rows]
    whole = joined(TABLES[name], found)
    if len(found) < 2:
        return whole, 0
    stamps = integers(whole["valid_from"]).tolist()
    keys = [key for table in found for key in _numbered(table)]
    first: dict[tuple[Any, ...], int] = {}
    for row in sorted(range(len(keys)), key=lambda row: stamps[row]):
        first.setdefault(keys[row], row)
    kept = sorted(first.values())
    return whole.take(pa.array(kept, pa.int64())), whole.num_rows - len(kept)


def _numbered(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield what tells each row of one shard from others: all that lasts, and how often the shard had it before."""
    seen: Counter[tuple[Any, ...]] = Counter()
    for row in table.drop_columns(["valid_from"]).to_pylist():
        record = row.pop("record")
        with suppress(FrameError):  # what cannot be read is compared as it is
            record = comparable(lasting_fields(parse_document(record)))
        key = (*row.values(), record)
        seen[key] += 1
        yield (*key, seen[key])
