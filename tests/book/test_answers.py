"""What REST says of itself, and what it may leave out."""

from typing import Any

import pytest

from book.wire.answers import (
    Budget,
    Window,
    decode_exchange_state,
    decode_maintenance,
    decode_read_budget,
    error_text,
)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"code":"c","message":"m","details":"d","service":"s"}', "c: m: d"),
        (b'{"error":{"code":"c","message":"m"}}', "c: m"),
        (b'{"error":"too many requests"}', "too many requests"),
        (b"<html>bad</html>", "<html>bad</html>"),
        (b"{}", "{}"),
        (b"\xff" * 500, "\ufffd" * 200),
    ],
)
def test_a_refusal_in_each_form(body: bytes, text: str) -> None:
    assert error_text(body) == text


@pytest.mark.parametrize(
    ("document", "budget"),
    [
        ({"read": {"refill_rate": 200, "bucket_capacity": 400}}, Budget(200, 400)),
        ({}, None),
        ({"read": None}, None),
        ({"read": {"refill_rate": 200}}, None),
        ({"read": {"refill_rate": "x", "bucket_capacity": 1}}, None),
        ({"read": {"refill_rate": 0, "bucket_capacity": 1}}, None),
        ({"read": {"refill_rate": 1, "bucket_capacity": -1}}, None),
    ],
)
def test_limits(document: Any, budget: Budget | None) -> None:
    assert decode_read_budget(document) == budget


def part(index: Any, exchange: Any = True, trading: Any = True) -> dict[str, Any]:
    return {"exchange_index": index, "exchange_active": exchange, "trading_active": trading}


def test_a_state_with_its_parts() -> None:
    state = decode_exchange_state(
        {
            "exchange_active": True,
            "trading_active": True,
            "exchange_estimated_resume_time": None,
            "exchange_index_statuses": [part(0), part(1, trading=False), part(2, exchange=False), part("x"), None],
        }
    )
    assert state == (True, True, frozenset({1, 2}), None)


@pytest.mark.parametrize("document", [{}, {"exchange_active": None}, {"error": "down"}])
def test_what_is_no_state(document: Any) -> None:
    assert decode_exchange_state(document) is None


def test_a_state_may_leave_out_all_but_one_field() -> None:
    assert decode_exchange_state({"exchange_active": False}) == (False, True, frozenset(), None)


def test_windows_of_maintenance() -> None:
    windows = [
        {"start_datetime": "2026-11-26T03:00:00-05:00", "end_datetime": "2026-11-26T05:00:00-05:00"},
        {"start_datetime": "soon", "end_datetime": "2026-11-26T05:00:00-05:00"},
        {"start_datetime": "2026-11-26T06:00:00Z", "end_datetime": "2026-11-26T05:00:00Z"},
        {},
        None,
    ]
    assert decode_maintenance({"schedule": {"maintenance_windows": windows}}) == [
        Window(1_795_680_000_000_000, 1_795_687_200_000_000)
    ]


@pytest.mark.parametrize("document", [{}, {"schedule": None}, {"schedule": {"maintenance_windows": None}}])
def test_a_schedule_without_windows(document: Any) -> None:
    assert decode_maintenance(document) == []
