"""The server as a process: real sockets, real signals."""

import json
import re
import signal
from pathlib import Path

import pytest

from ops.clock import RehearsalClock
from ops.settings import Settings, SettingsError
from server.app import create_app
from server.main import run, settings_from
from tests.server.conftest import GOLD, KEY, SECOND, settings, text
from tests.server.process import process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_serves_a_book_and_stops_cleanly(home: Path, tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "serve.err"
    with process(home, log) as (server, client):
        answer = client.get(f"/v1/orderbook/{GOLD}", params={"at": text(12)})
        assert answer.status_code == 200, answer.text
        assert answer.json()["best_yes_bid"] == 45.01
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        assert "server" not in answer.headers
        too_much = client.post("/v1/orderbook", json={"market_ticker": "A" * 3_000_000})
        assert too_much.json()["error"]["code"] == "payload_too_large"
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/orderbook/x", headers={"X-API-Key": KEY + "wrong"}).status_code == 401
        server.send_signal(number)
        assert server.wait(timeout=30) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    asked = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in asked][-4:] == [200, 413, 200, 401]
    assert all(re.fullmatch("req_[0-9a-f]{12}", line["request_id"]) for line in asked)
    assert (lines[-1]["event"], lines[-1]["level"]) == ("stopped", "info")
    assert KEY not in log.read_text()


def test_a_server_without_a_key_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="KALSHIBOOK_API_KEY"):
        run(Settings(home=tmp_path))
    unlocked = settings(tmp_path)
    object.__setattr__(unlocked, "api_key", "")
    with pytest.raises(ValueError, match="KALSHIBOOK_API_KEY"):
        create_app(unlocked)


def test_settings_follow_the_clock_of_a_rehearsal(tmp_path: Path) -> None:
    rehearsal = RehearsalClock.parse("2026-08-10T22:00:00Z@20@1795555000.0")
    own = settings_from(Settings(home=tmp_path, api_key=KEY, rehearsal=rehearsal, port=8123))
    assert own.fresh_us == 20 * 15 * SECOND
    assert own.public_url == "http://127.0.0.1:8123"
    assert KEY not in repr(own)
