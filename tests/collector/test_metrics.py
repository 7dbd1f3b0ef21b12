"""What a collector shows: its figures under their names, and what /readyz misses."""

import time
from typing import Any

import pyarrow as pa
import pytest

from collector import metrics
from collector.figures import Figures
from collector.links import Role, Slot
from collector.metrics import Seen, Watch
from lake.schemas import TABLES

UP = {Slot(0, Role.TAPE): True, Slot(0, Role.LIFECYCLE): True, Slot(0, Role.BOOKS): True, Slot(1, Role.BOOKS): True}
FIGURES = Figures(
    messages={"delta": 7, "trade": 2},
    verdicts={"gap": 1},
    closes={"seq_gap": 3, "shutdown": 4},
    audits_equal=5,
    audits_unequal=6,
    audits_asked=12,
    reconnects=8,
    commands_refused=9,
    listed=20,
    live=18,
    waiting=2,
    without_room=1,
    up=UP,
)


def seen(**more: Any) -> Seen:
    values: dict[str, Any] = {"figures": FIGURES, "queued": 11, "segment_age_s": 2.5, "offset_us": 1500}
    return Seen(**{**values, "free_bytes": 99, "stopped": False, "raw_bytes": 5000, "raw_failures": 3, **more})


def ready() -> Watch:
    watch = Watch()
    watch.seen = seen()
    watch.flushed(0.004, {})
    return watch


def test_each_figure_is_shown_under_its_name() -> None:
    watch = ready()
    watch.ended(Slot(0, Role.BOOKS), "1006")
    shown = watch.registry.get_sample_value
    for name, value in (
        ("live_markets", 18), ("suspect_markets", 2), ("listed_markets", 20), ("markets_without_room", 1),
        ("queue_frames", 11), ("open_segment_age_seconds", 2.5), ("clock_offset_seconds", 0.0015),
        ("disk_free_bytes", 99), ("recording_stopped", 0), ("reconnects_total", 8), ("audits_asked_total", 12),
        ("commands_refused_total", 9), ("connections_wanted", 4), ("connections_subscribed", 4),
        ("flush_seconds_count", 1),
    ):  # fmt: skip
        assert shown(f"kalshibook_{name}") == value, name
    for name, labels, value in (
        ("messages_total", {"type": "delta"}, 7),
        ("sequence_verdicts_total", {"verdict": "gap"}, 1),
        ("closes_total", {"reason": "seq_gap"}, 3),
        ("audits_total", {"outcome": "equal"}, 5),
        ("audits_total", {"outcome": "unequal"}, 6),
        ("raw_bytes_total", {}, 5000),
        ("raw_failures_total", {}, 3),
        ("connections_ended_total", {"role": "books", "code": "1006"}, 1),
    ):
        assert shown(f"kalshibook_{name}", labels) == value, name


def test_frames_are_counted_at_the_age_of_their_flushs_oldest() -> None:
    watch = Watch()
    for _ in range(99):
        watch.waits.add(0.06, 1000)
    watch.waits.add(0.3, 1000)
    watch.waits.add(99.0, 5)
    shown = watch.registry.get_sample_value
    name = "kalshibook_socket_to_durable_seconds"
    assert shown(f"{name}_bucket", {"le": "0.05"}) == 0
    assert shown(f"{name}_bucket", {"le": "0.075"}) == 99_000
    assert shown(f"{name}_bucket", {"le": "0.25"}) == 99_000
    assert shown(f"{name}_bucket", {"le": "0.35"}) == 100_000
    assert shown(f"{name}_bucket", {"le": "30.0"}) == 100_000
    assert shown(f"{name}_bucket", {"le": "+Inf"}) == shown(f"{name}_count") == 100_005
    assert shown(f"{name}_sum") == pytest.approx(99 * 60 + 300 + 495)


def test_the_bounds_of_the_histogram_hold_the_target() -> None:
    assert 0.25 in metrics.DURABLE_S


def test_lag_is_receipt_minus_the_exchanges_time() -> None:
    watch = Watch()
    schema = TABLES["orderbook"]
    row: dict[str, Any] = {field.name: [None] for field in schema}
    row |= {"ticker": ["A"], "ts_recv": [5_200_000], "ts_exch": [5_000_000], "conn": [1], "seq": [1], "kind": [1]}
    watch.flushed(0.001, {"orderbook": pa.record_batch(row, schema=schema)})
    shown = watch.registry.get_sample_value
    assert shown("kalshibook_message_lag_seconds_sum") == pytest.approx(0.2)
    row["ts_exch"] = [None]
    watch.flushed(0.001, {"orderbook": pa.record_batch(row, schema=schema)})
    assert shown("kalshibook_message_lag_seconds_count") == 1


def test_ready_is_when_all_stands_and_flushes_are_fresh_and_recording_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    assert watch.missing() == ["no flush in the last 5 s", "recording has not begun"]
    watch = ready()
    assert watch.missing() == []
    watch.seen = seen(stopped=True)
    assert watch.missing() == ["recording is stopped: 99 bytes are free on the disk"]
    now_s = time.monotonic()
    monkeypatch.setattr("collector.metrics.time.monotonic", lambda: now_s + 5.1)
    watch.seen = seen()
    assert watch.missing() == ["no flush in the last 5 s"]


@pytest.mark.parametrize("slot", list(UP))
def test_each_connection_that_is_not_subscribed_is_missed(slot: Slot) -> None:
    watch = ready()
    watch.seen = seen(figures=FIGURES._replace(up={**UP, slot: False}))
    assert watch.missing() == [f"{slot.role.value} {slot.number}: not subscribed"]


@pytest.mark.parametrize("role", [Role.TAPE, Role.LIFECYCLE, Role.BOOKS])
def test_a_role_that_nothing_is_asked_for_is_missed(role: Role) -> None:
    watch = ready()
    watch.seen = seen(figures=FIGURES._replace(up={slot: up for slot, up in UP.items() if slot.role is not role}))
    assert watch.missing() == [f"{role.value}: no connection is asked for yet"]
