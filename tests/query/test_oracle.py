"""Random logs, with withdrawals over hours, against the rule read word by word from the rows in log order."""

import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from book.errors import ApiError
from query.intervals import Intervals
from query.log import Log
from query.point import book_at
from query.ranges import deltas
from query.state import Known, state_at
from query.timeline import timeline

HOUR = 3_600_000_000
H0 = 496_000
SNAPSHOT, DELTA, CHECKPOINT, CLOSE, ORPHAN = range(5)
MARKETS = ("A", "B", "C")
STEP = HOUR // 40


class Venue:
    """Write a log that keeps the promises of the format and is otherwise as awkward as chance makes it."""

    def __init__(self, journal: Any, rng: random.Random) -> None:
        self.journal, self.rng = journal, rng
        self.now = H0 * HOUR + HOUR // 2
        self.conn = (self.now // 1000) * 1024
        self.seq: dict[int, int] = defaultdict(int)
        self.live: dict[str, int] = {}
        self.books: dict[str, dict[tuple[int, int], int]] = {}
        self.records: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        self.ended: list[tuple[str, int]] = []
        self.hours: dict[str, int] = {}

    def next_seq(self, conn: int) -> int:
        self.seq[conn] += self.rng.choice([1, 1, 2])
        return self.seq[conn]

    def tick(self) -> None:
        later = self.now + self.rng.choice([0, 0, 1, 2, STEP // 100, STEP, STEP, 2 * STEP])
        if later // HOUR > self.now // HOUR:
            self.journal.flush(self.now // HOUR)
        self.now = later

    def touch(self, market: str) -> None:
        """Write the hour's checkpoint before a live market's first record in it."""
        hour = self.now // HOUR
        if market in self.live and self.hours.get(market) != hour:
            conn = self.live[market]
            self.state(CHECKPOINT, market, hour * HOUR, conn, self.records[market, conn][-1][1])
        self.hours[market] = hour

    def state(self, kind: int, market: str, ts: int, conn: int, seq: int) -> None:
        levels = [(side, price, qty) for (side, price), qty in self.books[market].items()]
        self.journal.group(kind, market, ts, conn, seq, levels)

    def snapshot(self, market: str) -> None:
        if market in self.live and self.live[market] == self.conn:
            return
        self.touch(market)
        if market in self.live:
            old = self.live[market]
            self.journal.close(market, self.now, old, self.records[market, old][-1][1], "moved")
            self.ended.append((market, old))
        self.books[market] = {
            (self.rng.randint(0, 1), self.rng.randint(1, 9)): 1000 for _ in range(self.rng.randint(0, 4))
        }
        self.live[market] = self.conn
        seq = self.next_seq(self.conn)
        self.state(SNAPSHOT, market, self.now, self.conn, seq)
        self.records[market, self.conn].append((self.now, seq))

    def delta(self, market: str) -> None:
        if market not in self.live:
            self.journal.orphan(market, self.now, self.conn, self.next_seq(self.conn), 0, 1, 5)
            return
        self.touch(market)
        conn = self.live[market]
        seq, slot, change = (
            self.next_seq(conn),
            (self.rng.randint(0, 1), self.rng.randint(1, 9)),
            self.rng.randint(1, 99),
        )
        self.books[market][slot] = self.books[market].get(slot, 0) + change
        self.journal.delta(market, self.now, conn, seq, *slot, change)
        self.records[market, conn].append((self.now, seq))
        if self.rng.random() < 0.1:
            self.state(CHECKPOINT, market, self.now, conn, seq)

    def close(self, market: str, reason: str) -> None:
        """Close a span back to one of its last records: what came after it is withdrawn."""
        conn = self.live.pop(market)
        self.withdraw(market, conn, reason)

    def withdraw(self, market: str, conn: int, reason: str) -> None:
        records = self.records[market, conn]
        last = max(0, len(records) - self.rng.choice([1, 1, 2, 6, 20]))
        ts, seq = records[last]
        later = [stamp for stamp, _ in records[last + 1 :]]
        self.journal.close(market, min([ts + 1, self.now, *later]), conn, seq, reason)
        del records[last + 1 :]

    def act(self) -> None:
        self.tick()
        market, x = self.rng.choice(MARKETS), self.rng.random()
        if x < 0.6:
            self.delta(market)
        elif x < 0.75:
            self.snapshot(market)
        elif x < 0.8:
            self.conn += 1024
            self.snapshot(market)
        elif x < 0.9 and market in self.live:
            self.close(market, self.rng.choice(["audit_mismatch", "seq_gap", "disconnect"]))
        elif x < 0.93 and self.ended:
            self.withdraw(*self.ended.pop(), "seq_gap")
        elif x < 0.96 and market in self.live:
            conn = self.live[market]
            self.journal.silence(conn, self.journal.heard_us[conn] + 1, self.now)
            self.journal.heard(conn, self.now)
        else:
            self.journal.heard(self.conn, self.now)


def by_the_word(journal: Any, market: str, ts: int) -> Any:
    """The rule of the log, read from every row: a book as a dict, or the word for its absence."""
    rows = [row | {"at": at} for at, row in enumerate(journal.logged) if row["ticker"] == market]
    key: Callable[[Any], Any] = lambda row: (row["ts_recv"], row["conn"], row["seq"], row["kind"])  # noqa: E731
    for close in [row for row in rows if row["kind"] == CLOSE]:
        for row in rows:
            if row["at"] < close["at"] and row["conn"] == close["conn"]:
                row["void"] = row.get("void", False) or (row["kind"] in {0, 1, 2} and row["seq"] > close["seq"])
                row["void"] |= row["kind"] == CHECKPOINT and key(row) > key(close)
    rows = [row for row in rows if not row.get("void") and row["ts_recv"] <= ts]
    bases = [row for row in rows if row["kind"] in {SNAPSHOT, CHECKPOINT, CLOSE}]
    if not bases:
        return "no_data_available"
    top = max(bases, key=key)
    if top["kind"] == CLOSE or any(s.conn == top["conn"] and s.from_us <= ts < s.to_us for s in journal.silences):
        return "data_gap"
    if ts > journal.records[-1].conns[str(top["conn"])].last_frame_us:
        return "not_yet_known"
    total: dict[tuple[int, int], int] = defaultdict(int)
    for row in rows:
        counts = row["kind"] == DELTA and row["conn"] == top["conn"] and row["seq"] > top["seq"]
        if (counts or key(row) == key(top)) and row["side"] is not None:
            total[row["side"], row["price_e4"]] += row["qty_e2"]
    return {level: qty for level, qty in total.items() if qty}


def answered(log: Log, market: str, ts: int) -> Any:
    try:
        answer = book_at(log, market, ts)
    except ApiError as error:
        return error.code
    assert answer.complete
    return {(side, price): qty for side, price, qty in answer.book.levels()}


def instants(journal: Any, rng: random.Random, count: int) -> list[int]:
    stamps = [row["ts_recv"] for row in journal.logged] + [edge for s in journal.silences for edge in s[1:]]
    stamps += [hour * HOUR for hour in range(H0, max(stamps) // HOUR + 1)]
    return [rng.choice(stamps) + rng.choice([-1, 0, 0, 1, STEP // 3]) for _ in range(count)]


@pytest.mark.parametrize("seed", range(8))
def test_every_answer_is_the_rules(journal: Any, log: Log, seed: int) -> None:
    rng = random.Random(seed)
    venue = Venue(journal, rng)
    bare = Log(journal.home, log.now_us, poll_every_s=0, row_bytes=0, index_bytes=0)
    words: dict[str, int] = defaultdict(int)
    for _ in range(40):
        for _ in range(rng.randint(1, 20)):
            venue.act()
        journal.heard(venue.conn, venue.now)
        before = venue.now // HOUR
        journal.flush(before)
        if rng.random() < 0.3:
            journal.seal()
        for ts in instants(journal, rng, 8):
            market = rng.choice(MARKETS)
            want = by_the_word(journal, market, ts)
            words[want if isinstance(want, str) else "book"] += 1
            for reader in (log, bare):
                got = answered(reader, market, ts)
                assert got == want or (want == "no_data_available" and got == "market_not_found"), (market, ts)
    assert words["book"] > 50
    assert words["data_gap"] > 20
    whole = Log(journal.home, log.now_us)
    for ts in instants(journal, rng, 60):
        for market in MARKETS:
            assert answered(whole, market, ts) == answered(log, market, ts)


@pytest.mark.parametrize("seed", range(6))
def test_the_timeline_and_the_instant_agree(journal: Any, log: Log, seed: int) -> None:
    rng = random.Random(100 + seed)
    venue = Venue(journal, rng)
    for _ in range(30):
        for _ in range(rng.randint(1, 20)):
            venue.act()
        journal.flush(venue.now // HOUR)
    with log.asked() as shards:
        for market in MARKETS:
            line = timeline(shards[0], market)
            gaps = Intervals((gap.from_us, gap.to_us or 1 << 60) for gap in line.gaps)
            for ts in instants(journal, rng, 200):
                known = isinstance(state_at(shards[0], market, ts), Known)
                assert known == (line.known.holding(ts) is not None), (market, ts)
                if known:
                    assert gaps.holding(ts) is None
                elif line.spans and line.spans[0].from_us <= ts and answered(log, market, ts) == "data_gap":
                    assert gaps.holding(ts) is not None


@pytest.mark.parametrize("seed", range(4))
def test_pages_hold_every_change_once_in_order(journal: Any, log: Log, seed: int) -> None:
    rng = random.Random(200 + seed)
    venue = Venue(journal, rng)
    for _ in range(30):
        for _ in range(rng.randint(1, 20)):
            venue.act()
        journal.flush(venue.now // HOUR)
    start, end = H0 * HOUR, venue.now + 1
    for market in MARKETS:
        rows = [row for row in journal.logged if row["ticker"] == market and row["kind"] in {DELTA, ORPHAN}]
        found: list[Any] = []
        cursor = None
        while True:
            page = deltas(log, market, start, end, 7, cursor, orphans=True)
            found += page.rows
            cursor = page.next_cursor
            assert page.has_more == (cursor is not None)
            if not page.has_more:
                break
        assert [row.key for row in found] == sorted(row.key for row in found)
        assert sorted((row.ts_us, row.conn, row.seq, row.change_e2) for row in found) == sorted(
            (row["ts_recv"], row["conn"], row["seq"], row["qty_e2"]) for row in rows
        )
        known = [row for row in found if row.kind == DELTA]
        assert known == deltas(log, market, start, end, 10_000).rows
