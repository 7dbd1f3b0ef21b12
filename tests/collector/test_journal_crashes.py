"""What a crash cut short is closed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from book.records import HOUR_US, Kind, Reason
from collector import crashes
from collector.conns import Conn
from collector.spans import Spans
from collector.taken import Taken
from lake import paths
from tests.collector.journals import CONN, H0, T0, Killed, drop, faulty, hours, opened


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the disk, and in which order, matters here; whether the power may fail does not."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(os, "fdatasync", lambda _: None)


# crashes


class Shard:
    """Spans of two conns over a journal, to be left at any moment."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.journal = opened(home)
        self.spans = Spans()
        self.conns: list[Conn] = []
        self.seq = 0

    def conn(self) -> Conn:
        conn = Conn(CONN + 1024 * len(self.conns), 1, 3, "orderbook_delta", T0)
        self.conns.append(conn)
        self.spans.conns[conn.id] = conn
        return conn

    def snapshot(self, conn: Conn, ticker: str, ts_us: int) -> None:
        conn.tracker.last += 1
        conn.frame_us = conn.order_us = ts_us
        conn.tabled += self.spans.snapshot(conn, self.spans.market(ticker), ts_us, conn.tracker.last, ((0, 4500, 100),))

    def flush(self, hour: int = H0, at_us: int = T0 + 1) -> None:
        tables, reach = self.spans.take()
        conns = {conn.id: (conn.frame_us, conn.tracker.last, conn.up, conn.apart) for conn in self.conns}
        self.journal.write(hour, Taken(tables, conns, [], reach, at_us))

    def restart(self, hour: int = H0) -> list[tuple[Any, ...]]:
        """Die and come back; return the closes that this wrote: (ticker, ts - T0, conn, seq, reason)."""
        drop(self.journal)
        before = [hour.table("orderbook").num_rows for hour in hours(self.home)]
        self.journal = opened(self.home)
        count = self.journal.close_crashed(hour)
        found = []
        for index, one in enumerate(hours(self.home)):
            rows = one.table("orderbook").slice(before[index] if index < len(before) else 0)
            for row in rows.to_pylist():
                assert row["kind"] == Kind.CLOSE
                stamp = int(row["ts_recv"].timestamp() * 1_000_000)
                found.append((row["ticker"], round(stamp - T0), row["conn"], row["seq"], row["reason"]))
        assert count == len(found)
        return sorted(found)


def test_open_spans_are_closed_at_the_last_frame_their_conn_had(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.snapshot(conn, "B", T0 + 200)
    conn.frame_us = T0 + 5_000
    shard.flush(at_us=T0 + 6_000)
    closes = shard.restart()
    assert closes == [(ticker, 5_001, conn.id, 2, "crash") for ticker in ("A", "B")]
    assert hours(tmp_path)[0].conns[conn.id] == (T0 + 5_000, 2, 0, 0)
    assert shard.restart() == []
    shard.journal.close()


def test_a_span_that_had_ended_is_not_closed_again(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.snapshot(conn, "B", T0 + 200)
    shard.spans.unsubscribed(conn, shard.spans.market("A"), T0 + 300, 3, Reason.UNSUBSCRIBED)
    conn.frame_us = T0 + 5_000
    shard.flush()
    assert [close[0] for close in shard.restart()] == ["B"]
    shard.journal.close()


def test_a_span_that_had_ended_later_than_its_conn_was_heard_is_closed_there(tmp_path: Path) -> None:
    """Moved to another connection while its own was silent: what that one last knew is older than the move."""
    shard = Shard(tmp_path)
    old, new = shard.conn(), shard.conn()
    shard.snapshot(old, "A", T0 + 100)
    shard.snapshot(new, "A", T0 + 9_000)
    old.frame_us = T0 + 200
    shard.flush()
    assert shard.restart() == [
        ("A", 201, old.id, 1, "crash"),
        ("A", 9_001, new.id, 1, "crash"),
    ]
    shard.journal.close()


def test_spans_are_found_in_earlier_hours_and_their_closes_reach_back(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.flush()
    conn.frame_us = T0 + 2 * HOUR_US + 7
    shard.flush(H0 + 2, T0 + 2 * HOUR_US + 9)
    assert shard.restart(H0 + 3) == [("A", 2 * HOUR_US + 8, conn.id, 1, "crash")]
    assert hours(tmp_path)[-1].reach == {H0 + 2}
    shard.journal.close()


def test_killed_while_it_closes_a_crash_it_is_closed_by_the_next(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.flush()
    drop(shard.journal)
    again = opened(tmp_path)

    def fault(name: str, act: Callable[[], Any]) -> Any:
        if name == "fdatasync":
            raise Killed(name)
        return act()

    with faulty(fault), pytest.raises(Killed):
        again.close_crashed(H0)
    drop(again)
    shard.journal = opened(tmp_path)
    assert shard.journal.close_crashed(H0) == 1
    shard.journal.close()


def test_a_clean_end_leaves_nothing_to_close(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.spans.end_conn(conn, T0 + 100, T0 + 300, 1, Reason.SHUTDOWN)
    conn.up = False
    shard.flush()
    assert shard.restart() == []
    shard.journal.close()


def test_a_crash_is_closed_from_a_part_of_the_log_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas of many hours are passed over by the column, a part at a time."""
    monkeypatch.setattr(crashes, "BATCHES_A_PART", 2)
    shard = Shard(tmp_path)
    conn = shard.conn()
    shard.snapshot(conn, "A", T0 + 100)
    shard.snapshot(conn, "B", T0 + 200)
    for number in range(7):
        ones = np.ones(500, np.int64)
        seq = np.arange(500) + 3 + 500 * number
        shard.spans.deltas(conn, 0 * ones, T0 + seq, T0 + seq, seq, 0 * ones, 4500 * ones, ones)
        conn.tracker.last = int(seq[-1])
        conn.frame_us = T0 + int(seq[-1])
        shard.flush()
    assert [close[0] for close in shard.restart()] == ["A", "B"]
    shard.journal.close()


def test_conns_whose_numbers_run_hours_ahead_of_their_rows_are_closed(tmp_path: Path) -> None:
    """A number is raised above the shard's last one, however far that lies ahead of the clock."""
    shard = Shard(tmp_path)
    conn = Conn(CONN + 1024 * 5 * 3_600_000, 1, 3, "orderbook_delta", T0)
    shard.conns.append(conn)
    shard.spans.conns[conn.id] = conn
    shard.snapshot(conn, "A", T0 + 100)
    shard.flush()
    assert shard.restart(H0 + 1) == [("A", 101, conn.id, 1, "crash")]
    shard.journal.close()


def test_of_many_conns_each_market_is_closed_on_the_ones_that_knew_it_last(tmp_path: Path) -> None:
    """Twenty book conns over two hours, some ended, and conns of other channels beside them, which close nothing."""
    shard = Shard(tmp_path)
    conns = [shard.conn() for _ in range(20)]
    tape = shard.conn()
    for number, conn in enumerate(conns):
        for market in range(3):
            shard.snapshot(conn, f"M{number}-{market}", T0 + 1000 * number + market)
    shard.flush()
    for number, conn in enumerate(conns):
        conn.frame_us = T0 + HOUR_US + 10 * number
        if number % 5 == 0:
            shard.spans.end_conn(conn, conn.frame_us, conn.frame_us + 5, conn.tracker.last, Reason.DISCONNECT)
            conn.up = False
    tape.frame_us = T0 + HOUR_US + 500
    shard.flush(H0 + 1, T0 + HOUR_US + 600)
    closes = shard.restart(H0 + 2)
    assert closes == sorted(
        (f"M{number}-{market}", HOUR_US + 10 * number + 1, conn.id, 3, "crash")
        for number, conn in enumerate(conns)
        if number % 5
        for market in range(3)
    )
    marks = hours(tmp_path)[-1].conns
    assert not any(marks[conn.id].up for conn in (*conns, tape) if conn.id in marks)
    assert tape.id in marks
    assert shard.restart(H0 + 2) == []
    shard.journal.close()


def test_the_search_ends_with_the_hours_that_can_hold_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days of log before the conn began, and before the last midnight, are not read."""
    read: list[int] = []
    real = crashes._bases_and_closes

    def noted(hour: Any, conns: list[int]) -> Any:
        read.append(hour.hour)
        return real(hour, conns)

    monkeypatch.setattr(crashes, "_bases_and_closes", noted)
    first = H0 - H0 % 24 + 20
    shard = Shard(tmp_path)
    early, late = shard.conn(), shard.conn()
    at = paths.hour_start_us
    shard.snapshot(early, "E", at(first) + 1)
    for hour in range(first, first + 9):
        early.frame_us = at(hour) + 5
        if hour == first + 3:
            early.up = False
            shard.spans.end_conn(early, at(hour) + 5, at(hour) + 9, 1, Reason.DISCONNECT)
        if hour == first + 3:
            shard.snapshot(late, "L", at(hour) + 20)
        late.frame_us = at(hour) + 30
        if hour == first + 4:
            shard.spans.midnight(late, 10)
        shard.conns = [conn for conn in (early, late) if conn.up and (conn is early or hour >= first + 3)]
        shard.flush(hour, at(hour) + 40)
    assert [close[0] for close in shard.restart(first + 9)] == ["L"]
    assert read == [first + number for number in (8, 7, 6, 5, 4)], "nothing before the midnight between 3 and 4"
    shard.journal.close()
