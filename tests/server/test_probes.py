"""The probes: alive, able, fresh, and what is wrong where not."""

from pathlib import Path
from typing import Any

import pytest

from book.errors import CorruptError
from server.app import create_app
from server.probes import freshness
from tests.server.conftest import NOW, SECOND, Client, ask, settings, text
from tests.server.test_problems import Fails


@pytest.mark.parametrize("path", ["/healthz", "/health"])
def test_alive_needs_no_key(client: Client, path: str) -> None:
    answer = client.get(path, key=None)
    assert answer.status_code == 200
    assert list(answer.json()) == ["status", "request_id", "response_time"]
    assert answer.json()["status"] == "ok"


def test_ready_where_the_log_is_fresh(client: Client) -> None:
    answer = client.get("/readyz", key=None)
    assert answer.status_code == 200
    assert list(answer.json()) == ["status", "log", "feed", "request_id", "response_time"]
    assert [answer.json()[name] for name in ("status", "log", "feed")] == ["ready", "ok", "ok"]


def not_ready(home: Path, questions: Any = None, **more: Any) -> dict[str, str]:
    answer = ask(create_app(settings(home, **more), questions), "GET", "/readyz", key=None)
    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
    assert answer.headers["retry-after"] == "1"
    return dict(answer.json())


def test_a_feed_that_stopped_is_named(home: Path) -> None:
    told = not_ready(home, now_us=lambda: NOW + 59 * SECOND)
    assert (told["log"], told["feed"]) == ("ok", f"the recording ends at {text(599)}, 60 seconds ago")


def test_a_home_without_a_log_is_named(tmp_path: Path) -> None:
    assert not_ready(tmp_path)["feed"] == "nothing has been recorded yet"


@pytest.mark.parametrize("error", [CorruptError("/a/b", 7, "crc"), PermissionError("no")])
def test_a_log_that_cannot_be_read_is_named_without_its_path(tmp_path: Path, error: Exception) -> None:
    told = not_ready(tmp_path, Fails(error))
    assert told["log"] == f"cannot be read: {type(error).__name__}"


def test_a_log_that_does_not_answer_is_named(tmp_path: Path) -> None:
    assert "too many" in not_ready(tmp_path, Fails(OSError()), threads=0, waiting=0)["log"]


def test_freshness_ends_exactly_at_its_bound() -> None:
    assert freshness(NOW - 15 * SECOND, NOW, 15 * SECOND) == "ok"
    assert freshness(NOW - 15 * SECOND - 1, NOW, 15 * SECOND) != "ok"
    assert freshness(NOW + 15, NOW, 0) == "ok"
