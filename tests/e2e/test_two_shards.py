"""Two collectors of one exchange, killed in turn: the published hours have no gap, and every change that was sent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from book.records import HOUR_US, Kind
from lake.publishing import parquet
from lake.publishing.shelf import Shelf
from tests.e2e.oracle import Oracle
from tests.e2e.publication import published_hours
from tests.e2e.stack import running, until

FIRST = 496_198  # 2026-08-09T22:00:00Z
RATE = 90
MINUTE_US = 60_000_000
Change = tuple[int, ...]


@pytest.mark.fault
def test_two_collectors_leave_no_gap_where_each_is_killed_in_turn(tmp_path: Path, figures: list[str]) -> None:
    """Shard 0 is dead for a minute and more of the first hour, shard 1 of the second, which is then shard 0's."""
    with running(tmp_path, shown="2026-08-09T22:20:00Z", rate=RATE, lead_s=12.0, KALSHIBOOK_RAW_DAYS="0") as stack:
        stack.start_exchange("--markets", "12", "--rate", "20")
        for shard in (0, 1):
            stack.start_collector(shard)
        stack.start_publisher()
        oracle = Oracle(stack)
        _kill_and_start(oracle, 0, "collect", FIRST * HOUR_US + 35 * MINUTE_US)
        _kill_and_start(oracle, 1, "collect-1", (FIRST + 1) * HOUR_US + 20 * MINUTE_US)
        _until(oracle, lambda: {FIRST, FIRST + 1} <= {*published_hours(stack)})
        shelf = Shelf(stack.lake)
        shelf.refresh()
        told = {hour: shelf.standing_rows(hour).to_pylist() for hour in (FIRST, FIRST + 1)}
        # Markets that were over by then, or opened after it, are known alike to both.
        assert 1 in _shards(told[FIRST])
        assert 0 in _shards(told[FIRST + 1])
        assert [row for rows in told.values() for row in _unknown(rows)] == []
        compared = 0
        for hour, rows in told.items():
            changes = _published(shelf, hour)
            for ticker in sorted(changes):
                sent = _sent(oracle, ticker, changes[ticker])
                assert changes[ticker] == sent, (hour, ticker)
                compared += len(sent)
            assert {row["ticker"] for row in rows if row["state"] == "known"} >= {*changes}
        switches = [row for row in told[FIRST + 1] if row["state"] == "switch"]
        assert {row["shard"] for row in switches} == {0}
        assert len(switches) >= 3
        assert compared > 500
        assert stack.command("verify", "--all") == 0
        figures.append(f"two collectors: {compared} changes as sent, {len(switches)} switches, no gap")


def _kill_and_start(oracle: Oracle, shard: int, role: str, at_us: int) -> None:
    """Kill a collector at a time shown, and start it again when it has been away for a minute of that time."""
    stack = oracle.stack
    _until(oracle, lambda: stack.shown_now_us() >= at_us)
    stack.kill(role)
    _until(oracle, lambda: stack.shown_now_us() >= at_us + MINUTE_US)
    stack.start_collector(shard)


def _until(oracle: Oracle, found: Callable[[], bool]) -> None:
    """Wait, and take what the exchange has sent meanwhile: it does not keep all of it for ever."""

    def looked() -> bool:
        oracle.refresh()
        return found()

    until(looked, 240, 0.5)


def _shards(rows: list[dict[str, Any]]) -> set[int]:
    return {row["shard"] for row in rows if row["channel"] == "orderbook" and row["state"] == "known"}


def _unknown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the gaps of an hour, and the silences of the conns that its books rest on."""
    rows = [row for row in rows if row["channel"] == "orderbook" and row["ts_from"] < row["ts_to"]]
    conns = {row["conn"] for row in rows if row["state"] == "known"}
    return [row for row in rows if row["state"] == "gap" or (row["state"] == "silence" and row["conn"] in conns)]


def _published(shelf: Shelf, hour: int) -> dict[str, list[Change]]:
    """Return the changes of an hour's files by market: conn, seq, side, price, change."""
    rows = shelf.standing_rows(hour)
    files = rows.filter(pc.and_(pc.equal(rows["state"], "table"), pc.equal(rows["channel"], "orderbook")))["file"]
    found: dict[str, list[Change]] = {}
    for file in files.to_pylist():
        book = parquet.read_file(shelf.path("orderbook", file), "orderbook")
        assert not pc.any(pc.equal(book["kind"], int(Kind.ORPHAN))).as_py()
        book = book.filter(pc.equal(book["kind"], int(Kind.DELTA)))
        names = ("ticker", "conn", "seq", "side", "price_e4", "qty_e2")
        for ticker, *change in zip(*(book[name].to_pylist() for name in names), strict=True):
            found.setdefault(ticker, []).append((*change,))
    return {ticker: sorted(changes) for ticker, changes in found.items()}


def _sent(oracle: Oracle, ticker: str, published: list[Change]) -> list[Change]:
    """Return what the exchange sent of a market on the same conns, from the first change to the last."""
    first = {conn: seq for conn, seq, *_ in reversed(published)}
    last = {conn: seq for conn, seq, *_ in published}
    sent = [row[:5] for row in oracle.sent_changes(ticker)]
    return [row for row in sent if first.get(row[0], 1 << 62) <= row[1] <= last.get(row[0], 0)]
