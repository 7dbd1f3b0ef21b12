"""A version of an hour against the segments that it was made from, while they exist.

Owns conservation: the logs are read again up to the flushes that the manifest names and settled again, and the rows,
their coverage, the messages and the counts must be the same. Never looks at the lake's files.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa

from book.errors import CorruptError
from lake import paths
from lake.journal.ends import read_end
from lake.journal.flush import NOT_COUNTED, ConnMark
from lake.publishing.accounts import accounts_of
from lake.publishing.manifest import Account
from lake.settling.coverage import derive
from lake.settling.earlier import Reached, books_before
from lake.settling.settle import settle
from lake.settling.sources import Source, read_source
from lake.verifying.chain import Chain, Version
from lake.verifying.findings import Findings
from lake.verifying.hours import Contents, same_coverage


def verify_origins(home: Path, chain: Chain, version: Version, contents: Contents, findings: Findings) -> None:
    """Settle an hour again from its segments and compare; an hour whose segments are gone is counted as such.

    Cost: reads, decodes and sorts the hour's log.
    """
    entry = version.entry
    if entry.reason == "import" or not all(_stands(home, shard, version, contents) for shard in entry.shards):
        findings.proved("versions without segments: imported, or older than those kept")
        return
    with findings.doubting(paths.hour_dir(home, min(entry.shards), entry.hour)):
        sources = [_source(home, chain, shard, version) for shard in sorted(entry.shards)]

        def books(shard: int, hour: int, tickers: Collection[str]) -> dict[str, Reached]:
            upto, rebuilt = entry.shards[shard].flush, chain.rebuilt(shard, version.manifest.n)
            return books_before(home, shard, hour, tickers, upto, rebuilt)

        settled = settle(sources, contents.standing, books)
        published = {table: rows for table, rows in contents.settled.tables.items() if table != "corrections"}
        for table in sorted({*settled.tables, *published}):
            _prove_same(table, settled.tables.get(table), published.get(table))
        same_coverage(derive(settled, contents.parts, contents.standing), contents.coverage)
        if accounts_of(settled) != dict(entry.conns):
            raise CorruptError("accounts", 0, "of messages are not those that follow from the segments")
        if msgspec.json.decode(msgspec.json.encode(settled.counts)) != entry.counts:
            raise CorruptError("counts", 0, "are not those that follow from the segments")
        findings.proved("rows equal to their segments'", sum(rows.num_rows for rows in published.values()))


def _stands(home: Path, shard: int, version: Version, contents: Contents) -> bool:
    """Say whether a shard's folder of an hour is there, or never was: the shard then has no conn in the hour."""
    rebuilt = version.entry.shards[shard].rebuilt
    if paths.hour_dir(_home(home, rebuilt), shard, version.entry.hour).is_dir():
        return True
    return shard not in contents.settled.shard_of_conn.values()


def _source(home: Path, chain: Chain, shard: int, version: Version) -> Source:
    """Return a shard's log of an hour as it was when it was published.

    Where the folder before is gone, its marks are those that the accounts go on from.
    """
    hour, read = version.entry.hour, version.entry.shards[shard]
    rebuilt = chain.rebuilt(shard, version.manifest.n)
    found = read_source(home, shard, hour, read.flush, rebuilt)
    before = found.before
    if not read.rebuilt and min(paths.hours(home, shard), default=hour) >= hour:
        before = {conn: _mark_before(version.entry.conns[conn]) for conn in found.marks if conn in version.entry.conns}
    return replace(found, end=read_end(_home(home, read.rebuilt), shard, hour) if read.ended else None, before=before)


def _home(home: Path, rebuilt: int) -> Path:
    return paths.rebuilt_home(home, rebuilt) if rebuilt else home


def _mark_before(account: Account) -> ConnMark:
    apart = NOT_COUNTED if account.apart is None else account.apart_total - account.apart
    return ConnMark(0, (account.first_seq or 1) - 1, 1, apart)


def _prove_same(table: str, wanted: pa.Table | None, found: pa.Table | None) -> None:
    """Compare a table's rows. Raises CorruptError naming the first that differs."""
    if wanted is None or found is None:
        raise CorruptError(table, 0, f"has rows in the {'files' if wanted is None else 'segments'} alone")
    if found.num_rows != wanted.num_rows:
        raise CorruptError(table, 0, f"{found.num_rows} rows are published, {wanted.num_rows} follow from the segments")
    if not found.equals(wanted):
        raise CorruptError(table, 0, f"row {first_difference(found, wanted)} differs from the segments'")


def first_difference(found: pa.Table, wanted: pa.Table) -> int:
    """Return the first row that differs in two tables of one length, which do differ, by halving."""
    low, high = 0, found.num_rows
    while high - low > 1:
        middle = (low + high) // 2
        if found.slice(low, middle - low).equals(wanted.slice(low, middle - low)):
            low = middle
        else:
            high = middle
    return low
