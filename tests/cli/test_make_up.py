"""``make up`` as a person runs it: real processes, the printed lines, and a clean stop."""

import json
import os
import shlex
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cli.up import require_free_ports
from ops.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def make_up(home: Path, settings: Settings) -> Iterator[subprocess.Popen[str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI", "PORT"))}
    clean |= {
        "KALSHIBOOK_HOME": str(home),
        "KALSHIBOOK_PORT": str(settings.port),
        "KALSHIBOOK_EXCHANGE_WS_PORT": str(settings.exchange_ws_port),
        "KALSHIBOOK_EXCHANGE_HTTP_PORT": str(settings.exchange_http_port),
    }
    process = subprocess.Popen(
        ["make", "up"],
        cwd=ROOT, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0,
    )  # fmt: skip
    bound = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
    bound.start()
    try:
        with process:
            yield process
    finally:
        bound.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ours(home: Path) -> list[int]:
    """Return the processes whose environment names ``home``."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if f"KALSHIBOOK_HOME={home}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(int(pid))
    return found


def asked_as_curl_would(line: str) -> dict[str, Any]:
    """Make the request of a printed curl line: the machine may have no curl."""
    words = shlex.split(line)
    assert words[:2] == ["curl", "-s"]
    headers = {}
    body = None
    for option, value in zip(words[2:-1:2], words[3:-1:2], strict=True):
        if option == "-H":
            name, _, text = value.partition(": ")
            headers[name] = text
        else:
            assert option == "-d"
            body = value.encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(words[-1], body, headers), timeout=20) as answer:
        assert answer.status == 200
        answered: dict[str, Any] = json.load(answer)
        return answered


def by_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def by_make(process: subprocess.Popen[str]) -> None:
    process.terminate()


@pytest.mark.parametrize("stop", [by_group, by_make])
def test_it_serves_a_live_book_and_stops_cleanly(tmp_path: Path, stop: Callable[[subprocess.Popen[str]], None]) -> None:
    settings = Settings(port=free_port(), exchange_ws_port=free_port(), exchange_http_port=free_port())
    with make_up(tmp_path, settings) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        curls = [line for line in lines if line.startswith("  curl ")]
        assert len(curls) == 3, lines
        now, then, coverage = map(asked_as_curl_would, curls)

        stop(process)
        rest = process.stdout.read()
        process.wait()

    assert now["quality"]["complete"]
    assert then["market_ticker"] == now["market_ticker"]
    assert then["quality"]["complete"]
    assert coverage["data"]
    assert "stopped\n" in rest
    assert "kill" not in rest
    ends = time.monotonic() + 20
    while ours(tmp_path):
        assert time.monotonic() < ends, "a process outlived make up"
        time.sleep(0.01)
    require_free_ports(settings)
