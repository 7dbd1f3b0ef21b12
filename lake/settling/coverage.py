"""The coverage rows of an hour.

Owns what they consist of: markets' fragments (lake.settling.ledger), how far each conn was heard and when none was
(lake.settling.marks), what the shards know that a market is not published from, and where one gives way to another.
Derived from published rows and marks alone, so that anybody can derive them again. Never reads or writes a file.
"""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from lake.schemas import PUBLISHED, SORT_KEYS
from lake.settling.columns import joined
from lake.settling.feeds import fill_row, part_row
from lake.settling.ledger import BOOK, DERIVED, FilePart, Ledger
from lake.settling.marks import EVERY, NOTHING, conn_rows, silence_rows
from lake.settling.settle import SettledHour
from lake.settling.standing import Standing
from lake.settling.switches import effective, switch_marks

__all__ = ["DERIVED", "EVERY", "FilePart", "derive"]


def derive(settled: SettledHour, parts: Sequence[FilePart], standing: Standing) -> pa.Table:
    """Return the hour's coverage rows but those of whole tables, in order of SORT_KEYS["coverage"].

    Of ``settled`` the tables orderbook and audits, conns, shards, silences, firehoses, chosen and others are read;
    ``parts`` say in which files the orderbook's rows stand, ascending; ``standing`` is what stood at the end of the
    latest published hour before.
    Schema DERIVED. Raises PublishError where the parts do not hold the rows. Cost: about 0.5 us a row and 50 us a
    fragment.
    """
    tables = {name: settled.tables.get(name, PUBLISHED[name].empty_table()) for name in (BOOK, "audits")}
    before = standing.into(settled.hour)
    ledger = Ledger(settled.hour, tables[BOOK], effective(before, settled.chosen))
    markets = ledger.rows(parts, tables["audits"], settled.shard_of_conn)
    switches = [NOTHING | mark for mark in switch_marks(before, settled.chosen, settled.hour)]
    feeds = [*map(part_row, settled.feeds), *(fill_row(*one) for one in settled.fills)]
    others = [*conn_rows(settled, tables[BOOK]), *silence_rows(settled), *switches, *feeds]
    found = joined(DERIVED, [markets, settled.others, pa.Table.from_pylist(others, DERIVED)])
    keys = [key for key in SORT_KEYS["coverage"] if key in DERIVED.names]
    frame = pl.DataFrame(pl.from_arrow(found.select(keys))).with_row_index("at_")
    return found.take(pa.array(frame.sort(keys, nulls_last=False, maintain_order=True)["at_"].to_numpy()))
