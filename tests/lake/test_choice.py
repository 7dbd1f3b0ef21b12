"""Two shards with the same markets: which one is published, what is written where that changes, what else is said."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from book.digest import digest
from book.errors import PublishError
from book.records import HOUR_US
from lake.journal.flush import Silence
from lake.publishing.accounts import accounts_of
from lake.settling import settle as settling
from lake.settling.choice import choose, covered_us
from lake.settling.coverage import FilePart, derive
from lake.settling.earlier import books_before
from lake.settling.proof import prove_conserved, prove_order, prove_replay
from lake.settling.settle import SettledHour, settle
from lake.settling.sources import read_source
from lake.settling.standing import Stand, Standing, standing_of
from lake.settling.switches import effective
from tests.lake.handlog import BOOK, CHECKPOINT, CLOSE, CONN, DELTA, H0, SNAPSHOT, T0, HandLog, S

ZERO, ONE = CONN, CONN + 1
LATER = CONN + (100_000 << 10)
"""A conn of shard 0 that began after H0."""
OVER = (T0 + HOUR_US + S, 9, 1)
"""The mark of a conn that was heard past H0."""
FAR = (T0 + 3 * HOUR_US, 9, 1)


class Pair:
    """Two logs under one home, published hour by hour in memory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.zero, self.one = HandLog(home), HandLog(home, 1)
        self.standing = Standing.empty()
        self.settled = SettledHour(0, {})
        self.coverage = pa.table({})

    def publish(self, hour: int) -> list[dict[str, Any]]:
        """Settle an hour, prove it, and return its coverage rows of markets."""
        sources = [read_source(self.home, shard, hour) for shard in (0, 1)]
        before = self.standing.into(hour)
        self.settled = settle(sources, before, lambda *asked: books_before(self.home, *asked))
        book = self.settled.tables.get("orderbook")
        if book is not None:
            prove_order(book)
            prove_replay(book, effective(before, self.settled.chosen))
            for table, rows in self.settled.tables.items():
                prove_conserved(self.settled.prints, table, [rows])
        parts = [FilePart("f", 0, book.num_rows)] if book is not None else []
        self.coverage = derive(self.settled, parts, before)
        self.standing = standing_of(self.coverage)
        rows: list[dict[str, Any]] = [row for row in self.coverage.to_pylist() if row["ticker"] != "*"]
        return rows

    def rows(self) -> list[tuple[int, int, int, int]]:
        book = self.settled.tables["orderbook"]
        stamps = book["ts_recv"].cast(pa.int64()).to_pylist()
        columns = (book[name].to_pylist() for name in ("conn", "seq", "kind"))
        return [(ts - T0, *key) for ts, *key in zip(stamps, *columns, strict=True)]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def both_know(pair: Pair) -> None:
    """Let both shards have the market from the same instant of H0 on."""
    for log, conn in ((pair.zero, ZERO), (pair.one, ONE)):
        log.snapshot("A", T0 + S, 1, conn=conn)
        log.delta("A", T0 + 2 * S, 2, conn=conn)
        log.flush(H0, {conn: OVER})


def states(rows: list[dict[str, Any]]) -> list[tuple[str, int, str | None]]:
    return [(row["state"], row["shard"], row["end_reason"]) for row in rows]


def test_the_most_known_wins_then_the_one_before_then_the_lowest() -> None:
    assert choose({0: 5, 1: 6}, before=0) == 1
    assert choose({0: 5, 1: 5}, before=1) == 1
    assert choose({0: 5, 1: 5, 2: 5}, before=7) == 0
    assert covered_us([(5, 9), (0, 6), (20, 10)]) == 9


def test_of_two_that_know_alike_the_lowest_is_published_and_the_other_named(pair: Pair) -> None:
    both_know(pair)
    rows = pair.publish(H0)
    assert states(rows) == [("known", 0, "continues"), ("other_known", 1, "continues")]
    assert (rows[1]["deltas"], rows[1]["rows"], rows[1]["file"], rows[1]["bases"]) == (1, 0, None, [])
    assert {row[1] for row in pair.rows()} == {ZERO}
    assert pair.standing.markets["A"].shard == 0
    assert pair.standing.others[1]["A"].digest == pair.standing.markets["A"].digest


def test_a_silence_counts_as_unknown(pair: Pair) -> None:
    both_know(pair)
    pair.zero.flush(H0, {ZERO: OVER}, [Silence(ZERO, T0 + 10 * S, T0 + 20 * S)])
    assert states(pair.publish(H0)) == [("known", 1, "continues"), ("other_known", 0, "continues")]


def test_what_is_unknown_before_the_first_snapshot_and_after_known_until_counts(pair: Pair) -> None:
    both_know(pair)
    pair.zero.flush(H0, {ZERO: (T0 + 60 * S, 2, 0)})
    assert states(pair.publish(H0))[0] == ("known", 1, "continues"), "shard 0 was last heard after a minute"


def test_a_market_that_is_over_is_unknown_to_nobody(pair: Pair) -> None:
    """Who has not heard the end is not better for it."""
    both_know(pair)
    pair.zero.close("A", T0 + 9 * S, 2, "market_closed", conn=ZERO)
    pair.zero.flush(H0, {ZERO: OVER})
    assert states(pair.publish(H0)) == [("known", 0, "market_closed"), ("other_known", 1, "continues")]
    assert pair.standing == Standing(tables=pair.standing.tables), "it is over: nothing of it is carried on"


def test_a_quiet_market_gets_a_checkpoint_out_of_the_other_shards_own_log(pair: Pair) -> None:
    both_know(pair)
    pair.publish(H0)
    pair.zero.close("A", T0 + HOUR_US + 5 * S, 2, "disconnect", conn=ZERO)
    pair.zero.flush(H0 + 1, {ZERO: FAR})
    pair.one.flush(H0 + 1, {ONE: FAR})
    rows = pair.publish(H0 + 1)
    assert states(rows) == [
        ("known", 1, "continues"),
        ("other_gap", 0, "disconnect"),
        ("other_known", 0, "disconnect"),
        ("switch", 1, "shard_switch"),
    ]
    assert rows[0]["last_record_hour"] is None
    assert pair.rows() == [(HOUR_US, ONE, 2, CHECKPOINT)] * 2
    book = pair.settled.tables["orderbook"].to_pylist()
    assert digest((row["side"], row["price_e4"], row["qty_e2"]) for row in book) == rows[0]["digest"]
    assert book[0]["ts_exch"].timestamp() * 1_000_000 == T0 + 2 * S - 5, "the greatest that the span has shown"
    for log, conn in ((pair.zero, ZERO), (pair.one, ONE)):
        log.flush(H0 + 2, {conn: FAR})
    (known, *_) = pair.publish(H0 + 2)
    assert (known["shard"], known["last_record_hour"].timestamp()) == (1, (H0 + 1) * 3600)


def test_a_switch_to_and_fro_finds_the_book_behind_hours_of_the_other(pair: Pair) -> None:
    both_know(pair)
    pair.publish(H0)
    for hour, silent in ((H0 + 1, ZERO), (H0 + 2, ONE), (H0 + 3, ZERO)):
        for log, conn in ((pair.zero, ZERO), (pair.one, ONE)):
            start_us = hour * HOUR_US
            silence = [Silence(conn, start_us + S, start_us + 9 * S)] if conn == silent else []
            log.flush(hour, {conn: (start_us + HOUR_US + S, 2, 1)}, silence)
        pair.publish(hour)
        assert pair.settled.chosen == {"A": 1 if silent == ZERO else 0}
        assert [row[1:] for row in pair.rows()] == [(ONE if silent == ZERO else ZERO, 2, CHECKPOINT)] * 2


def test_a_shard_that_has_its_own_checkpoint_needs_none(pair: Pair) -> None:
    both_know(pair)
    pair.publish(H0)
    start_us = T0 + HOUR_US
    pair.one.checkpoint("A", start_us, 2, ((0, 4500, 101), (1, 5000, 700)), conn=ONE)
    pair.one.delta("A", start_us + 3, 3, conn=ONE)
    pair.one.flush(H0 + 1, {ONE: FAR})
    pair.zero.flush(H0 + 1, {ZERO: FAR}, [Silence(ZERO, start_us + S, start_us + 2 * S)])
    pair.publish(H0 + 1)
    assert [row[3] for row in pair.rows()] == [CHECKPOINT, CHECKPOINT, DELTA]


def test_a_shard_that_did_not_know_the_book_begins_with_a_close(pair: Pair) -> None:
    """The gap lasts from the hour's first instant to its first snapshot, and no reader goes back past it."""
    pair.zero.snapshot("A", T0 + S, 1, conn=ZERO)
    pair.zero.flush(H0, {ZERO: OVER})
    pair.one.flush(H0)
    pair.publish(H0)
    start_us = T0 + HOUR_US
    pair.zero.close("A", start_us + 5 * S, 1, "crash", conn=ZERO)
    pair.zero.flush(H0 + 1, {ZERO: (start_us + 5 * S, 1, 0)})
    pair.one.snapshot("A", start_us + 7 * S, 1, conn=ONE)
    pair.one.flush(H0 + 1, {ONE: FAR})
    rows = pair.publish(H0 + 1)
    own = [row for row in rows if row["shard"] == 1]
    assert states(own) == [("gap", 1, "shard_switch"), ("known", 1, "continues"), ("switch", 1, "shard_switch")]
    assert [row["last_record_hour"] for row in own] == [None] * 3
    assert own[0]["ts_from"].timestamp() == start_us / 1e6
    assert own[0]["ts_to"] == own[1]["ts_from"]
    assert pair.rows()[0] == (HOUR_US, ONE, 0, CLOSE)
    assert [row[3] for row in pair.rows()[1:]] == [SNAPSHOT, SNAPSHOT]


def test_a_close_of_the_shard_that_was_not_chosen_touches_nothing(pair: Pair) -> None:
    both_know(pair)
    pair.publish(H0)
    before = pair.settled.tables["orderbook"]
    pair.one.close("A", T0 + S + 1, 1, "audit_mismatch", conn=ONE)
    pair.one.flush(H0 + 1, {ONE: FAR})
    pair.standing = Standing.empty()
    rows = pair.publish(H0)
    assert pair.settled.tables["orderbook"].equals(before)
    assert [row["end_reason"] for row in rows if row["state"] == "other_known"] == ["audit_mismatch"]


def test_a_correction_decides_again(pair: Pair) -> None:
    both_know(pair)
    pair.publish(H0)
    pair.zero.close("A", T0 + S + 1, 1, "audit_mismatch", conn=ZERO)
    pair.zero.flush(H0 + 1, {ZERO: FAR})
    pair.standing = Standing.empty()
    pair.publish(H0)
    assert pair.settled.chosen == {"A": 1}
    assert {row[1] for row in pair.rows()} == {ONE}


def test_messages_of_what_is_published_from_another_shard_are_accounted_for(pair: Pair) -> None:
    for log, conn, trades in ((pair.zero, ZERO, LATER), (pair.one, ONE, LATER + 1)):
        log.snapshot("A", T0 + S, 1, conn=conn)
        log.delta("A", T0 + 2 * S, 2, conn=conn)
        log.audit("A", T0 + 3 * S, 3, conn=conn)
        log.orphan("B", T0 + 3 * S, 4, conn=conn)
        log.trade("A", T0 + 200 * S, 1, "t", conn=trades)
        log.flush(H0, {conn: (T0 + HOUR_US, 4, 1, 0), trades: (T0 + HOUR_US, 1, 1, 0)})  # type: ignore[dict-item]
    pair.publish(H0)
    accounts = accounts_of(pair.settled)
    assert {conn: (one.elsewhere, one.sum_ok) for conn, one in accounts.items()} == {
        ZERO: (0, True), ONE: (4, True), LATER: (0, True), LATER + 1: (1, True),
    }  # fmt: skip
    assert pair.settled.counts.elsewhere == {"orderbook": 4, "audits": 1, "trades": 1}
    assert pair.settled.tables["audits"]["conn"].to_pylist() == [ZERO]
    assert pair.settled.tables["trades"]["trade_id"].to_pylist() == ["t"]


def test_a_dead_shards_closes_are_its_own(pair: Pair) -> None:
    """Without END it ends where it was last heard; the other goes on, and nothing waits."""
    both_know(pair)
    pair.zero.flush(H0, {ZERO: (T0 + 60 * S, 2, 1)})
    rows = pair.publish(H0)
    assert states(rows) == [("known", 1, "continues"), ("other_gap", 0, "crash"), ("other_known", 0, "crash")]
    assert not any(row[3] == CLOSE for row in pair.rows())
    for hour in (H0 + 1, H0 + 2):
        pair.one.flush(hour, {ONE: FAR})
        pair.publish(hour)
        assert pair.settled.chosen == {"A": 1}


def test_a_book_that_is_not_the_one_it_had_is_refused(pair: Pair) -> None:
    both_know(pair)
    pair.publish(H0)
    stand = Stand(True, 1, ONE, None, H0, None, None, digest(BOOK))
    before = Standing(pair.standing.markets, {1: {"A": stand}})
    pair.zero.flush(H0 + 1, {ZERO: FAR}, [Silence(ZERO, T0 + HOUR_US + S, T0 + HOUR_US + 2 * S)])
    pair.one.flush(H0 + 1, {ONE: FAR})
    sources = [read_source(pair.home, shard, H0 + 1) for shard in (0, 1)]
    with pytest.raises(PublishError, match="does not hold the book of A"):
        settle(sources, before, lambda *asked: books_before(pair.home, *asked))


def test_one_version_of_metadata_is_told_once(pair: Pair) -> None:
    """What moves with trading tells no two versions apart; the earliest counts; who goes back has said it twice."""

    def told(log: HandLog, ts: int, status: str, price: str) -> None:
        record = f'{{"ticker":"A","status":"{status}","yes_bid_dollars":"{price}"}}'
        log.row(
            "markets",
            ticker="A",
            valid_from=ts,
            event_ticker="E",
            title="",
            status=status,
            source="rest",
            record=record,
        )

    for log, late in ((pair.zero, 5), (pair.one, 0)):
        for number, status in enumerate(("active", "paused", "active")):
            told(log, T0 + 100 * number + late, status, f"0.{number + late}")
        log.flush(H0)
    pair.publish(H0)
    markets = pair.settled.tables["markets"]
    assert markets["valid_from"].cast(pa.int64()).to_pylist() == [T0, T0 + 100, T0 + 200]
    assert markets["status"].to_pylist() == ["active", "paused", "active"]
    assert pair.settled.counts.elsewhere == {"markets": 3}
    assert settling.METADATA == ("markets", "events", "series")
