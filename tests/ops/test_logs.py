"""Tests of ops.logs."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from ops import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    logs.configure("tester", out)
    yield out
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_ts_level_event_and_the_fields(stream: io.StringIO) -> None:
    logs.get("some.module", conn=7).info("subscribed", sid=2)

    (line,) = lines(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("ts"))
    assert line == {
        "level": "info",
        "event": "subscribed",
        "role": "tester",
        "module": "some.module",
        "conn": 7,
        "sid": 2,
    }


def test_a_logger_made_before_configuration_follows_it(stream: io.StringIO) -> None:
    structlog.reset_defaults()
    early = logs.get("some.module")
    logs.configure("tester", stream)

    early.info("hello")

    assert [line["event"] for line in lines(stream)] == ["hello"]


def test_a_line_below_the_level_is_not_written(stream: io.StringIO) -> None:
    logs.get("some.module").debug("noise")

    assert lines(stream) == []


def test_a_traceback_stands_in_its_line(stream: io.StringIO) -> None:
    try:
        raise LookupError("lost")
    except LookupError:
        logs.get("some.module").exception("crashed")

    (line,) = lines(stream)
    assert line["level"] == "error"
    assert line["exception"].endswith("LookupError: lost")


def test_lines_of_libraries_have_the_same_form(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("slow %s", "disk")
    logging.getLogger("some.library").info("chatter")

    (line,) = lines(stream)
    assert (line["event"], line["level"], line["module"], line["role"]) == (
        "slow disk",
        "warning",
        "some.library",
        "tester",
    )
    assert "ts" in line


def test_a_storm_of_one_event_is_told_a_few_times_and_then_counted(stream: io.StringIO) -> None:
    now_s = [0.0]
    tell = logs.Limited(logs.get("m"), lambda: now_s[0], loud=("bad",), most=2, every_s=10.0)
    for number in range(5):
        tell("storm", number=number)
    tell("bad", number=9)
    now_s[0] = 10.0
    tell("storm", number=5)
    told = [(line["event"], line.get("number"), line.get("left_out"), line["level"]) for line in lines(stream)]
    assert told == [
        ("storm", 0, None, "info"),
        ("storm", 1, None, "info"),
        ("bad", 9, None, "error"),
        ("storm", None, 3, "info"),
        ("storm", 5, None, "info"),
    ]


def test_a_stream_that_takes_nothing_ends_nobody(stream: io.StringIO) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    logs.configure("tester", Full())
    logs.get("m").info("said")
    logging.getLogger("library").warning("said too")
    logs.configure("tester", stream)
    logs.get("n").info("heard")
    assert [line["event"] for line in lines(stream)] == ["heard"]
