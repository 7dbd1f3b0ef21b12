"""A market whose published hours come from two shards, and the live hour behind them: no answer mixes the two."""

from pathlib import Path

import pytest

from book.errors import ApiError
from book.records import HOUR_US, Level
from lake.journal.flush import Silence
from lake.publishing.publish import publish_hours
from query.coverage import coverage, gaps
from query.log import Log
from query.point import book_at
from query.ranges import deltas, trades
from tests.lake.handlog import CONN, H0, T0, HandLog, S

ZERO, ONE = CONN, CONN + 1
HOUR = HOUR_US
SKEW = 40
"""How much later shard 1 receives everything, in microseconds."""


def level(number: int) -> Level:
    return (0, 4500, 10 + number)


class Pair:
    """The same changes in the logs of two shards, numbered differently."""

    def __init__(self, home: Path) -> None:
        self.logs = {ZERO: HandLog(home), ONE: HandLog(home, 1)}
        self.seq = {ZERO: 1, ONE: 100}
        self.size = 100
        for conn, log in self.logs.items():
            log.snapshot("A", T0 + S + self.skew(conn), self.seq[conn], [(0, 4500, 100)], conn=conn)

    def skew(self, conn: int) -> int:
        return SKEW if conn == ONE else 0

    def change(self, at_us: int, change_e2: int, *, first: bool = False) -> None:
        """Log a change in both, with a checkpoint before it where it is the hour's first."""
        for conn, log in self.logs.items():
            if first:
                log.checkpoint("A", at_us // HOUR * HOUR, self.seq[conn], [(0, 4500, self.size)], conn=conn)
            self.seq[conn] += 1
            log.delta("A", at_us + self.skew(conn), self.seq[conn], (0, 4500, change_e2), conn=conn)
        self.size += change_e2

    def flush(self, hour: int, silent: int | None = None, *, until_us: int | None = None) -> None:
        start_us = hour * HOUR
        for conn, log in self.logs.items():
            silences = [Silence(conn, start_us + 1800 * S, start_us + 1900 * S)] if conn == silent else []
            mark = (start_us + HOUR + S if until_us is None else until_us, self.seq[conn], 1)
            log.flush(hour, {conn: mark}, silences)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """H0 from shard 0, H0 + 1 from shard 1, H0 + 2 too and quiet, H0 + 3 live: silent in shard 1 for a while."""
    pair = Pair(tmp_path / "home")
    for number in range(3):
        pair.change(T0 + (10 + number) * S, 1 + number)
    pair.flush(H0)
    for number in range(3):
        pair.change(T0 + HOUR + (10 + number) * S, 10 + number, first=not number)
    pair.flush(H0 + 1, ZERO)
    pair.flush(H0 + 2, ZERO)
    for number in range(2):
        pair.change(T0 + 3 * HOUR + (10 + number) * S, 100 + number, first=not number)
    pair.flush(H0 + 3, ONE, until_us=T0 + 3 * HOUR + 2000 * S)
    for hour in (H0, H0 + 1, H0 + 2):
        assert publish_hours(tmp_path / "lake", tmp_path / "home", [hour], now_us=lambda: T0 + 4 * HOUR) is not None
    return Log(tmp_path / "home", lambda: T0 + 3 * HOUR + 2000 * S, lake=tmp_path / "lake", poll_every_s=0.0)


def size(log: Log, at_us: int) -> tuple[int, int]:
    found = book_at(log, "A", at_us)
    ((_, _, size_e2),) = found.book.levels()
    return size_e2, found.conn


def test_each_instant_is_answered_from_the_shard_of_its_hour(log: Log) -> None:
    assert size(log, T0 + 12 * S) == (106, ZERO)
    assert size(log, T0 + HOUR - 1) == (106, ZERO)
    assert size(log, T0 + HOUR) == (106, ONE)
    assert size(log, T0 + HOUR + 10 * S + SKEW - 1) == (106, ONE), "shard 0 has the change by then"
    assert size(log, T0 + HOUR + 12 * S + SKEW) == (139, ONE)
    assert size(log, T0 + 2 * HOUR + 5 * S) == (139, ONE)
    assert size(log, T0 + 3 * HOUR - 1) == (139, ONE)


def test_the_live_hour_is_each_shards_own(log: Log) -> None:
    assert size(log, T0 + 3 * HOUR) == (139, ZERO)
    assert size(log, T0 + 3 * HOUR + 11 * S) == (340, ZERO)
    assert size(log, T0 + 3 * HOUR + 1850 * S) == (340, ZERO), "shard 1 is silent"


def test_a_quiet_market_goes_on_in_the_shard_that_it_was_published_from(tmp_path: Path) -> None:
    """Shard 0 has not what became of the book since: what it has of before is no book of now."""
    pair = Pair(tmp_path / "home")
    pair.flush(H0)
    pair.change(T0 + HOUR + 10 * S, 5, first=True)
    pair.flush(H0 + 1, ZERO)
    pair.flush(H0 + 2, until_us=T0 + 2 * HOUR + 9 * S)
    for hour in (H0, H0 + 1):
        assert publish_hours(tmp_path / "lake", tmp_path / "home", [hour], now_us=lambda: T0 + 3 * HOUR) is not None
    log = Log(tmp_path / "home", lambda: T0 + 2 * HOUR + 9 * S, lake=tmp_path / "lake", poll_every_s=0.0)
    for at_us in (T0 + 2 * HOUR, T0 + 2 * HOUR + 8 * S):
        assert size(log, at_us) == (105, ONE)
    alone = Log(tmp_path / "home", log.now_us, [0], lake=tmp_path / "lake", poll_every_s=0.0)
    assert size(alone, T0 + 2 * HOUR - 1) == (105, ONE), "a published hour is everybody's"
    for at_us in (T0 + 2 * HOUR, T0 + 2 * HOUR + 8 * S):
        with pytest.raises(ApiError) as refused:
            book_at(alone, "A", at_us)
        assert refused.value.code == "not_yet_known"


def test_a_range_over_a_switch_has_every_change_once_and_says_where_it_is(log: Log) -> None:
    page = deltas(log, "A", T0, T0 + 3 * HOUR)
    assert [row.change_e2 for row in page.rows] == [1, 2, 3, 10, 11, 12]
    assert [row.conn for row in page.rows] == [ZERO] * 3 + [ONE] * 3
    marks = [(gap.reason, gap.from_us, gap.to_us) for gap in page.gaps]
    assert marks == [("shard_switch", T0 + HOUR, T0 + HOUR)]
    assert not page.complete
    inside = deltas(log, "A", T0 + HOUR, T0 + 3 * HOUR)
    assert (inside.gaps, inside.complete) == ([], True)


def test_the_live_hour_behind_is_a_switch_too_where_another_shard_answers(log: Log) -> None:
    page = deltas(log, "A", T0, T0 + 3 * HOUR + 1000 * S)
    assert [row.change_e2 for row in page.rows] == [1, 2, 3, 10, 11, 12, 100, 101]
    assert [gap.from_us for gap in page.gaps] == [T0 + HOUR, T0 + 3 * HOUR]


def test_cursors_lead_over_the_switch(log: Log) -> None:
    found: list[int] = []
    cursor: str | None = None
    for _ in range(10):
        page = deltas(log, "A", T0, T0 + 3 * HOUR, 1, cursor)
        found += [row.change_e2 for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [1, 2, 3, 10, 11, 12]


def test_a_cursor_into_an_hour_that_another_shard_was_published_for_is_refused(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "home")
    for number in range(3):
        pair.change(T0 + (10 + number) * S, 1 + number)
    pair.flush(H0)
    now_us = T0 + HOUR + 9 * S
    log = Log(tmp_path / "home", lambda: now_us, lake=tmp_path / "lake", poll_every_s=0.0)
    first = deltas(log, "A", T0, T0 + HOUR, 1)
    assert [row.conn for row in first.rows] == [ZERO]
    pair.flush(H0, ZERO)  # a silence shows
    assert publish_hours(tmp_path / "lake", tmp_path / "home", [H0], now_us=lambda: T0 + 3 * HOUR) is not None
    with pytest.raises(ApiError) as refused:
        deltas(log, "A", T0, T0 + HOUR, 1, first.next_cursor)
    assert refused.value.code == "invalid_cursor"


def test_coverage_tells_each_span_once_and_marks_the_switch(log: Log) -> None:
    found = coverage(log, "A")
    spans = [(span.shard, span.from_us - T0, span.end_reason) for span in found.spans]
    assert spans == [
        (0, S, "shard_switch"), (1, HOUR, None), (0, 3 * HOUR, None),
    ]  # fmt: skip
    assert [(gap.reason, gap.from_us, gap.to_us) for gap in found.gaps] == [("shard_switch", T0 + HOUR, T0 + HOUR)]
    assert (found.stats.snapshot_count, found.stats.delta_count) == (1, 6 + 2 * 2), "live hours count for each shard"
    listed = gaps(log, T0, T0 + 3 * HOUR, ticker="A").gaps
    assert [gap.reason for gap in listed] == ["shard_switch"]


def test_the_exchanges_clock_is_not_led_over_a_switch(log: Log) -> None:
    """Just before it the new shard's book speaks only once its conn has shown more; nothing is guessed in between."""
    right = {T0 + 11 * S: 103, T0 + HOUR + 11 * S + SKEW: 127}
    for at_us, size_e2 in right.items():
        ((_, _, found_e2),) = book_at(log, "A", at_us, clock="exchange").book.levels()
        assert found_e2 == size_e2
    with pytest.raises(ApiError) as refused:
        book_at(log, "A", T0 + HOUR - S, clock="exchange")
    assert (refused.value.code, refused.value.fields["reason"]) == ("data_gap", "shard_switch")


def test_trades_are_not_marked_by_a_books_switch(log: Log) -> None:
    assert [gap for gap in trades(log, "A", T0, T0 + 3 * HOUR).gaps if gap.reason == "shard_switch"] == []
