"""The choice between shards, made again from what is published.

Owns the proof that each market of an hour is published from the shard that knew it longest, and that no shard's part in
it is passed over. Reads coverage rows alone.
"""

import pyarrow as pa
import pyarrow.compute as pc

from book.errors import CorruptError
from lake.settling.choice import choose, known_times
from lake.settling.standing import Standing


def prove_choice(coverage: pa.Table, standing: Standing) -> int:
    """Prove the choice of every market of an hour, and return how many there are.

    ``coverage`` are the hour's rows, ``standing`` is what stood before. Raises CorruptError naming the first market
    that is published from another shard than follows, or from two, or whose stand in a shard was dropped.
    """
    coverage = coverage.filter(pc.equal(coverage["channel"], "orderbook"))
    own = coverage.filter(pc.is_in(coverage["state"], pa.array(["known", "gap"])))
    stated: dict[str, int] = {}
    for ticker, shard in zip(own["ticker"].to_pylist(), own["shard"].to_pylist(), strict=True):
        if stated.setdefault(ticker, shard) != shard:
            raise CorruptError("coverage", 0, f"{ticker} is published from two shards")
    times = known_times(coverage)
    for ticker, known_us in times.items():
        before = standing.markets.get(ticker)
        wanted = choose(known_us, before.shard if before else None)
        if stated.get(ticker) != wanted:
            raise CorruptError("coverage", 0, f"{ticker} is published from shard {stated.get(ticker)}, not {wanted}")
    _prove_carried(standing, times)
    return len(times)


def _prove_carried(standing: Standing, times: dict[str, dict[int, int]]) -> None:
    """Prove that of every market that a shard followed or missed before the hour something is told of that shard."""
    for shard in standing.shards():
        for ticker in standing.of(shard).markets:
            if shard not in times.get(ticker, {}):
                raise CorruptError("coverage", 0, f"{ticker} was followed or missed by shard {shard} before")
