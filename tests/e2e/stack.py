"""Exchange, collector and server as real processes over real sockets, for tests.

Owns starting, killing and stopping them, and nothing of what they are asked.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

KEY = "kb-test-0123456789abcdefghijklmnopqr"
ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


class Stack:
    """A home with its three processes; times shown run by ``rate`` where a rehearsal clock is set."""

    def __init__(self, home: Path, *, shown: str | None = None, rate: int = 1, lead_s: float = 4.0, **env: str) -> None:
        self.home = home
        self.rate = rate
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI", "DATABASE"))}
        self.env |= {"KALSHIBOOK_HOME": str(home), "KALSHIBOOK_API_KEY": KEY, "KALSHIBOOK_PORT": str(free_port())}
        self.env |= env
        self.anchor_s = time.time() + lead_s
        self.shown_us = 0
        if shown is not None:
            self.env["KALSHIBOOK_CLOCK"] = f"{shown}@{rate}@{self.anchor_s:.6f}"
            self.shown_us = int(datetime.fromisoformat(shown).timestamp()) * 1_000_000
        self.lake = home / "lake"
        self.url = f"http://127.0.0.1:{self.env['KALSHIBOOK_PORT']}"
        self.http = httpx.Client(base_url=self.url, headers={"X-API-Key": KEY}, timeout=30.0)
        self.control = httpx.Client(timeout=120.0)

    def start_exchange(self, *arguments: str) -> None:
        """Start the exchange and learn its addresses."""
        ready = self.home / "exchange.json"
        self._start("exchange", "exchange", "--ready-file", str(ready), *arguments)
        until(ready.exists, 60)
        told = json.loads(ready.read_text())
        self.env |= {
            "KALSHI_WS_URL": told["ws_url"],
            "KALSHI_REST_URL": told["rest_url"],
            "KALSHI_API_KEY_ID": told["key_id"],
            "KALSHI_PRIVATE_KEY_PATH": told["private_key_path"],
        }
        self.control.base_url = httpx.URL(f"http://127.0.0.1:{told['http_port']}/control/")

    def start_collector(self, shard: int = 0) -> None:
        """Start a collector on the home; the role of a shard but the first one ends in its number."""
        role = f"collect-{shard}" if shard else "collect"
        self._start(role, "collect", log="collect", KALSHIBOOK_SHARD=str(shard))

    def start_publisher(self) -> None:
        """Start a publisher on the home."""
        self._start("publish", "publish")

    def start_server(self) -> None:
        """Start a server on the home and wait until it answers."""
        self._start("serve", "serve")
        until(self._answers, 30)

    def command(self, *arguments: str) -> int:
        """Run an operator's command on the home to its end; return its exit code."""
        line = [sys.executable, "-m", "cli", *arguments]
        return subprocess.run(line, cwd=ROOT, env=self.env, timeout=300, check=False).returncode

    def kill(self, role: str) -> None:
        """Kill a process without warning."""
        process = self.processes.pop(role)
        process.kill()
        process.wait()

    def stop(self, role: str) -> int:
        """End a process as an operator would; return its exit code."""
        process = self.processes.pop(role)
        process.send_signal(signal.SIGTERM)
        return process.wait(20)

    def shown_now_us(self) -> int:
        """Return the time shown now."""
        if not self.shown_us:
            return int(time.time() * 1_000_000)
        return self.shown_us + int((time.time() - self.anchor_s) * 1_000_000) * self.rate

    def state(self) -> dict[str, Any]:
        """Return the exchange's own account of itself."""
        return dict(self.control.get("state").raise_for_status().json())

    def fault(self, **order: Any) -> dict[str, Any]:
        """Make the exchange commit a fault."""
        return dict(self.control.post("fault", json=order).raise_for_status().json())

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return what collectors of this home have logged under an event, in order."""
        lines = (self.home / "collect.err").read_text().splitlines()
        return [row for line in lines if (row := _json(line)) and row.get("event") == event]

    def _start(self, role: str, *arguments: str, log: str | None = None, **env: str) -> None:
        name, command = log or role, [sys.executable, "-m", "cli", *arguments]
        with (self.home / f"{name}.err").open("ab") as errors, (self.home / f"{name}.out").open("ab") as output:
            self.processes[role] = subprocess.Popen(command, cwd=ROOT, env=self.env | env, stdout=output, stderr=errors)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get("/healthz").status_code == httpx.codes.OK
        return False


@contextlib.contextmanager
def running(home: Path, **more: Any) -> Iterator[Stack]:
    """Give a stack and end whatever of it still runs."""
    stack = Stack(home, **more)
    try:
        yield stack
    finally:
        stack.http.close()
        stack.control.close()
        for process in stack.processes.values():
            process.terminate()
        late = [role for role, process in stack.processes.items() if not _has_ended(process)]
        assert not late, f"{late} did not stop within 15 s"


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def free_port() -> int:
    """Return a loopback port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(found: Callable[[], T], within_s: float, every_s: float = 0.05) -> T:
    """Call until the answer is true and return it; fail when ``within_s`` machine seconds are over."""
    end_s = time.monotonic() + within_s
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < end_s, f"not within {within_s} s"
        time.sleep(every_s)


def _json(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
