"""A server as a process of its own on a free loopback port, for tests.

Owns starting and ending it, and nothing of what it is asked.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.server.conftest import KEY, text

PROGRAM = """
import logging, os
from ops import logs
from ops.settings import Settings
from server.main import run
logs.configure("serve", level=logging.DEBUG)
run(Settings.from_env(os.environ))
"""
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(home: Path, log: Path, **environ: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    port = free_port()
    # A clock that all but stands, just before the end of the log.
    clock = f"{text(598)}@0.000001@{int(time.time())}"
    env = {name: value for name, value in os.environ.items() if not name.startswith("KALSHI")} | {
        "KALSHIBOOK_HOME": str(home),
        "KALSHIBOOK_API_KEY": KEY,
        "KALSHIBOOK_PORT": str(port),
        "KALSHIBOOK_CLOCK": clock,
    }
    env |= environ
    with log.open("wb") as errors:
        server = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, env=env, stderr=errors)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": KEY}, timeout=30)
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()
            try:
                client.get("/healthz")
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        yield server, client
    finally:
        client.close()
        server.kill()
        server.wait()
