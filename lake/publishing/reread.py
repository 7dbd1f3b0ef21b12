"""Which markets' rows differ between two versions of an hour, row by row.

Owns the comparison by files, for a version that was read anew from raw frames: coverage may say the same of other
prices. What is told of them is lake.publishing.corrections' matter.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lake.publishing import parquet
from lake.publishing.manifest import DataFile
from lake.settling.fingerprint import fingerprints


def changed(lake: Path, old: Mapping[str, Sequence[DataFile]], new: Mapping[str, Sequence[DataFile]]) -> set[str]:
    """Return the markets whose order book rows are not the same in two versions, given by their files.

    Raises CorruptError. Cost: reads both versions' order books.
    """
    before, after = (
        fingerprints(parquet.read_hour(lake, "orderbook", files.get("orderbook", ())), "ticker") for files in (old, new)
    )
    return {ticker for ticker in before.keys() | after.keys() if before.get(ticker) != after.get(ticker)}
