"""Spans, gaps and audits of a market, and the gaps of all."""

from typing import Any

import pytest

from book.errors import ApiError
from query.coverage import coverage, gaps
from query.log import Log

HOUR = 3_600_000_000
H0 = 496_000
T0 = H0 * HOUR + HOUR // 2
CONN = (T0 // 1000 - 1000) * 1024
LATER = CONN + 5 * 1024
A = "KXGOLD-26AUG10-T1"


def short(found: list[Any]) -> list[tuple[int, int | None, str]]:
    return [(gap.from_us - T0, None if gap.to_us is None else gap.to_us - T0, gap.reason) for gap in found]


def test_a_market_from_opening_to_end(journal: Any, log: Log) -> None:
    journal.market(A, T0 - 50, open_time=T0 - 100, close_time=T0 + 300)
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1)
    journal.audit(A, T0 + 12, CONN, 3)
    journal.silence(CONN, T0 + 20, T0 + 30)
    journal.heard(CONN, T0 + 49)
    journal.close(A, T0 + 50, CONN, 3, "disconnect")
    journal.flush()
    journal.snapshot(A, T0 + 100, LATER, 1, [(0, 100, 1)])
    journal.audit(A, T0 + 120, LATER, 2, equal=False)
    journal.close(A, T0 + 200, LATER, 2, "moved")
    journal.snapshot(A, T0 + 200, LATER + 1024, 1, [(0, 100, 1)])
    journal.heard(LATER, T0 + 200)
    journal.heard(LATER + 1024, T0 + 400)
    journal.close(A, T0 + 300, LATER + 1024, 5, "market_closed")
    journal.flush()
    found = coverage(log, A)
    assert [(s.conn, s.from_us - T0, s.to_us, s.end_reason, s.first_seq, s.last_seq) for s in found.spans] == [
        (CONN, 0, T0 + 50, "disconnect", 1, 3),
        (LATER, 100, T0 + 200, "moved", 1, 2),
        (LATER + 1024, 200, T0 + 300, "market_closed", 1, 5),
    ]
    assert short(found.gaps) == [(-100, 0, "late_start"), (20, 30, "stall"), (50, 100, "disconnect")]
    assert [(audit.ts_us - T0, audit.conn, audit.seq, audit.equal) for audit in found.audits] == [
        (12, CONN, 3, True),
        (120, LATER, 2, False),
    ]
    assert found.audits[0].digest_ours == "a" * 16
    stats = found.stats
    assert (stats.first_data_us, stats.last_data_us) == (T0, T0 + 200)
    assert (stats.snapshot_count, stats.delta_count) == (3, 1)
    assert stats.recorded_pct == round(100 * (300 - 50 - 10) / 400, 2)


def test_what_goes_on_has_no_end(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    journal.heard(CONN, T0 + 70)
    journal.snapshot("B", T0, CONN, 2, [])
    journal.close("B", T0 + 5, CONN, 2, "unrepresentable")
    journal.flush()
    span = coverage(log, A).spans[0]
    assert (span.to_us, span.end_reason, span.last_seq, span.known_until_us) == (None, None, None, T0 + 70)
    assert short(coverage(log, "B").gaps) == [(5, None, "unrepresentable")]


def test_the_first_close_says_why_a_gap_began(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    journal.heard(CONN, T0 + 100)
    journal.close(A, T0 + 60, CONN, 1, "clock_step")
    journal.flush()
    journal.close(A, T0 + 31, CONN, 1, "disconnect")
    journal.snapshot(A, T0 + 80, LATER, 1, [])
    journal.flush()
    assert short(coverage(log, A).gaps) == [(31, 80, "disconnect")]
    assert [span.to_us for span in coverage(log, A).spans] == [T0 + 31, None]


def test_an_unsubscribed_market_has_no_gap(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [])
    journal.close(A, T0 + 10, CONN, 2, "unsubscribed")
    journal.heard(CONN, T0 + 50)
    journal.flush()
    assert coverage(log, A).gaps == []


def test_metadata_alone_and_nothing_at_all(journal: Any, log: Log) -> None:
    journal.market(A, T0, open_time=T0)
    journal.heard(CONN, T0)
    journal.flush(H0)
    found = coverage(log, A)
    assert (found.spans, found.gaps, found.audits, found.known_until_us) == ([], [], [], None)
    assert (found.stats.first_data_us, found.stats.recorded_pct, found.stats.delta_count) == (None, 0, 0)
    with pytest.raises(ApiError) as caught:
        coverage(log, "NOSUCH")
    assert caught.value.code == "market_not_found"


def test_gaps_of_all_markets_in_pages(journal: Any, log: Log) -> None:
    for at, market in enumerate("CAB"):
        journal.snapshot(market, T0, CONN, 1 + at, [])
        journal.close(market, T0 + 50, CONN, 10, "disconnect")
        journal.snapshot(market, T0 + 100, LATER, 1 + at, [])
    journal.close("B", T0 + 120, LATER, 10, "audit_mismatch")
    journal.heard(LATER, T0 + 200)
    journal.flush()
    everything = gaps(log, T0, T0 + 500).gaps
    assert [(gap.ticker, gap.from_us - T0) for gap in everything] == [("A", 50), ("B", 50), ("C", 50), ("B", 120)]
    found: list[Any] = []
    cursor = None
    while cursor is not None or not found:
        page = gaps(log, T0, T0 + 500, limit=1, cursor=cursor)
        found += page.gaps
        cursor = page.next_cursor
    assert found == everything
    assert [gap.ticker for gap in gaps(log, T0 + 100, T0 + 500).gaps] == ["B"]
    assert gaps(log, T0, T0 + 50).gaps == []
    assert [gap.reason for gap in gaps(log, T0, T0 + 500, ticker="B").gaps] == ["disconnect", "audit_mismatch"]
    with pytest.raises(ApiError) as caught:
        gaps(log, T0, T0 + 500, ticker="NOSUCH")
    assert caught.value.code == "market_not_found"


def test_a_gap_is_what_no_shard_knows(journal: Any, journals: Any, log: Log) -> None:
    other = journals(1)
    journal.snapshot(A, T0, CONN, 1, [])
    journal.close(A, T0 + 50, CONN, 1, "disconnect")
    journal.snapshot(A, T0 + 100, LATER, 1, [])
    journal.heard(CONN, T0 + 50)
    journal.heard(LATER, T0 + 300)
    journal.flush()
    other.snapshot(A, T0 + 20, CONN + 1, 1, [])
    other.close(A, T0 + 70, CONN + 1, 1, "stall")
    other.heard(CONN + 1, T0 + 70)
    other.snapshot(A, T0 + 80, LATER + 1, 1, [])
    other.heard(LATER + 1, T0 + 300)
    other.flush()
    assert short(coverage(log, A).gaps) == [(70, 80, "disconnect")]
