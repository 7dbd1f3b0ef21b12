"""The model finds what is wrong: defects planted one at a time must come out as wrong answers or disorder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from book.records import Kind, Reason
from collector.clock import Stamper
from collector.conns import Conn
from collector.session import Session
from collector.spans import Spans
from query.shard import ShardLog
from query.withdrawal import Withdrawals
from tests.model.log_rows import Row, disorders
from tests.model.play import play

Plant = Callable[[pytest.MonkeyPatch], None]


def _closes_withdraw_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Withdrawals, "hides", lambda *_: False)


def _silences_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ShardLog, "silence", lambda *_: None)


def _what_is_not_heard_yet_is_known(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ShardLog, "known_until", lambda *_: 1 << 62)


def _gaps_begin_when_they_are_noticed(patch: pytest.MonkeyPatch) -> None:
    end_conn = Spans.end_conn

    def late(self: Spans, conn: Conn, last_us: int, reveal_us: int, seq: int, reason: Reason) -> None:
        end_conn(self, conn, reveal_us, reveal_us, seq, reason)

    patch.setattr(Spans, "end_conn", late)


def _spans_that_ended_are_not_reached(patch: pytest.MonkeyPatch) -> None:
    end_conn = Spans.end_conn

    def short(self: Spans, conn: Conn, *args: Any) -> None:
        conn.ended.clear()
        end_conn(self, conn, *args)

    patch.setattr(Spans, "end_conn", short)


def _steps_are_not_seen(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Spans, "clock_step", lambda *_: None)


def _stamps_may_equal_what_was_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Stamper, "claim", lambda self: self.last_us)


def _an_overflow_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Session, "_overflow", lambda _, link, __: [conn.tracker.expect_any() for conn in link.conns.values()])


PLANTED: list[tuple[Plant, str]] = [
    (_closes_withdraw_nothing, "silent"),
    (_silences_are_forgotten, "stall_5"),
    (_what_is_not_heard_yet_is_known, "stall_5"),
    (_gaps_begin_when_they_are_noticed, "gap"),
    (_spans_that_ended_are_not_reached, "move"),
    (_steps_are_not_seen, "step"),
    (_stamps_may_equal_what_was_told, "drift"),
    (_an_overflow_is_not_noticed, "overflow"),
]


@pytest.mark.parametrize(("plant", "kind"), PLANTED, ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_a_planted_defect_is_found(
    tmp_path: Path, recorded_data: Path | None, monkeypatch: pytest.MonkeyPatch, plant: Plant, kind: str
) -> None:
    plant(monkeypatch)
    runs = (
        play(tmp_path / str(seed), recorded_data, (kind,), seed=seed, seconds=20.0, files=2, questions=400)
        for seed in range(5, 15)
    )
    assert any(run.asked.wrong for run in runs)


def _row(place: int, ts_us: int, conn: int, seq: int, kind: Kind) -> Row:
    return Row(ts_us, conn, seq, kind, 0, 4500, 1, None, None, 0, place)


def test_a_delta_inside_another_conns_span_is_a_disorder() -> None:
    rows = [_row(0, 10, 1, 1, Kind.SNAPSHOT), _row(1, 20, 2, 1, Kind.SNAPSHOT), _row(2, 30, 1, 2, Kind.DELTA)]
    assert len(disorders(rows)) == 1
    assert disorders(rows[:2]) == []
    orphan = rows[2]._replace(kind=Kind.ORPHAN)
    assert disorders([*rows[:2], orphan]) == []


def test_a_number_that_falls_behind_in_the_file_is_a_disorder() -> None:
    rows = [_row(0, 10, 1, 5, Kind.SNAPSHOT), _row(1, 20, 1, 7, Kind.CLOSE), _row(2, 30, 1, 5, Kind.CLOSE)]
    assert disorders(rows) == [f"order: {rows[2]} after {(7, Kind.CLOSE)}"]
    later = [_row(0, 10, 1, 5, Kind.SNAPSHOT), _row(1, 20, 1, 6, Kind.DELTA), _row(2, 15, 1, 5, Kind.CLOSE)]
    assert disorders(later) == []
