"""Books on the exchange's clock: cases by hand, and a brute force over random logs."""

import random
from collections import defaultdict
from typing import Any

import pytest

from book.errors import ApiError
from query.log import Log
from query.point import book_at

HOUR = 3_600_000_000
H0 = 496_000
T0 = H0 * HOUR + HOUR // 2
S = 1_000_000
CONN = (T0 // 1000 - 1000) * 1024
A = "A"
SNAPSHOT, DELTA, CHECKPOINT, CLOSE, ORPHAN = range(5)


def verdict(log: Log, ts: int, ticker: str = A) -> Any:
    try:
        answer = book_at(log, ticker, ts, clock="exchange")
    except ApiError as error:
        return error.code
    return {(side, price): qty for side, price, qty in answer.book.levels()}


def test_the_exchanges_clock_runs_apart_from_ours(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)], exch=T0 - 5)
    journal.delta("B", T0 + 5, CONN, 2, 0, 100, 1, exch=T0 - 3)
    journal.delta(A, T0 + 10, CONN, 3, 0, 100, 1, exch=T0 + 40)
    journal.delta(A, T0 + 60, CONN, 4, 0, 100, 1, exch=T0 + 50)
    journal.delta("B", T0 + 70, CONN, 5, 0, 100, 1, exch=T0 + 90)
    journal.flush()
    assert verdict(log, T0 - 4) == "no_data_available"
    assert verdict(log, T0 - 3) == verdict(log, T0 + 39) == {(0, 100): 1}
    assert verdict(log, T0 + 40) == {(0, 100): 2}
    assert verdict(log, T0 + 50) == verdict(log, T0 + 89) == {(0, 100): 3}
    assert verdict(log, T0 + 90) == "not_yet_known"
    answer = book_at(log, A, T0 + 45, clock="exchange")
    assert (answer.at_us, answer.seq, answer.deltas_applied, answer.complete) == (T0 + 45, 3, 1, True)


def test_a_snapshot_says_nothing_of_the_time_before_it_was_taken(journal: Any, log: Log) -> None:
    """B is added to a conn that was quiet; its change at +3 s was never sent, and stands in the snapshot."""
    journal.delta("X", T0, CONN, 1, 0, 100, 1, exch=T0)
    journal.snapshot("B", T0 + 5 * S, CONN, 2, [(0, 100, 8)], exch=T0)
    journal.delta("X", T0 + 9 * S, CONN, 3, 0, 100, 1, exch=T0 + 9 * S)
    journal.delta("X", T0 + 10 * S, CONN, 4, 0, 100, 1, exch=T0 + 10 * S)
    journal.flush()
    assert verdict(log, T0 + 2 * S, "B") == "no_data_available"
    assert verdict(log, T0 + 9 * S, "B") == {(0, 100): 8}


def test_an_hours_checkpoint_says_no_more_than_its_snapshot(journal: Any, log: Log) -> None:
    noon = (H0 + 1) * HOUR
    journal.delta("X", noon - 20 * S, CONN, 1, 0, 100, 1, exch=noon - 20 * S)
    journal.snapshot("B", noon - 5 * S, CONN, 2, [(0, 100, 8)], exch=noon - 20 * S)
    journal.flush()
    journal.checkpoint("B", noon, CONN, 2, [(0, 100, 8)], exch=noon - 20 * S)
    journal.delta("B", noon + S, CONN, 3, 0, 100, 1, exch=noon + S)
    journal.delta("B", noon + 2 * S, CONN, 4, 0, 100, 1, exch=noon + 2 * S)
    journal.flush()
    assert verdict(log, noon - 10 * S, "B") == "no_data_available"
    assert verdict(log, noon + S, "B") == {(0, 100): 9}


def test_without_an_instant_both_clocks_give_the_newest_book(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)], exch=T0 - 5)
    journal.flush()
    assert book_at(log, A, clock="exchange") == book_at(log, A)


def test_a_change_stamped_back_counts_with_the_one_before_it(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)], exch=T0)
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1, exch=T0 + 40)
    journal.delta(A, T0 + 11, CONN, 3, 0, 100, 1, exch=T0 + 20)
    journal.delta(A, T0 + 12, CONN, 4, 0, 100, 1)
    journal.delta(A, T0 + 13, CONN, 5, 0, 100, 1, exch=T0 + 60)
    journal.flush()
    assert verdict(log, T0 + 39) == "no_data_available"
    assert verdict(log, T0 + 40) == {(0, 100): 4}


def test_a_gap_lies_between_what_two_spans_showed(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)], exch=T0)
    journal.delta("B", T0 + 4, CONN, 2, 0, 100, 1, exch=T0 + 1)
    journal.delta("B", T0 + 5, CONN, 2, 0, 100, 1, exch=T0 + 30)
    journal.close(A, T0 + 6, CONN, 2, "seq_gap")
    journal.snapshot(A, T0 + 90, CONN, 9, [(0, 100, 4)], exch=T0 + 80)
    journal.delta(A, T0 + 95, CONN, 10, 0, 100, 1, exch=T0 + 95)
    journal.delta(A, T0 + 97, CONN, 11, 0, 100, 1, exch=T0 + 99)
    journal.flush()
    assert verdict(log, T0 + 29) == {(0, 100): 1}
    with pytest.raises(ApiError) as caught:
        book_at(log, A, T0 + 30, clock="exchange")
    assert caught.value.code == "data_gap"
    assert caught.value.fields == {
        "from": T0 + 30,
        "to": T0 + 95,
        "reason": "seq_gap",
        "last_known": T0 + 29,
        "next_known": T0 + 95,
    }
    last = book_at(log, A, T0 + 50, clock="exchange", on_gap="last")
    assert (last.complete, last.book.levels(), last.at_us) == (False, [(0, 100, 1)], T0 + 50)
    assert verdict(log, T0 + 95) == verdict(log, T0 + 98) == {(0, 100): 5}


def test_proof_may_come_long_after_on_a_quiet_conn(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)], exch=T0)
    journal.flush()
    assert verdict(log, T0 + 60 * S) == "not_yet_known"
    journal.delta("B", T0 + 900 * S, CONN, 2, 0, 100, 1, exch=T0 + 900 * S)
    journal.flush()
    assert verdict(log, T0 + 60 * S) == verdict(log, T0 + 899 * S) == {(0, 100): 1}
    assert verdict(log, T0 + 60 * S - 1) == "no_data_available"


def test_proof_from_after_the_spans_end_proves_nothing(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)], exch=T0)
    journal.close(A, T0 + 200 * S, CONN, 1, "seq_gap")
    journal.delta("B", T0 + 900 * S, CONN, 5, 0, 100, 1, exch=T0 + 900 * S)
    journal.flush()
    assert verdict(log, T0 + 100 * S) == "data_gap"


def test_a_snapshot_without_any_stamp_stands_at_its_receipt(journal: Any, log: Log) -> None:
    journal.snapshot(A, T0, CONN, 1, [(0, 100, 1)])
    journal.delta(A, T0 + 10, CONN, 2, 0, 100, 1, exch=T0 - 4)
    journal.delta(A, T0 + 20, CONN, 3, 0, 100, 1, exch=T0 + 9)
    journal.flush()
    assert verdict(log, T0 - 1) == "no_data_available"
    assert verdict(log, T0) == {(0, 100): 2}


class Feed:
    """Random spans of three markets on one conn after another, with stamps of the exchange that lag and lead."""

    def __init__(self, journal: Any, rng: random.Random) -> None:
        self.journal, self.rng = journal, rng
        self.now, self.conn, self.seq, self.shown = T0, CONN, 0, 0
        self.live: dict[str, tuple[int, int]] = {}
        self.book: dict[str, int] = {}
        self.touched: dict[str, int] = {}

    def exch(self) -> int | None:
        if self.rng.random() < 0.1:
            return None
        self.shown = max(self.shown, (self.now + self.rng.randint(-10 * S, 3 * S)) // 1000 * 1000)
        return self.shown

    def change(self, market: str) -> None:
        self.seq += self.rng.choice([1, 1, 3])
        exch = self.exch()
        if market not in self.live:
            self.journal.orphan(market, self.now, self.conn, self.seq, 0, 1, 5)
            self.journal._pending["orderbook"][-1]["ts_exch"] = exch
            return
        reached, last = self.live[market]
        hour = self.now // HOUR
        if self.touched[market] != hour:
            self.touched[market] = hour
            levels = [(0, 1, self.book[market])]
            self.journal.checkpoint(market, hour * HOUR, self.conn, last, levels, reached)
        self.book[market] += 7
        self.journal.delta(market, self.now, self.conn, self.seq, 0, 1, 7, exch=exch)
        reached = max(reached, exch or 0)
        self.live[market] = reached, self.seq
        if self.rng.random() < 0.1:
            self.journal.checkpoint(market, self.now, self.conn, self.seq, [(0, 1, self.book[market])], reached)

    def act(self) -> None:
        later = self.now + self.rng.choice([0, 1, S // 10, S, 8 * S])
        if self.rng.random() < 0.01:
            later = (self.now // HOUR + 1) * HOUR + self.rng.randint(0, S)
        if later // HOUR > self.now // HOUR:
            self.journal.flush(self.now // HOUR)
        self.now = later
        market, x = self.rng.choice("ABC"), self.rng.random()
        if x < 0.8:
            self.change(market)
        elif x < 0.9 and market not in self.live:
            self.seq += 1
            self.book[market] = self.rng.randint(1, 99)
            self.journal.snapshot(
                market, self.now, self.conn, self.seq, [(0, 1, self.book[market])], self.shown or None
            )
            self.live[market] = self.shown or self.now, self.seq
            self.touched[market] = self.now // HOUR
        elif x < 0.93 and market in self.live:
            self.journal.close(market, self.now, self.conn, self.seq, "seq_gap")
            self.seq += 2
            del self.live[market]
        elif x < 0.94:
            for each in sorted(self.live):
                self.journal.close(each, self.now, self.conn, self.seq, "disconnect")
            self.live, self.conn, self.seq, self.shown = {}, self.conn + 1024, 0, 0


def brute(journal: Any, market: str, ts: int) -> Any:
    rows = journal.logged
    shows = [row for row in rows if row["kind"] in {DELTA, ORPHAN} and row["ts_exch"] is not None]
    spans: list[dict[str, Any]] = []
    for row in rows:
        if row["ticker"] == market and row["kind"] == SNAPSHOT:
            start = row["ts_exch"] if row["ts_exch"] is not None else row["ts_recv"]
            later = [each["ts_exch"] for each in shows if each["conn"] == row["conn"] and each["seq"] > row["seq"]]
            speaks = max(start, min([*later[:1], row["ts_recv"] + 60 * S]))
            spans.append({"base": row, "reached": start, "from": speaks, "end": None, "changes": []})
        elif row["ticker"] == market and row["kind"] == CLOSE:
            spans[-1]["end"] = row["seq"]
        elif row["ticker"] == market and row["kind"] == DELTA:
            spans[-1]["changes"].append(row)
    begun = [span for span in spans if span["from"] <= ts and span["base"]["ts_recv"] <= ts + 60 * S]
    if not begun:
        return "no_data_available"
    span = begun[-1]
    reached, qty, whole = span["reached"], span["base"]["qty_e2"], False
    for row in span["changes"]:
        reached = max(reached, row["ts_exch"] or 0)
        if reached > ts:
            whole = True
        if reached > ts or row["ts_recv"] > ts + 60 * S:
            break
        qty += row["qty_e2"]
    end = 1 << 60 if span["end"] is None else span["end"]
    conn = span["base"]["conn"]
    if whole or any(row["conn"] == conn and row["seq"] <= end and row["ts_exch"] > ts for row in shows):
        return {(0, 1): qty}
    return "not_yet_known" if span["end"] is None else "data_gap"


@pytest.mark.parametrize("seed", range(5))
def test_every_answer_is_the_longest_run(journal: Any, log: Log, seed: int) -> None:
    rng = random.Random(seed)
    feed = Feed(journal, rng)
    words: dict[str, int] = defaultdict(int)
    for _ in range(25):
        for _ in range(rng.randint(1, 30)):
            feed.act()
        journal.flush(feed.now // HOUR)
        stamps = [row["ts_exch"] for row in journal.logged if row["ts_exch"]]
        for _ in range(25):
            ts = rng.choice(stamps) + rng.choice([-1000, -1, 0, 0, 1, 1000, rng.randint(-20 * S, 20 * S)])
            market = rng.choice("ABC")
            want = brute(journal, market, ts)
            words[want if isinstance(want, str) else "book"] += 1
            got = verdict(log, ts, market)
            assert got == want or (want == "no_data_available" and got == "market_not_found"), (market, ts)
    assert words["book"] > 50
    assert words["data_gap"] > 3
