"""Metadata as of now: the newest version of each market, event and series.

Owns the choice among versions. Extends itself as the log grows; holds the venue's record of the newest version only.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from query.shard import ShardLog

_OVER = frozenset({"closed", "determined", "settled", "finalized", "disputed", "amended"})


@dataclass(frozen=True, slots=True)
class MarketVersion:
    """A market's newest metadata; times in microseconds since the epoch, ``record`` the venue's JSON."""

    ticker: str
    valid_from_us: int
    discovered_us: int
    """When its first version was learned."""
    event_ticker: str
    series_ticker: str | None
    title: str
    status: str
    category: str | None
    open_us: int | None
    close_us: int | None
    result: str | None
    settlement_value_e4: int | None
    settled_us: int | None
    price_level_structure: str | None
    price_ranges: str | None
    record: str

    def is_over(self, ts_us: int) -> bool:
        """Say whether the venue had ended the market by an instant, as far as is known now."""
        return self.close_us is not None and self.close_us <= ts_us and (self.status in _OVER or bool(self.result))


@dataclass(frozen=True, slots=True)
class EventVersion:
    """An event's newest metadata."""

    event_ticker: str
    valid_from_us: int
    series_ticker: str | None
    title: str
    sub_title: str | None
    category: str | None
    mutually_exclusive: bool | None
    record: str


@dataclass(frozen=True, slots=True)
class SeriesVersion:
    """A series' newest metadata."""

    series_ticker: str
    valid_from_us: int
    title: str | None
    category: str | None
    record: str


class Catalog:
    """The newest versions over all shards of a log."""

    def __init__(self) -> None:
        self.markets: dict[str, MarketVersion] = {}
        self.events: dict[str, EventVersion] = {}
        self.series: dict[str, SeriesVersion] = {}
        self._read: dict[tuple[int, int, str], int] = {}
        self._flushes = -1

    def refresh(self, shards: list[ShardLog]) -> None:
        """Take in the versions logged since the last call. Cost: the new rows; nothing where there are none."""
        flushes = sum(shard.flushes for shard in shards)
        if flushes == self._flushes:
            return
        for shard in shards:
            for number in shard.hour_numbers():
                for row in self._new_rows(shard, number, "markets"):
                    self._add_market(row)
                for row in self._new_rows(shard, number, "events"):
                    event = EventVersion(valid_from_us=row.pop("valid_from"), **row)
                    if _is_newer(event.valid_from_us, self.events.get(event.event_ticker)):
                        self.events[event.event_ticker] = event
                for row in self._new_rows(shard, number, "series"):
                    series = SeriesVersion(valid_from_us=row.pop("valid_from"), **row)
                    if _is_newer(series.valid_from_us, self.series.get(series.series_ticker)):
                        self.series[series.series_ticker] = series
        self._flushes = flushes

    def _new_rows(self, shard: ShardLog, number: int, table: str) -> Iterator[dict[str, Any]]:
        key = (shard.shard, number, table)
        batches = shard.hours[number].batches(table)
        done = self._read.get(key, 0)
        if batches.count > done:
            rows = shard.hours[number].decode(table, np.arange(done, batches.count))
            yield from _integer_instants(rows).to_pylist()
            self._read[key] = batches.count

    def _add_market(self, row: dict[str, Any]) -> None:
        valid_from_us = row.pop("valid_from")
        new = MarketVersion(
            valid_from_us=valid_from_us,
            discovered_us=valid_from_us,
            open_us=row.pop("open_time"),
            close_us=row.pop("close_time"),
            settled_us=row.pop("settled_time"),
            **row,
        )
        known = self.markets.get(new.ticker)
        if known is None:
            self.markets[new.ticker] = new
            return
        newest = new if new.valid_from_us >= known.valid_from_us else known
        discovered_us = min(known.discovered_us, new.discovered_us)
        self.markets[new.ticker] = replace(newest, discovered_us=discovered_us)


def _is_newer(valid_from_us: int, known: EventVersion | SeriesVersion | None) -> bool:
    return known is None or valid_from_us >= known.valid_from_us


def _integer_instants(rows: pa.Table) -> pa.Table:
    """Return the rows with instants as microseconds."""
    kinds = [pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    return rows.cast(pa.schema(kinds))
