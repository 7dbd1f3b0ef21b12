"""What stands of each market at the end of a published hour, carried into the next one.

Owns how long it is carried. Never reads a file: it is read off coverage rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from book.records import DAY_US, HOUR_US
from lake import paths

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
    """Every market whose book is known or missing at the end of an hour, by ticker."""

    markets: Mapping[str, Stand] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> "Standing":
        """Return what stands before the first published hour: nothing."""
        return cls()

    def into(self, hour: int) -> "Standing":
        """Return what is still carried into an hour: gaps end with the first midnight after a day without a record."""
        start_us = paths.hour_start_us(hour)
        kept = {
            ticker: stand
            for ticker, stand in self.markets.items()
            if stand.live or stand.record_hour is None or start_us < _forgotten_us(stand.record_hour)
        }
        return Standing(kept)


def _forgotten_us(record_hour: int) -> int:
    """Return the first midnight at least a day after an hour began."""
    return -(-(paths.hour_start_us(record_hour) + CARRIED_US) // DAY_US) * DAY_US


def standing_of(coverage: pa.Table) -> Standing:
    """Return what stands at the end of an hour, of that hour's current coverage rows. Cost: about 5 us a market."""
    start = coverage["ts_from"].cast(pa.int64())
    end = coverage["ts_to"].cast(pa.int64())
    on_hour = pc.equal(pc.multiply(pc.divide(end, HOUR_US), HOUR_US), end)
    goes_on = pc.or_(
        pc.and_(
            pc.equal(coverage["state"], "known"), pc.fill_null(pc.equal(coverage["end_reason"], "continues"), False)
        ),
        pc.and_(pc.equal(coverage["state"], "gap"), pc.and_(on_hour, pc.less(start, end))),
    )
    recorded = coverage.filter(pc.greater(pc.list_value_length(coverage["bases"]), 0))["ticker"]
    in_hour = set(recorded.to_pylist())
    rows = coverage.filter(goes_on)
    columns = [
        rows[name].cast(pa.int64()).to_pylist() if pa.types.is_timestamp(rows[name].type) else rows[name].to_pylist()
        for name in (
            "ticker", "state", "shard", "conn", "ts_to", "end_reason", "last_record_hour", "last_change", "last_audit",
            "digest",
        )
    ]  # fmt: skip
    found: dict[str, Stand] = {}
    for ticker, state, shard, conn, to_us, reason, record_us, change_us, audit_us, digest in zip(*columns, strict=True):
        record_hour = None if record_us is None else paths.hour_of(record_us)
        found[ticker] = Stand(
            live=state == "known",
            shard=shard,
            conn=conn,
            reason=None if state == "known" else reason,
            record_hour=paths.hour_of(to_us) - 1 if ticker in in_hour else record_hour,
            last_change_us=change_us,
            last_audit_us=audit_us,
            digest=digest,
        )
    return Standing(found)
