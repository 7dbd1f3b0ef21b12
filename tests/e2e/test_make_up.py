"""The first command of the README, for real: it serves a live book, prints lines that work, and stops cleanly."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.stack import ROOT, free_port, until


def _lines(output: Path) -> list[str]:
    return output.read_text().splitlines()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _started_by(home: Path) -> list[int]:
    """Return the living processes whose environment names the home."""
    mark = f"KALSHIBOOK_HOME={home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("stop", ["Ctrl-C", "SIGTERM to make"])
def test_make_up(tmp_path: Path, stop: str) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI", "PORT"))}
    port, output = free_port(), tmp_path / "output"
    env = clean | {"KALSHIBOOK_HOME": str(tmp_path / "home"), "KALSHIBOOK_PORT": str(port)}
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["make", "up"], cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            until(lambda: any("Ctrl-C" in line for line in _lines(output)), 110)
            curls = [line.strip() for line in _lines(output) if line.strip().startswith("curl")]
            answers = [json.loads(subprocess.check_output(["bash", "-c", line], timeout=20)) for line in curls]
            assert len(answers) == 3
            assert answers[0]["quality"]["complete"] is True
            assert answers[1]["quality"]["complete"] is True
            assert answers[1]["market_ticker"] == answers[2]["data"]["market_ticker"]
            assert len(_started_by(tmp_path / "home")) >= 4
            if stop == "Ctrl-C":
                os.killpg(process.pid, signal.SIGINT)
            else:
                process.terminate()
            until(lambda: not _started_by(tmp_path / "home") and _is_free(port), 5)
            process.wait(5)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
