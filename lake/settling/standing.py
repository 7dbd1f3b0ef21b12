"""What stands of each market at the end of a published hour, carried into the next one.

Owns how long it is carried, and what of it is whose: a market is published from one shard, and what the others know of
it is carried beside it. Never reads a file: it is read off coverage rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from book.records import DAY_US, HOUR_US
from lake import paths

OTHER = "other_"
"""What the state of a coverage row begins with that tells of a shard which its market is not published from."""
CARRIED_US = DAY_US
"""A gap is carried until the first midnight after this long since its market's last record."""


@dataclass(frozen=True, slots=True)
class Stand:
    """One market at an hour's end: its book is followed on ``conn`` (``live``), or is missing since a close there.

    ``reason`` is the gap's, None where the market is live. ``record_hour`` is the latest hour with a snapshot,
    checkpoint or close of it, ``last_change_us`` and ``last_audit_us`` the stamps of its last snapshot or delta and of
    its last equal audit, None where there is none. ``digest`` is of the book, None in a gap.
    """

    live: bool
    shard: int
    conn: int
    reason: str | None
    record_hour: int | None
    last_change_us: int | None
    last_audit_us: int | None
    digest: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Every market whose book is known or missing at the end of an hour, by ticker: as it is published.

    ``others`` are the markets of shards that they are not published from, by shard; ``tables`` says which shard the
    hour's rows of a table were taken from, where there was a choice.
    """

    markets: Mapping[str, Stand] = field(default_factory=dict)
    others: Mapping[int, Mapping[str, Stand]] = field(default_factory=dict)
    tables: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> "Standing":
        """Return what stands before the first published hour: nothing."""
        return cls()

    def into(self, hour: int) -> "Standing":
        """Return what is still carried into an hour: gaps end with the first midnight after a day without a record."""
        others = ((shard, _carried(markets, hour)) for shard, markets in self.others.items())
        return Standing(
            _carried(self.markets, hour), {shard: markets for shard, markets in others if markets}, self.tables
        )

    def shards(self) -> set[int]:
        """Return the shards that follow or miss a market."""
        return {stand.shard for stand in self.markets.values()}.union(self.others)

    def of(self, shard: int) -> "Standing":
        """Return what one shard knows, of markets that are published from it and others alike."""
        own = {ticker: stand for ticker, stand in self.markets.items() if stand.shard == shard}
        return Standing(own | dict(self.others.get(shard, {})))


def _carried(markets: Mapping[str, Stand], hour: int) -> dict[str, Stand]:
    start_us = paths.hour_start_us(hour)
    return {
        ticker: stand
        for ticker, stand in markets.items()
        if stand.live or stand.record_hour is None or start_us < _forgotten_us(stand.record_hour)
    }


def _forgotten_us(record_hour: int) -> int:
    """Return the first midnight at least a day after an hour began."""
    return -(-(paths.hour_start_us(record_hour) + CARRIED_US) // DAY_US) * DAY_US


def standing_of(coverage: pa.Table) -> Standing:
    """Return what stands at the end of an hour, of that hour's current coverage rows. Cost: about 5 us a market.

    A market that is over by the shard that it is published from is over: what other shards know of it is not carried.
    """
    book = coverage.filter(pc.equal(coverage["channel"], "orderbook"))
    closed = pc.and_(
        pc.equal(book["state"], "known"), pc.fill_null(pc.equal(book["end_reason"], "market_closed"), False)
    )
    markets = _stands(book, "known", "gap").get(None, {})
    over = set(book.filter(closed)["ticker"].to_pylist()).difference(markets)
    others = {
        shard: left
        for shard, found in _stands(book, OTHER + "known", OTHER + "gap").items()
        if shard is not None and (left := {ticker: stand for ticker, stand in found.items() if ticker not in over})
    }
    chosen = coverage.filter(pc.and_(pc.equal(coverage["state"], "table"), pc.is_valid(coverage["shard"])))
    tables = dict(zip(chosen["channel"].to_pylist(), chosen["shard"].to_pylist(), strict=True))
    return Standing(markets, others, tables)


def _stands(coverage: pa.Table, known: str, gap: str) -> dict[int | None, dict[str, Stand]]:
    """Return the stands that rows of two states tell, by shard; all under None where they are those published."""
    coverage = coverage.filter(
        pc.and_(pc.is_in(coverage["state"], pa.array([known, gap])), pc.equal(coverage["channel"], "orderbook"))
    )
    start = coverage["ts_from"].cast(pa.int64())
    end = coverage["ts_to"].cast(pa.int64())
    on_hour = pc.equal(pc.multiply(pc.divide(end, HOUR_US), HOUR_US), end)
    goes_on = pc.or_(
        pc.and_(pc.equal(coverage["state"], known), pc.fill_null(pc.equal(coverage["end_reason"], "continues"), False)),
        pc.and_(pc.equal(coverage["state"], gap), pc.and_(on_hour, pc.less(start, end))),
    )
    groups = pc.add(pc.add(coverage["snapshots"], coverage["checkpoints"]), coverage["closes"])
    recorded = coverage.filter(pc.greater(groups, 0))
    in_hour = set(zip(recorded["ticker"].to_pylist(), recorded["shard"].to_pylist(), strict=True))
    rows = coverage.filter(goes_on)
    columns = [
        rows[name].cast(pa.int64()).to_pylist() if pa.types.is_timestamp(rows[name].type) else rows[name].to_pylist()
        for name in (
            "ticker", "state", "shard", "conn", "ts_to", "end_reason", "last_record_hour", "last_change", "last_audit",
            "digest",
        )
    ]  # fmt: skip
    found: dict[int | None, dict[str, Stand]] = {}
    for ticker, state, shard, conn, to_us, reason, record_us, change_us, audit_us, digest in zip(*columns, strict=True):
        record_hour = None if record_us is None else paths.hour_of(record_us)
        found.setdefault(shard if known.startswith(OTHER) else None, {})[ticker] = Stand(
            live=state == known,
            shard=shard,
            conn=conn,
            reason=None if state == known else reason,
            record_hour=paths.hour_of(to_us) - 1 if (ticker, shard) in in_hour else record_hour,
            last_change_us=change_us,
            last_audit_us=audit_us,
            digest=digest,
        )
    return found
