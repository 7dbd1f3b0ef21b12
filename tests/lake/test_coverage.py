"""The coverage rows of hours: against a slow reading of simulated logs, which asks what is known at each instant."""

from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from book.records import HOUR_US, Kind
from lake.settling.coverage import FilePart
from tests.lake.chains import ALL, Link, chain, parts_of, run, slow_hours
from tests.lake.slow import BASES, CHECKPOINT, CLOSE, ORPHAN, SNAPSHOT, Hours, Life, Row, plain, plain_rows

WITHDRAWING = ("silent", "negative", "unsolicited", "stall_5", "step")
RUNS = {
    "all": (ALL, 21, 70.0),
    "all again": (ALL, 23, 70.0),
    "withdrawing": (WITHDRAWING, 6, 40.0),
    "moves": (("crash", "move", "gap", "late_ack"), 9, 40.0),
    "long silences": (("stall_20", "move"), 2, 60.0),
    "calm": ((), 2, 8.0),
}
Told = dict[str, Any]


@pytest.mark.parametrize("name", RUNS)
def test_every_hour_is_told_as_a_slow_reading_tells_it(tmp_path: Path, name: str) -> None:
    kinds, seed, seconds = RUNS[name]
    run(tmp_path, kinds, seed, seconds)
    slow = slow_hours(tmp_path)
    states: set[str] = set()
    for link in chain(tmp_path, slow.hours):
        states |= _check_hour(link, slow)
    assert {"known", "conn"} <= states
    if name != "calm":
        assert "gap" in states


def _check_hour(link: Link, slow: Hours) -> set[str]:
    told = plain(link.coverage)
    keys = ("ticker", "channel", "state", "ts_from", "conn")
    assert told == sorted(told, key=lambda row: [row[key] for key in keys])
    by_market: dict[str, list[Told]] = defaultdict(list)
    for row in told:
        if row["ticker"] != "*":
            assert row["shard"] == 0
            by_market[row["ticker"]].append(row)
    hour = link.settled.hour
    book: dict[str, list[tuple[int, Row]]] = defaultdict(list)
    for number, row in enumerate(plain_rows(link.book) if link.book else []):
        book[row.ticker].append((number, row))
    assert set(book) <= set(by_market)
    for ticker, life in slow.lives.items():
        rows = sorted(by_market.get(ticker, []), key=lambda row: (row["ts_from"], row["ts_to"], row["rows"] == 0))
        _check_stretches(life, hour, rows)
        _check_rows(link, rows, book[ticker])
        _check_ends(life, hour, rows, slow, ticker)
    _check_conns(told, hour, slow)
    return {row["state"] for row in told}


def _check_stretches(life: Life, hour: int, rows: list[Told]) -> None:
    """What is known from when to when: joined where neighbours say the same."""
    joined: list[list[Any]] = []
    for row in rows:
        state = ("known", row["conn"]) if row["state"] == "known" else ("gap", row["conn"], row["end_reason"])
        if row["ts_from"] == row["ts_to"]:
            continue
        if joined and joined[-1][2] == state and joined[-1][1] == row["ts_from"]:
            joined[-1][1] = row["ts_to"]
        else:
            joined.append([row["ts_from"], row["ts_to"], state])
    expected = [(a, b, ("gap", *state[1:]) if state[0] == "gap" else state) for a, b, state in life.stretches(hour)]
    assert [tuple(one) for one in joined] == expected


def _check_rows(link: Link, rows: list[Told], book: list[tuple[int, Row]]) -> None:
    """The fragments share the market's rows out, and say of each what is counted here once more."""
    parts = {part.file: part for part in parts_of(link.book, 200)}
    at = book[0][0] if book else 0
    for told in sorted((row for row in rows if row["rows"]), key=lambda row: _first(row, parts)):
        first = _first(told, parts)
        assert first == at
        at += told["rows"]
        own = [row for number, row in book if first <= number < at]
        assert told["orphans"] == sum(row.kind == ORPHAN for row in own)
        assert told["deltas"] == sum(row.kind == Kind.DELTA for row in own)
        groups: list[list[tuple[int, Row]]] = []
        for number, row in book:
            if first <= number < at and row.kind in BASES:
                if groups and groups[-1][-1][1].key == row.key and row.kind != CLOSE:
                    groups[-1].append((number, row))
                else:
                    groups.append([(number, row)])
        kinds = [group[0][1].kind for group in groups]
        assert (told["snapshots"], told["checkpoints"], told["closes"]) == (
            kinds.count(SNAPSHOT), kinds.count(CHECKPOINT), kinds.count(CLOSE),
        )  # fmt: skip
        assert told["bases"] == [
            {
                "ts_recv": _instant(one.ts), "ts_exch": _instant(one.exch), "conn": one.conn, "seq": one.seq,
                "kind": one.kind, "row": number - parts[told["file"]].first_row, "rows": len(group),
                "reason": one.reason,
            }
            for group in groups for number, one in group[:1]
        ]  # fmt: skip
        seqs = [row.seq for row in own if row.kind != ORPHAN and row.conn == told["conn"]]
        assert (told["first_seq"], told["last_seq"]) == ((seqs[0], seqs[-1]) if seqs else (None, None))
        stamps = [row.ts for row in own if row.kind != ORPHAN]
        if told["state"] == "known":
            assert all(told["ts_from"] <= stamp <= told["ts_to"] for stamp in stamps[: -told["closes"] or None])
    assert at == (book[-1][0] + 1 if book else 0)
    for told in rows:
        if not told["rows"]:
            assert (told["file"], told["first_row"], told["bases"]) == (None, None, [])


def _first(told: Told, parts: dict[str, FilePart]) -> int:
    part = parts[told["file"]]
    assert told["first_row"] + told["rows"] <= part.rows
    return part.first_row + int(told["first_row"])


def _instant(ts: int | None) -> Any:
    return None if ts is None else pa.scalar(ts, pa.int64()).cast(pa.timestamp("us", "UTC")).as_py()


def _check_ends(life: Life, hour: int, rows: list[Told], slow: Hours, ticker: str) -> None:
    """What each fragment says of its end, and of what stood before the hour."""
    start = hour * HOUR_US
    stood = life.stood(hour) != ("nothing",)
    record = life.record_hour(hour) if stood else None
    done = bisect_left(life.keys, (start,))
    audits = [
        audit["ts_recv"]
        for flush in slow.flushes
        if flush.hour == hour
        for audit in flush.rows.get("audits", [])
        if audit["ticker"] == ticker
    ]
    equal = [ts for ts in life.equal if stood or ts >= start]
    for told in rows:
        assert told["last_record_hour"] == (None if record is None else record * HOUR_US)
        done += told["rows"]
        seen = life.rows[:done] if stood else life.rows[bisect_left(life.keys, (start,)) : done]
        changes = [row.ts for row in seen if row.kind in (SNAPSHOT, Kind.DELTA)]
        assert told["last_change"] == (changes[-1] if changes else None)
        assert told["last_audit"] == max((ts for ts in equal if ts < told["ts_to"]), default=None)
        assert told["audits"] == sum(told["ts_from"] <= ts < told["ts_to"] for ts in audits)
        if told["state"] == "gap":
            assert told["digest"] is None
            continue
        assert told["digest"] == life.digest(life.rows[:done])
        if told["end_reason"] == "continues":
            assert told["ts_to"] == start + HOUR_US
        else:
            ends = {row.reason for row in life.groups if row.ts == told["ts_to"] and row.kind == CLOSE}
            assert told["end_reason"] in ends


def _check_conns(told: list[Told], hour: int, slow: Hours) -> None:
    start, end = hour * HOUR_US, (hour + 1) * HOUR_US
    expected = []
    for conn in {conn for flush in slow.flushes if flush.hour == hour for conn in flush.conns}:
        heard, seq = slow.marks[conn][:2]
        first = min((row.ts for row in slow.settled.get(hour, []) if row.conn == conn), default=heard)
        began = max(start, min((conn >> 10) * 1000, first, heard))
        if heard >= end:
            expected.append((conn, began, end, "continues", None))
        elif heard >= start:
            expected.append((conn, began, heard + 1, None, seq))
    found = [row for row in told if row["state"] == "conn"]
    names = ("conn", "ts_from", "ts_to", "end_reason", "last_seq")
    assert sorted(tuple(row[name] for name in names) for row in found) == sorted(expected)
    silent = [(row["conn"], row["ts_from"], row["ts_to"]) for row in told if row["state"] == "silence"]
    assert sorted(silent) == slow.silences(hour)
    assert all(row["end_reason"] == "stall" for row in told if row["state"] == "silence")
