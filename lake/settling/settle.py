"""From the logs of an hour to the rows that are published of it.

Owns how one hour is put together: of a market the rows of one shard (lake.settling.choice says which), with what it
needs where that is another one than before (lake.settling.switches); of the other tables what each of them takes of
several shards. Never writes a file and never decides which hour is due.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from book.errors import PublishError
from lake import paths
from lake.journal.flush import ConnMark, Silence
from lake.schemas import PUBLISHED, TABLES
from lake.settling import unions
from lake.settling.choice import choose, feed_known_us, known_times
from lake.settling.columns import book_columns, joined, level_columns
from lake.settling.crashes import derived_closes
from lake.settling.earlier import Books, no_books
from lake.settling.feeds import FEEDS, FeedPart, ShardFill, feed_parts, part_row
from lake.settling.fingerprint import Fingerprint, fingerprint
from lake.settling.ledger import DERIVED, FilePart, Ledger
from lake.settling.logged import HourCounts, LoggedBook
from lake.settling.marks import conn_rows, silence_rows
from lake.settling.order import book_order, sorted_rows
from lake.settling.sources import Source
from lake.settling.standing import OTHER, Standing
from lake.settling.switches import switch_rows, switched

__all__ = ["HourCounts", "SettledHour", "settle"]

METADATA = ("markets", "events", "series")


@dataclass(frozen=True)
class SettledHour:
    """An hour as it is published."""

    hour: int
    tables: dict[str, pa.Table]
    """Published schemas, sorted by SORT_KEYS; only tables with rows."""
    conns: dict[int, ConnMark] = field(default_factory=dict)
    """The newest mark of every conn of the hour."""
    shard_of_conn: dict[int, int] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    counts: HourCounts = field(default_factory=HourCounts)
    marks: dict[int, ConnMark] = field(default_factory=dict)
    """The mark of every conn of the hour when the hour ended: what was received in it, and before."""
    before: dict[int, ConnMark] = field(default_factory=dict)
    """The mark of each of these conns when the hour before ended, where it had begun."""
    prints: Mapping[str, Fingerprint] = field(default_factory=dict)
    """What the published rows of each table must come to, reckoned from the sources."""
    chosen: Mapping[str, int] = field(default_factory=dict)
    """The shard that each market is published from; none where there is one shard alone."""
    others: pa.Table = field(default_factory=DERIVED.empty_table)
    """Coverage rows of what the shards know of markets that are not published from them."""
    tables_from: Mapping[str, int] = field(default_factory=dict)
    """The shard that a table's rows were taken from, where there was a choice."""
    feeds: list[FeedPart] = field(default_factory=list)
    """The stretches of the firehoses, each of the shard that its table is published from."""
    fills: list[ShardFill] = field(default_factory=list)
    """The lapses that were filled in the hour, of every shard."""


def settle(sources: Sequence[Source], standing: Standing, books: Books = no_books) -> SettledHour:
    """Return an hour as it is published, from what its shards have logged of it.

    ``standing`` is what stood at the end of the latest published hour before it; ``books`` gives books of earlier hours
    of a shard's log. Raises PublishError where a shard's log has lost what it knew before. Cost: about 1 us an
    orderbook row and three times their memory; of several shards twice as much.
    """
    hour = sources[0].hour
    if any(source.hour != hour for source in sources):
        raise PublishError(hour, "sources are of different hours")
    given = {source.shard: source for source in sources}
    shards = sorted({*given, *standing.shards()})
    logs = [_ShardHour(given.get(shard) or Source(shard, hour, {}), standing.of(shard)) for shard in shards]
    settled = SettledHour(
        hour=hour,
        tables={},
        conns={conn: mark for source in sources for conn, mark in source.conns.items()},
        shard_of_conn={conn: source.shard for source in sources for conn in source.conns},
        silences=sorted(silence for source in sources for silence in source.silences),
        marks={conn: mark for source in sources for conn, mark in source.marks.items()},
        before={conn: mark for source in sources for conn, mark in source.before.items()},
        fills=[ShardFill(source.shard, fill) for source in sources for fill in source.fills],
    )
    work = _Alone(settled, logs) if len(logs) == 1 else _Several(settled, logs, standing, books)
    return work.settled()


class _ShardHour:
    """One shard's hour by itself: its book as it would be published, and what it knows of its markets."""

    def __init__(self, source: Source, standing: Standing) -> None:
        self.source, self.standing = source, standing
        self.book = LoggedBook(source, derived_closes(source, standing))

    def table(self, name: str) -> pa.Table:
        """Return the logged rows of a table."""
        return self.source.tables.get(name, TABLES[name].empty_table())

    def told(self, book: pa.Table) -> pa.Table:
        """Return the coverage rows of its markets, of its own ``book`` in published order."""
        parts = [FilePart("", 0, book.num_rows)] if book.num_rows else []
        shards = dict.fromkeys(self.source.conns, self.source.shard)
        found = Ledger(self.source.hour, book, self.standing).rows(
            parts, sorted_rows(self.table("audits"), "audits"), shards
        )
        place = DERIVED.get_field_index("shard")
        shard = pa.array(np.full(found.num_rows, self.source.shard, np.int32))
        return found.set_column(place, DERIVED.field(place), shard)


class _Alone:
    """The hour of one shard, from which all is published."""

    def __init__(self, settled: SettledHour, logs: Sequence[_ShardHour]) -> None:
        self._settled = settled
        self._logs = logs
        self._tables: dict[str, pa.Table] = {}
        self._prints: dict[str, Fingerprint] = {}

    def settled(self) -> SettledHour:
        (log,) = self._logs
        nothing = np.zeros(log.book.rows.num_rows, bool)
        counts = log.book.counts(nothing)
        if log.book.rows.num_rows:
            self._prints["orderbook"] = log.book.fingerprint(nothing)
            self._tables["orderbook"] = log.book.published()
        for name in TABLES:
            if name != "orderbook" and name in log.source.tables:
                self._put(name, log.source.tables[name])
        feeds = [part for channel in FEEDS for part in feed_parts(log.source, channel)]
        return replace(self._settled, tables=self._tables, prints=self._prints, counts=counts, feeds=feeds)

    def _put(self, name: str, logged: pa.Table) -> None:
        """Take rows of a segment's schema as what is published of a table."""
        if logged.num_rows:
            self._prints[name] = fingerprint(logged)
            self._tables[name] = sorted_rows(logged, name)


class _Several(_Alone):
    """The hour of several shards."""

    def __init__(self, settled: SettledHour, logs: Sequence[_ShardHour], standing: Standing, books: Books) -> None:
        super().__init__(settled, logs)
        self._standing, self._books = standing, books

    def settled(self) -> SettledHour:
        logs, hour = self._logs, self._settled.hour
        counts: list[HourCounts] = []
        published = [_copied(log.book).published() for log in logs]
        told = pa.concat_tables([log.told(book) for log, book in zip(logs, published, strict=True)])
        marks = [*conn_rows(self._settled, PUBLISHED["orderbook"].empty_table()), *silence_rows(self._settled)]
        times = known_times(pa.concat_tables([told, pa.Table.from_pylist(marks, schema=DERIVED)]))
        chosen = {
            ticker: choose(known, stand.shard if (stand := self._standing.markets.get(ticker)) else None)
            for ticker, known in times.items()
        }
        parts: list[pa.Table] = []
        total = Fingerprint()
        for log, book in zip(logs, published, strict=True):
            shard = log.source.shard
            away = {ticker for ticker, one in chosen.items() if one != shard}
            elsewhere = log.book.elsewhere(away)
            counts.append(log.book.counts(elsewhere))
            total = total.plus(log.book.fingerprint(elsewhere))
            kept = book.filter(pc.invert(pc.is_in(book["ticker"], pa.array(sorted(away), pa.utf8()))))
            here = [ticker for ticker in switched(self._standing, chosen) if chosen[ticker] == shard]
            added = switch_rows(hour, shard, here, kept, self._standing, self._books)
            total = total.plus(fingerprint(added))
            parts += [kept, added]
        if total.rows:
            self._prints["orderbook"] = total
            self._tables["orderbook"] = _in_order(joined(PUBLISHED["orderbook"], parts), paths.hour_start_us(hour))
        moved = _Moved()
        self._audits(chosen, moved)
        tables_from = self._feeds(moved)
        feeds = [part for name in FEEDS for log in self._logs for part in feed_parts(log.source, name)]
        passed_over = [part_row(part) for part in feeds if part.shard != tables_from[part.channel]]
        untold = pa.Table.from_pylist([row | {"state": OTHER + row["state"]} for row in passed_over], schema=DERIVED)
        for name in METADATA:
            rows, left = unions.versions([log.table(name) for log in logs], name)
            moved.rows[name] += left
            self._put(name, rows)
        self._put("quarantine", joined(TABLES["quarantine"], [log.table("quarantine") for log in logs]))
        return replace(
            self._settled,
            tables=self._tables,
            prints=self._prints,
            counts=_summed(counts, moved),
            chosen=chosen,
            others=joined(DERIVED, [_others(told, chosen), untold]),
            tables_from={name: shard for name, shard in tables_from.items() if name in self._tables},
            feeds=[part for part in feeds if part.shard == tables_from[part.channel]],
        )

    def _audits(self, chosen: Mapping[str, int], moved: "_Moved") -> None:
        """Publish the audits of each market from the shard of its book."""
        kept = []
        for log in self._logs:
            audits = log.table("audits")
            tickers = audits["ticker"].cast(pa.utf8())
            away = sorted(ticker for ticker, shard in chosen.items() if shard != log.source.shard)
            gone = pc.is_in(tickers, pa.array(away, pa.utf8()))
            kept.append(audits.filter(pc.invert(gone)))
            left = audits.filter(gone)
            moved.take("audits", left.filter(left["equal"]), left.num_rows)
        self._put("audits", joined(TABLES["audits"], kept))

    def _feeds(self, moved: "_Moved") -> dict[str, int]:
        """Publish each firehose's rows of the shard that knew it longest; return which one that was.

        Trades that were learned later are published from every shard: a lapse may have been published from any.
        """
        found: dict[str, int] = {}
        for name in FEEDS:
            known = {log.source.shard: feed_known_us(log.source, name) for log in self._logs}
            found[name] = choose(known, self._standing.tables.get(name))
            parts = []
            for log in self._logs:
                rows = log.table(name)
                if log.source.shard == found[name]:
                    parts.append(rows)
                    continue
                if name == "trades":
                    parts.append(rows.filter(pc.equal(rows["source"], "rest")))
                    rows = rows.filter(pc.not_equal(rows["source"], "rest"))
                numbered = rows.filter(pc.is_valid(rows["seq"])) if "seq" in rows.column_names else None
                moved.take(name, numbered, rows.num_rows)
            self._put(name, joined(TABLES[name], parts))
        return found


class _Moved:
    """Rows of tables but the order book that are published from another shard, counted."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.messages: Counter[int] = Counter()

    def take(self, table: str, numbered: pa.Table | None, rows: int) -> None:
        """Count rows; ``numbered`` are those with a number of their conn, None where the table has none."""
        self.rows[table] += rows
        if numbered is None:
            return
        each = numbered.select(["conn", "seq"]).group_by(["conn", "seq"]).aggregate([])
        self.messages.update(each["conn"].to_pylist())


def _copied(book: LoggedBook) -> LoggedBook:
    """Return the same book for ``published``, which gives columns up as it uses them."""
    copied = LoggedBook.__new__(LoggedBook)
    copied.__dict__.update(book.__dict__)
    return copied


def _in_order(rows: pa.Table, start_us: int) -> pa.Table:
    order = book_order(book_columns(rows), level_columns(rows), start_us, np.arange(rows.num_rows))
    return rows.take(pa.array(order)).combine_chunks()


def _others(told: pa.Table, chosen: Mapping[str, int]) -> pa.Table:
    """Return the rows of shards that markets are not published from, without places in a file."""
    away = [
        chosen[ticker] != shard
        for ticker, shard in zip(told["ticker"].to_pylist(), told["shard"].to_pylist(), strict=True)
    ]
    found = told.filter(pa.array(away, pa.bool_()))
    size = found.num_rows
    blank = {
        "state": pc.binary_join_element_wise(OTHER, found["state"], ""),
        "file": pa.nulls(size, pa.utf8()),
        "first_row": pa.nulls(size, pa.int64()),
        "rows": pa.array(np.zeros(size, np.int64)),
        "bases": pa.array([[]] * size, DERIVED.field("bases").type),
    }
    return pa.table([blank.get(name, found[name]) for name in DERIVED.names], schema=DERIVED)


def _summed(counts: Sequence[HourCounts], moved: _Moved) -> HourCounts:
    """Return the counts of several shards together."""
    named = ("rows", "kinds", "left_out", "void_groups", "void_snapshots", "elsewhere", "elsewhere_messages")
    sums: dict[str, Counter[object]] = {name: Counter() for name in named}
    for one in counts:
        for name in named:
            sums[name].update(getattr(one, name))
    sums["elsewhere"].update(moved.rows)
    sums["elsewhere_messages"].update(moved.messages)
    return HourCounts(
        **{name: dict(+found) if name != "kinds" else dict(found) for name, found in sums.items()},  # type: ignore[arg-type]  # keys are as they were
        orphaned=sum(one.orphaned for one in counts),
        derived=sum(one.derived for one in counts),
    )
