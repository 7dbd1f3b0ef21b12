"""A market's metadata as of an instant: what was known then, never what was learned later.

Owns the choice among a market's versions over all hours. The newest ones are the catalog's.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from book.errors import ApiError
from query.catalog import MarketVersion, market_versions
from query.log import Log


def market_at(log: Log, ticker: str, at_us: int) -> MarketVersion | None:
    """Return the version of a market that was known at an instant, inclusive; None where none was yet.

    Raises ApiError market_not_found where the market was never listed. Cost: nothing where the newest version was
    known; else a look at the metadata of each hour back to the version that counts, some ms each.
    """
    with log.asked():
        newest = log.catalog.market(ticker)
        if newest is None:
            raise ApiError("market_not_found", f"no market has the ticker {ticker}")
        if at_us >= newest.valid_from_us:
            return newest
        if at_us < newest.discovered_us:
            return None
        rows = _last(log, ticker, at_us, newest.discovered_us)
        return None if rows is None else market_versions(rows)[0]


def record_at_hand(log: Log, ticker: str) -> str | None:
    """Return the venue's whole record of a market's newest version, or of the last before it that still stands."""
    with log.asked():
        newest = log.catalog.market(ticker)
        if newest is None:
            return None
        record = log.catalog.record(ticker)
        if record is None:
            rows = _last(log, ticker, newest.valid_from_us, newest.discovered_us)
            record = None if rows is None else rows["record"][0].as_py()
        return record


def _last(log: Log, ticker: str, at_us: int, since_us: int) -> pa.Table | None:
    """Return the one row of a market that was learned last up to an instant, None where none stands any more."""
    for rows in log.metadata_down(ticker, at_us, since_us):
        stamps = rows["valid_from"].cast(pa.int64())
        wanted = np.flatnonzero(pc.and_(pc.equal(rows["ticker"], ticker), pc.less_equal(stamps, at_us)).to_numpy())
        if len(wanted):
            place = len(wanted) - 1 - int(np.argmax(stamps.to_numpy()[wanted][::-1]))
            return rows.slice(int(wanted[place]), 1)
    return None
