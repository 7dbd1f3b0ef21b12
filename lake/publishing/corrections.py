"""What a new version of an hour withdraws or adds, told market by market.

Owns the difference between two versions' coverage, and the word for it. Pure: reads no file.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from book.records import HOUR_US, Kind
from lake.schemas import CORRECTIONS

_COUNTED = ("snapshots", "deltas", "checkpoints", "orphans", "audits")


@dataclass
class _Market:
    """A market's hour in one version: microseconds known, counts, closes as (ts_us, conn, seq, reason)."""

    known_us: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))
    closes: set[tuple[int, int, int, str]] = field(default_factory=set)


def reason_of(old: pa.Table, new: pa.Table) -> str:
    """Return ``correction`` where a market is known for less of the hour than it was said to be, else ``late``.

    ``old`` and ``new`` are the standing coverage rows of the two versions.
    """
    before, after = _markets(old), _markets(new)
    shrunk = any(after.get(ticker, _Market()).known_us < market.known_us for ticker, market in before.items())
    return "correction" if shrunk else "late"


def rows_of(
    old: pa.Table,
    new: pa.Table,
    *,
    hour: int,
    reason: str,
    at_us: int,
    number: int,
    versions: tuple[int, int],
    changed: Collection[str] = (),
) -> pa.Table:
    """Return the CORRECTIONS rows of a new version, in published order: one a market that changed.

    One without a ticker where none did. ``number`` is the manifest's, ``versions`` the old and the new one, ``changed``
    are markets whose rows were read anew to something else.
    """
    before, after = _markets(old), _markets(new)
    told: list[tuple[str | None, str]] = [
        (ticker, detail)
        for ticker in sorted({*before, *after, *changed})
        if (detail := "; ".join(_told(before.get(ticker), after.get(ticker), anew=ticker in changed)))
    ] or [(None, "rows outside the order books, or what is said of connections")]
    return pa.Table.from_pylist(
        [
            {
                "ts": at_us,
                "hour": hour * HOUR_US,
                "ticker": ticker,
                "reason": reason,
                "detail": detail,
                "old_version": versions[0],
                "new_version": versions[1],
                "manifest": number,
            }
            for ticker, detail in told
        ],
        schema=CORRECTIONS,
    )


def _told(before: _Market | None, after: _Market | None, *, anew: bool) -> list[str]:
    return [*(["rows read anew"] if anew else []), *_changes(before or _Market(), after or _Market())]


def _markets(coverage: pa.Table) -> dict[str, _Market]:
    found: dict[str, _Market] = {}
    rows = coverage.filter(pc.is_in(coverage["state"], pa.array(["known", "gap"])))
    rows = rows.filter(pc.equal(rows["channel"], "orderbook"))
    columns = [rows[name].to_pylist() for name in ("ticker", "state", *_COUNTED)]
    columns += [rows[name].cast(pa.int64()).to_pylist() for name in ("ts_from", "ts_to")]
    for ticker, state, *counts, from_us, to_us in zip(*columns, strict=True):
        market = found.setdefault(ticker, _Market())
        market.known_us += to_us - from_us if state == "known" else 0
        for name, count in zip(_COUNTED, counts, strict=True):
            market.counts[name] += count
    for ticker, close in _closes(rows):
        found[ticker].closes.add(close)
    return found


def _closes(rows: pa.Table) -> Iterator[tuple[str, tuple[int, int, int, str]]]:
    bases = rows["bases"].combine_chunks()
    flat = pc.list_flatten(bases)
    tickers = rows["ticker"].take(pc.list_parent_indices(bases))
    wanted = pc.equal(flat.field("kind"), int(Kind.CLOSE))
    columns = [flat.field("ts_recv").cast(pa.int64()), *(flat.field(name) for name in ("conn", "seq", "reason"))]
    lists = (column.filter(wanted).to_pylist() for column in columns)
    yield from zip(tickers.filter(wanted).to_pylist(), zip(*lists, strict=True), strict=True)


def _changes(before: _Market, after: _Market) -> Iterator[str]:
    if before.known_us != after.known_us:
        yield f"known {before.known_us} us -> {after.known_us} us"
    for name in _COUNTED:
        if before.counts[name] != after.counts[name]:
            yield f"{name} {before.counts[name]} -> {after.counts[name]}"
    for word, closes in (("added", after.closes - before.closes), ("gone", before.closes - after.closes)):
        for ts_us, _, seq, reason in sorted(closes):
            at = datetime.fromtimestamp(ts_us // 1_000_000, UTC)
            yield f"close {word}: {reason} at {at:%Y-%m-%dT%H:%M:%S}.{ts_us % 1_000_000:06d}Z, seq {seq}"
