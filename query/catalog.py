"""Metadata as of now: the newest version of each market, event and series.

Owns the choice among versions, and where each stands. Extends itself as the log grows; the venue's whole records stay
on disk and are read when they are asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from query.published import Published
from query.shard import ShardLog
from query.ticker_table import TickerTable

_FILES_AT_ONCE = 256
_OVER = frozenset({"closed", "determined", "settled", "finalized", "disputed", "amended"})
_FEW = ("series_ticker", "status", "category", "result", "price_level_structure", "price_ranges", "source")
_TIMES = {
    "valid_from": "valid_from_us",
    "open_time": "open_us",
    "close_time": "close_us",
    "determined_time": "determined_us",
    "settled_time": "settled_us",
}
_COLUMNS: dict[str, Any] = {
    "ticker": pl.String,
    "event_ticker": pl.String,
    "title": pl.String,
    **dict.fromkeys(_FEW, pl.Categorical),
    **dict.fromkeys(_TIMES.values(), pl.Int64),
    "settlement_value_e4": pl.Int32,
    "discovered_us": pl.Int64,
    "resulted_us": pl.Int64,
    "digest": pl.UInt64,
    "place": pl.Int32,
    "row": pl.Int32,
}
"""What is held of a market: ``digest`` is of its record, which is row ``row`` of the source ``place``."""
_EVENTS: dict[str, Any] = {
    "ticker": pl.String,
    "title": pl.String,
    "sub_title": pl.String,
    "series_ticker": pl.Categorical,
    "category": pl.Categorical,
    "mutually_exclusive": pl.Boolean,
    "valid_from_us": pl.Int64,
}
_SERIES: dict[str, Any] = {
    "ticker": pl.String, "title": pl.String, "category": pl.Categorical, "valid_from_us": pl.Int64,
}  # fmt: skip
_KEYS = {"events": "event_ticker", "series": "series_ticker"}


@dataclass(frozen=True, slots=True)
class MarketVersion:
    """A version of a market's metadata; times in microseconds since the epoch."""

    ticker: str
    valid_from_us: int
    discovered_us: int
    """When its first version was learned."""
    resulted_us: int | None
    """When a version with a result was first learned."""
    event_ticker: str
    series_ticker: str | None
    title: str
    status: str
    category: str | None
    open_us: int | None
    close_us: int | None
    result: str | None
    settlement_value_e4: int | None
    determined_us: int | None
    settled_us: int | None
    price_level_structure: str | None
    price_ranges: str | None
    source: str
    """What told us: rest, or lifecycle."""

    def is_over(self, ts_us: int) -> bool:
        """Say whether the venue had ended the market by an instant, as far as this version tells."""
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


@dataclass(frozen=True, slots=True)
class SeriesVersion:
    """A series' newest metadata."""

    series_ticker: str
    valid_from_us: int
    title: str | None
    category: str | None


class _Source:
    """Rows of markets in log order: a published file, or what a folder holds."""

    def __init__(self, published: Published | None, file: str, shard: ShardLog | None, hour: int) -> None:
        self._published = published
        self._file = file
        self._shard = shard
        self._hour = hour

    def record(self, row: int) -> str | None:
        """Return the venue's record of a row, None where the folder is not there any more. Raises CorruptError."""
        if self._published is not None:
            record: str = self._published.read("markets", self._file, ["record"])["record"][row].as_py()
            return record
        folder = self._shard.folders.hours.get(self._hour) if self._shard and self._shard.folders else None
        if folder is None:
            return None
        batches = folder.batches("markets")
        batch = int(batches.of_rows(np.array([row]))[0])
        records = folder.decode("markets", [batch], ["record"])["record"]
        found: str = records[row - int(batches.first_row[batch])].as_py()
        return found


class Catalog:
    """The newest versions over all shards and published hours."""

    def __init__(self, published: Published | None) -> None:
        """Read what ``published`` follows, and the folders that ``refresh`` is given."""
        self._markets = TickerTable(_COLUMNS, _newest_markets)
        self._few = {"events": TickerTable(_EVENTS, _newest), "series": TickerTable(_SERIES, _newest)}
        self._sources: list[_Source] = []
        self._published = published
        self._batches: dict[tuple[int, int, str], int] = {}
        self._places: dict[tuple[int, int], int] = {}
        self._files: set[str] = set()
        self._changes = -1
        self._publications = 0

    def market(self, ticker: str) -> MarketVersion | None:
        """Return a market's newest version, None where it was never listed. Cost: 50 us."""
        rows = self._markets.rows(ticker)
        return _version(_folded(rows)) if rows else None

    def event(self, event_ticker: str) -> EventVersion | None:
        """Return an event's newest version, None where it was never listed."""
        rows = self._few["events"].rows(event_ticker)
        if not rows:
            return None
        row = max(reversed(rows), key=lambda one: one["valid_from_us"])
        return EventVersion(event_ticker=row.pop("ticker"), **row)

    def series(self, series_ticker: str) -> SeriesVersion | None:
        """Return a series' newest version, None where it was never listed."""
        rows = self._few["series"].rows(series_ticker)
        if not rows:
            return None
        row = max(reversed(rows), key=lambda one: one["valid_from_us"])
        return SeriesVersion(series_ticker=row.pop("ticker"), **row)

    def has_market(self, ticker: str) -> bool:
        """Say whether a market was ever listed."""
        return ticker in self._markets

    def markets(self) -> pl.DataFrame:
        """Return every market's newest version in columns, in no order."""
        return self._markets.frame()

    def placed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows of ``markets`` with the series and the category that their events and series give them."""
        events = (
            self._few["events"]
            .frame()
            .select(
                pl.col("ticker").alias("event_ticker"),
                pl.col("series_ticker").alias("series_of_event"),
                pl.col("category").alias("category_of_event"),
            )
        )
        series = (
            self._few["series"]
            .frame()
            .select(pl.col("ticker").alias("series_text"), pl.col("category").alias("category_of_series"))
        )
        named = rows.join(events, "event_ticker", how="left").with_columns(
            pl.coalesce(_said("series_ticker"), _said("series_of_event")).alias("series_text")
        )
        named = named.join(series, "series_text", how="left")
        categories = pl.coalesce(_said("category"), _said("category_of_event"), _said("category_of_series"))
        return rows.select("ticker").join(
            named.select("ticker", pl.col("series_text").alias("in_series"), categories.alias("in_category")), "ticker"
        )

    def versions(self, rows: pl.DataFrame) -> list[MarketVersion]:
        """Return rows of ``markets`` as versions."""
        return [_version(row) for row in rows.iter_rows(named=True)]

    def record(self, ticker: str) -> str | None:
        """Return the venue's whole record of a market's newest version; None where it is not at hand any more.

        Raises CorruptError. Cost: reads one file of metadata.
        """
        rows = self._markets.rows(ticker)
        if not rows:
            return None
        newest = _folded(rows)
        source: _Source = self._sources[newest["place"]]
        return source.record(newest["row"])

    @property
    def size_bytes(self) -> int:
        """About how much memory the markets take."""
        return self._markets.size_bytes

    def refresh(self, shards: list[ShardLog]) -> None:
        """Take in the versions logged and published since the last call.

        Cost: the new rows; nothing where there are none. The first call reads every published file of metadata.
        """
        changes = sum(shard.changes for shard in shards)
        if changes == self._changes:
            return
        published = self._published.changes if self._published else 0
        if published != self._publications:
            self._refresh_published()
        for shard in shards:
            for hour in shard.folder_hours():
                self._refresh_folder(shard, hour)
        self._changes, self._publications = changes, published

    def _refresh_published(self) -> None:
        """Take in published files that were not read yet, several at a time."""
        for table in ("markets", "events", "series"):
            new = [file for file in self._listed(table) if file not in self._files]
            for first in range(0, len(new), _FILES_AT_ONCE):
                self._take_files(table, new[first : first + _FILES_AT_ONCE])

    def _listed(self, table: str) -> Iterator[str]:
        if self._published is not None:
            for versions in self._published.metadata().values():
                yield from versions[-1].files[table]

    def _take_files(self, table: str, files: list[str]) -> None:
        assert self._published is not None  # noqa: S101 - it has listed the files
        self._files.update(files)
        read = [self._published.read(table, file) for file in files]
        if table == "markets":
            frames = []
            for file, rows in zip(files, read, strict=True):
                self._sources.append(_Source(self._published, file, None, 0))
                frames.append(_in_columns(rows, len(self._sources) - 1, 0))
            self._markets.add(pl.concat(frames))
        else:
            self._add_few(table, pa.concat_tables(read))

    def _refresh_folder(self, shard: ShardLog, hour: int) -> None:
        """Take in the rows of a folder that were not read yet."""
        assert shard.folders is not None  # noqa: S101 - it has hours that are read from folders
        source = shard.folders.hours[hour]
        for table in ("markets", "events", "series"):
            batches = source.batches(table)
            done = self._batches.get((shard.shard, hour, table), 0)
            if batches.count <= done:
                continue
            rows = source.decode(table, np.arange(done, batches.count))
            self._batches[shard.shard, hour, table] = batches.count
            if table == "markets":
                place = self._places.setdefault((shard.shard, hour), len(self._sources))
                if place == len(self._sources):
                    self._sources.append(_Source(None, "", shard, hour))
                self._markets.add(_in_columns(rows, place, int(batches.first_row[done])))
            else:
                self._add_few(table, rows)

    def _add_few(self, table: str, rows: pa.Table) -> None:
        """Take versions of events or series."""
        frame = pl.DataFrame(pl.from_arrow(_integer_instants(rows.drop_columns(["record", "source"]))))
        self._few[table].add(frame.rename({_KEYS[table]: "ticker", "valid_from": "valid_from_us"}))


def market_versions(rows: pa.Table) -> list[MarketVersion]:
    """Return rows of markets as versions; each is discovered when it was learned."""
    return [_version(row) for row in _in_columns(rows, 0, 0).iter_rows(named=True)]


def _newest_markets(rows: pl.DataFrame) -> pl.DataFrame:
    """Return each market's newest row with the first discovery; of equal stamps the larger digest, then the later."""
    ordered = rows.sort("ticker", "valid_from_us", "digest", maintain_order=True)
    kept = pl.all().exclude("ticker", "discovered_us", "resulted_us").last()
    return ordered.group_by("ticker", maintain_order=True).agg(kept, pl.col("discovered_us", "resulted_us").min())


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    """Return each record's newest row, of equal stamps the later."""
    return rows.sort("ticker", "valid_from_us", maintain_order=True).unique("ticker", keep="last", maintain_order=True)


def _said(name: str) -> pl.Expr:
    """Return a column as text, an empty one as null."""
    text = pl.col(name).cast(pl.String)
    return pl.when(text != "").then(text)


def _folded(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the newest of at most two rows of a market, as ``_newest_markets`` chooses it."""
    newest = dict(max(reversed(rows), key=lambda row: (row["valid_from_us"], row["digest"])))
    newest["discovered_us"] = min(row["discovered_us"] for row in rows)
    newest["resulted_us"] = min((row["resulted_us"] for row in rows if row["resulted_us"] is not None), default=None)
    return newest


def _version(row: dict[str, Any]) -> MarketVersion:
    return MarketVersion(**{name: row[name] for name in MarketVersion.__slots__})


def _in_columns(rows: pa.Table, place: int, first_row: int) -> pl.DataFrame:
    """Return rows of markets as they are held; they are ``first_row`` and the following rows of a source."""
    frame = pl.DataFrame(pl.from_arrow(_integer_instants(rows))).rename(_TIMES)
    return frame.with_columns(
        pl.col("valid_from_us").alias("discovered_us"),
        pl.when(pl.col("result") != "").then("valid_from_us").alias("resulted_us"),
        pl.col("record").hash(seed=1).alias("digest"),
        pl.lit(place, pl.Int32).alias("place"),
        pl.int_range(first_row, first_row + pl.len(), dtype=pl.Int32).alias("row"),
    ).select([pl.col(name).cast(kind) for name, kind in _COLUMNS.items()])


def _integer_instants(rows: pa.Table) -> pa.Table:
    """Return the rows with instants as microseconds."""
    kinds = [pa.field(f.name, pa.int64() if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    return rows.cast(pa.schema(kinds))
