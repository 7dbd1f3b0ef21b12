"""Tests of cli.roles: the exchange as a process."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import msgspec
import pytest

from cli.roles import ExchangeReady
from ops.settings import Settings


def start(home: Path, *options: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI", "PORT"))}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "exchange", *options],
        env=clean | {"KALSHIBOOK_HOME": str(home)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_it_announces_its_addresses_and_stops_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "ready.json"
    with start(tmp_path, "--markets", "2", "--ready-file", str(file)) as process:
        assert process.stdout is not None
        printed = dict(process.stdout.readline().strip().split("=", 1) for _ in range(4))
        ends = time.monotonic() + 20
        while not file.exists():
            assert time.monotonic() < ends
            time.sleep(0.01)
        ready = msgspec.json.decode(file.read_bytes(), type=ExchangeReady)

        assert printed == ready.environ()
        assert Settings.from_env(printed).kalshi_ws_url == f"ws://127.0.0.1:{ready.ws_port}/trade-api/ws/v2"
        assert stat.S_IMODE(Path(ready.private_key_path).stat().st_mode) == 0o600
        assert httpx.get(f"{ready.rest_url}/exchange/status", trust_env=False).status_code == 200

        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_on_a_leash_it_stops_with_its_standard_input(tmp_path: Path) -> None:
    with start(tmp_path, "--markets", "2", "--leash") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("KALSHI_WS_URL=ws://127.0.0.1:")
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.mark.parametrize("options", [("--capture", "/no/such/folder"), ("--markets", "0"), ("--ws-port", "65536")])
def test_what_cannot_be_run_is_exit_2(tmp_path: Path, options: tuple[str, ...]) -> None:
    with start(tmp_path, *options) as process:
        out, err = process.communicate(timeout=20)

    assert process.returncode == 2
    assert out == ""
    assert err
    assert "Traceback" not in err
