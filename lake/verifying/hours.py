"""One version of a published hour: its files, and what was said of them.

Owns the proof of a version by itself: files by sha256, rows by order and by replay, coverage derived again, messages
added up, corrections told again. What it came from is another's (lake.verifying.origins).
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from book.errors import CorruptError
from lake import paths
from lake.journal.flush import ConnMark, Silence
from lake.publishing import corrections, reread
from lake.schemas import PUBLISHED
from lake.settling.columns import integers
from lake.settling.coverage import DERIVED, FilePart, derive
from lake.settling.feeds import prove_parts, told_parts
from lake.settling.proof import prove_order, prove_replay
from lake.settling.settle import SettledHour
from lake.settling.standing import OTHER, Standing, standing_of
from lake.settling.switches import effective
from lake.verifying import rows as rowwise
from lake.verifying.chain import Chain, Version, check_file
from lake.verifying.choices import prove_choice
from lake.verifying.findings import FAILURES, Findings
from lake.verifying.messages import prove_accounts


@dataclass(frozen=True)
class Contents:
    """What was read of a version: its rows as SettledHour has them, the parts of the order book, what stood before."""

    settled: SettledHour
    parts: list[FilePart]
    standing: Standing
    coverage: pa.Table
    """Its rows without those of whole tables, as derived."""


def verify_version(chain: Chain, version: Version, findings: Findings) -> Contents | None:
    """Prove a version of an hour; return what it holds, None where a file of it is missing or altered.

    Cost: reads and decodes its files, folds every book.
    """
    entry = version.entry
    folder = (paths.table_dir(chain.lake, "orderbook") / paths.data_file(entry.hour, "_")).parent
    found = _read(chain, version, findings)
    if found is None:
        return None
    tables, standing = found.settled.tables, found.standing
    with findings.doubting(folder):
        _prove_named(chain.rows(version), version)
    with findings.doubting(folder):
        _prove_book(tables.get("orderbook"), effective(standing, found.settled.chosen), findings)
    if found.settled.chosen:
        with findings.doubting(folder):
            findings.proved("choices between shards", prove_choice(found.coverage, standing))
    with findings.doubting(folder):
        same_coverage(derive(found.settled, found.parts, standing), found.coverage)
        prove_parts(entry.hour, found.settled.feeds)
        findings.proved("coverage rows derived again", found.coverage.num_rows)
    with findings.doubting(folder):
        just_before = chain.version(entry.hour - 1, version.manifest.n)
        messages = prove_accounts(entry, just_before.entry if just_before else None, tables)
        findings.proved("messages accounted for", messages)
    if entry.version > 1:
        with findings.doubting(folder):
            _prove_corrections(chain, version, tables.get("corrections"))
            findings.proved("corrections told again")
    return found


def _read(chain: Chain, version: Version, findings: Findings) -> Contents | None:
    """Return what a version holds, None where a file of it is missing or altered."""
    entry = version.entry
    tables = {table: _table(chain.lake, version, table, findings) for table in entry.files}
    try:
        coverage = chain.rows(version)
        standing = _standing(chain, version)
    except FAILURES as error:
        findings.doubt(paths.manifest_dir(chain.lake), f"coverage rows cannot be read: {error}")
        return None
    read = {table: rows for table, rows in tables.items() if rows is not None}
    if len(read) < len(tables):
        return None
    return _contents(version, {table: rows for table, rows in read.items() if rows.num_rows}, coverage, standing)


def same_coverage(derived: pa.Table, stated: pa.Table) -> None:
    """Compare coverage rows with those stated. Raises CorruptError naming the first that differs."""
    if derived.equals(stated):
        return
    for one, other in zip(derived.to_pylist(), stated.to_pylist(), strict=False):
        if one != other:
            fields = [name for name in one if one[name] != other[name]]
            raise CorruptError("coverage", 0, f"{other['ticker']} {other['state']}: {', '.join(fields)} differ")
    raise CorruptError("coverage", 0, f"{stated.num_rows} rows are stated, {derived.num_rows} follow from the files")


def _standing(chain: Chain, version: Version) -> Standing:
    """Return what stood before a version: of the hour that it says it is carried on from.

    That is the latest earlier one of its kind. Nothing is carried over an hour that was logged and not published.
    Raises CorruptError where it says otherwise.
    """
    entry = version.entry
    earlier = chain.before(entry.hour, version.manifest.n, imported=entry.reason == "import")
    just_before = earlier is not None and earlier.entry.hour == entry.hour - 1
    if entry.after is None and not just_before:
        return Standing.empty()
    if earlier is None or entry.after != earlier.entry.hour:
        raise CorruptError("manifest", 0, f"hour {entry.hour} does not go on from the hour before it")
    return standing_of(chain.rows(earlier)).into(entry.hour)


def _table(lake: Path, version: Version, table: str, findings: Findings) -> pa.Table | None:
    """Return a table's rows out of its files, None where one of them is not as stated."""
    parts: list[pa.Table] = []
    root = paths.table_dir(lake, table)
    for file in version.entry.files[table]:
        with findings.doubting(root / file.file):
            data = check_file(root / file.file, file)
            with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as opened:
                rows = opened.read()
            if rows.num_rows != file.rows or not rows.schema.equals(PUBLISHED[table]):
                raise CorruptError(str(root / file.file), 0, "its rows or columns are not those stated")
            parts.append(rows)
            findings.proved("bytes of data files by sha256", len(data))
    if len(parts) < len(version.entry.files[table]):
        return None
    rows = pa.concat_tables(parts) if parts else PUBLISHED[table].empty_table()
    with findings.doubting((root / paths.data_file(version.entry.hour, "_")).parent):
        rowwise.prove_rows(table, version.entry.hour, rows)
        findings.proved("rows in order and in their hour", rows.num_rows)
    return rows


def _prove_book(orderbook: pa.Table | None, standing: Standing, findings: Findings) -> None:
    if orderbook is not None:
        rowwise.prove_kinds(orderbook)
        prove_order(orderbook)
        prove_replay(orderbook, standing)
        findings.proved("rows replayed from base to base", orderbook.num_rows)


def _prove_named(coverage: pa.Table, version: Version) -> None:
    """Prove that the rows for whole tables name exactly the manifest's files."""
    tables = coverage.filter(pc.equal(coverage["state"], "table"))
    named = sorted(zip(*(tables[name].to_pylist() for name in ("channel", "file", "rows")), strict=True))
    wanted = sorted((table, file.file, file.rows) for table, files in version.entry.files.items() for file in files)
    if named != wanted:
        raise CorruptError("coverage", 0, "does not name the manifest's files")
    hour = (paths.hour_start_us(version.entry.hour), paths.hour_start_us(version.entry.hour + 1))
    ranges = {*zip(*(integers(tables[name]).tolist() for name in ("ts_from", "ts_to")), strict=True)}
    if ranges - {hour} or set(tables["first_row"].to_pylist()) - {0}:
        raise CorruptError("coverage", 0, "a row for a whole table does not cover the hour")


def _prove_corrections(chain: Chain, version: Version, stated: pa.Table | None) -> None:
    """Tell again what a version corrected: after all that was corrected of the hour before it."""
    entry = version.entry
    parts = []
    for old, new in zip(chain.hours[entry.hour], chain.hours[entry.hour][1 : entry.version], strict=False):
        parts.append(
            corrections.rows_of(
                chain.rows(old),
                chain.rows(new),
                hour=entry.hour,
                reason=new.entry.reason,
                at_us=new.manifest.at_us,
                number=new.manifest.n,
                versions=(old.entry.version, new.entry.version),
                changed=_changed(chain.lake, old, new),
            )
        )
    if stated is None or not pa.concat_tables(parts).equals(stated):
        raise CorruptError("corrections", 0, "are not what differs between the versions")


def _changed(lake: Path, old: Version, new: Version) -> Collection[str]:
    """Return the markets whose rows a version read anew from raw frames."""
    return reread.changed(lake, old.entry.files, new.entry.files) if new.entry.reason == "rebuilt" else ()


def _contents(version: Version, tables: dict[str, pa.Table], coverage: pa.Table, standing: Standing) -> Contents:
    """Put a version back into the form that coverage is derived of; marks and silences as its own rows state them."""
    hour = version.entry.hour
    rows = coverage.filter(pc.not_equal(coverage["state"], "table")).select(DERIVED.names)
    conns: dict[int, ConnMark] = {}
    shards: dict[int, int] = {}
    silences: list[Silence] = []
    marked = rows.filter(pc.equal(rows["ticker"], "*"))
    columns = [marked[name].to_pylist() for name in ("state", "conn", "shard", "end_reason", "last_seq")]
    stamps = [integers(marked[name]).tolist() for name in ("ts_from", "ts_to")]
    for state, conn, shard, reason, last_seq, from_us, to_us in zip(*columns, *stamps, strict=True):
        shards[conn] = shard
        if state not in ("silence", "conn"):
            continue
        if state == "silence":
            silences.append(Silence(conn, from_us, to_us))
        elif reason == "continues":
            conns[conn] = ConnMark(paths.hour_start_us(hour + 1), 0, 1)
        else:
            conns[conn] = ConnMark(to_us - 1, last_seq, 0)
    parts: list[FilePart] = []
    first = 0
    for file in version.entry.files.get("orderbook", []):
        parts.append(FilePart(file.file, first, file.rows))
        first += file.rows
    feeds, fills = told_parts(rows)
    several = len({*version.entry.shards, *standing.shards()}) > 1
    settled = SettledHour(
        hour=hour,
        tables=tables,
        conns=conns,
        shard_of_conn=shards,
        silences=silences,
        chosen=_chosen(rows) if several else {},
        others=rows.filter(pc.starts_with(rows["state"], OTHER)),
        feeds=feeds,
        fills=fills,
    )
    return Contents(settled, parts, standing, rows)


def _chosen(rows: pa.Table) -> dict[str, int]:
    """Return the shard that each market is said to be published from."""
    told = pc.is_in(rows["state"], pa.array(["known", "gap"]))
    own = rows.filter(pc.and_(told, pc.equal(rows["channel"], "orderbook")))
    return dict(zip(own["ticker"].to_pylist(), own["shard"].to_pylist(), strict=True))
