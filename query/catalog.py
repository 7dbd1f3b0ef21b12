"""Metadata as of now: the newest version of each market, event and series.

Owns the choice among versions. Extends itself as the log grows; holds the venue's record of the newest version only.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from query.published import Published
from query.shard import ShardLog

_FILES_AT_ONCE = 256
_KEYS = {"markets": "ticker", "events": "event_ticker", "series": "series_ticker"}

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
    """The newest versions over all shards and published hours."""

    def __init__(self, published: Published | None) -> None:
        """Read what ``published`` follows, and the folders that ``refresh`` is given."""
        self.markets: dict[str, MarketVersion] = {}
        self.events: dict[str, EventVersion] = {}
        self.series: dict[str, SeriesVersion] = {}
        self._published = published
        self._batches: dict[tuple[int, int, str], int] = {}
        self._files: set[str] = set()
        self._changes = -1
        self._publications = 0

    def refresh(self, shards: list[ShardLog]) -> None:
        """Take in the versions logged and published since the last call.

        Cost: the new rows; nothing where there are none. The first call reads every published file of metadata.
        """
        changes = sum(shard.changes for shard in shards)
        if changes == self._changes:
            return
        published = self._published.changes if self._published else 0
        for table, add in (("markets", self._add_market), ("events", self._add_event), ("series", self._add_series)):
            for rows in self._published_rows(table) if published != self._publications else ():
                for row in _newest(rows, _KEYS[table]):
                    add(row)
            for shard in shards:
                for hour in shard.folder_hours():
                    for row in self._new_rows(shard, hour, table):
                        add(row)
        self._changes, self._publications = changes, published

    def _published_rows(self, table: str) -> Iterator[pa.Table]:
        """Yield the rows of published files that were not read yet, several files at a time."""
        if self._published is None:
            return
        new = [
            file
            for versions in self._published.metadata().values()
            for file in versions[-1].files[table]
            if file not in self._files
        ]
        for first in range(0, len(new), _FILES_AT_ONCE):
            files = new[first : first + _FILES_AT_ONCE]
            yield pa.concat_tables([self._published.read(table, file) for file in files])
            self._files.update(files)

    def _new_rows(self, shard: ShardLog, hour: int, table: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a folder that were not read yet."""
        assert shard.folders is not None  # noqa: S101 - it has hours that are read from folders
        key = (shard.shard, hour, table)
        source = shard.folders.hours[hour]
        batches = source.batches(table)
        done = self._batches.get(key, 0)
        if batches.count > done:
            rows = source.decode(table, np.arange(done, batches.count))
            yield from _integer_instants(rows).to_pylist()
            self._batches[key] = batches.count

    def _add_event(self, row: dict[str, Any]) -> None:
        event = EventVersion(valid_from_us=row.pop("valid_from"), **row)
        if _is_newer(event, self.events.get(event.event_ticker)):
            self.events[event.event_ticker] = event

    def _add_series(self, row: dict[str, Any]) -> None:
        series = SeriesVersion(valid_from_us=row.pop("valid_from"), **row)
        if _is_newer(series, self.series.get(series.series_ticker)):
            self.series[series.series_ticker] = series

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
        newest = new if _is_newer(new, known) else known
        discovered_us = min(known.discovered_us, new.discovered_us)
        self.markets[new.ticker] = replace(newest, discovered_us=discovered_us)


Known = MarketVersion | EventVersion | SeriesVersion


def _is_newer(new: Known, known: Known | None) -> bool:
    """Say which of two versions counts, whatever the order in which they were read."""
    return known is None or (new.valid_from_us, new.record) >= (known.valid_from_us, known.record)


def _newest(rows: pa.Table, key: str) -> Iterator[dict[str, Any]]:
    """Yield the newest version of each key, and the oldest: when it was discovered. Other versions stay unread."""
    frame = pl.DataFrame(pl.from_arrow(rows.select([key, "valid_from"]))).with_row_index("at")
    ordered = frame.sort(key, "valid_from", maintain_order=True)
    ends = pl.concat([ordered.group_by(key).first(), ordered.group_by(key).last()])["at"].unique().sort()
    yield from _integer_instants(rows.take(pa.array(ends.to_numpy()))).to_pylist()


def _integer_instants(rows: pa.Table) -> pa.Table:
    """Return the rows with instants as microseconds."""
    kinds = [pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    return rows.cast(pa.schema(kinds))
