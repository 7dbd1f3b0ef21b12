"""Tests of cli.up as a process, with fake children that stand in for exchange, collector, publisher and server."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from cli.roles import ExchangeReady
from cli.up import child_spec, require_free_ports
from ops.settings import Settings, SettingsError

EXCHANGE = """
import json, pathlib, sys, time
home, argv = pathlib.Path(sys.argv[1]), sys.argv[2:]
with (home / "exchange-starts").open("a") as file:
    print(json.dumps(argv), file=file)
if "--ready-file" in argv:
    ready = {"ws_url": "ws://x/1", "rest_url": "http://x/2", "ws_port": 1, "http_port": 2,
             "key_id": "local", "private_key_path": "/k.pem"}
    path = pathlib.Path(argv[argv.index("--ready-file") + 1])
    path.with_suffix(".draft").write_text(json.dumps(ready))
    path.with_suffix(".draft").rename(path)
time.sleep(120)
"""
COLLECT = """
import json, os, pathlib, sys, time
mine = {name: value for name, value in os.environ.items() if name.startswith("KALSHI")}
(pathlib.Path(sys.argv[1]) / "collect-environ").write_text(json.dumps(mine))
time.sleep(120)
"""
PUBLISH = """
import os, pathlib, sys, time
(pathlib.Path(sys.argv[1]) / "publish-clock").write_text(os.environ.get("KALSHIBOOK_CLOCK", ""))
time.sleep(120)
"""
SERVE = """
import http.server, json, os
answers = {
    "/readyz": {},
    "/v1/markets": {"data": [{"ticker": "T-1", "first_data_at": "2026-08-10T22:00:00.000000Z"}]},
    "/v1/orderbook/T-1": {"timestamp": "2026-08-10T22:00:01.000000Z", "yes": [1], "no": [2]},
}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.headers["Authorization"] == "Bearer " + os.environ["KALSHIBOOK_API_KEY"]
        body = json.dumps(answers[self.path.partition("?")[0]]).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["KALSHIBOOK_PORT"])), Handler).serve_forever()
"""
LEASH = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
"""
"""Ends a fake child with ``up``, however that went, as real ones do."""
DRIVER = """
import os, sys
from cli import supervisor, up
from ops.settings import Settings

supervisor._FIRST_S = 0.01
codes = dict(exchange=sys.argv[1], collect=sys.argv[2], publish=sys.argv[3], serve=sys.argv[4])
up.child_spec = lambda role, environ, *options: supervisor.ChildSpec(
    role, (sys.executable, "-c", codes[role], os.environ["KALSHIBOOK_HOME"], *options), environ)
sys.exit(up.run(Settings.from_env(os.environ), os.environ, lambda line: print(line, flush=True)))
"""


class Run:
    """A running ``up`` with fake children."""

    def __init__(self, process: subprocess.Popen[str], home: Path, port: int) -> None:
        self.process = process
        self.home = home
        self.port = port

    def line(self, part: str) -> str:
        """Read lines up to the first with ``part``."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if part in line:
                return line
        raise AssertionError(f"no line with {part!r} in {seen}")

    def children(self) -> list[int]:
        """Return the processes whose command names our home."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._is_child(pid)]

    def _is_child(self, pid: int) -> bool:
        with suppress(OSError):
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return str(self.home).encode() in argv
        return False

    def gone(self) -> None:
        """Wait until no child runs and the port is free."""
        ends = time.monotonic() + 20
        while self.children():
            assert time.monotonic() < ends, "children outlived up"
            time.sleep(0.01)
        require_free_ports(Settings(port=self.port))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def start(
    home: Path, *, exchange: str = EXCHANGE, collect: str = COLLECT, publish: str = PUBLISH, **environ: str
) -> Iterator[Run]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI", "PORT"))}
    port = free_port()
    clean |= {"KALSHIBOOK_HOME": str(home), "KALSHIBOOK_PORT": str(port)} | environ
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *(LEASH + code for code in (exchange, collect, publish, SERVE))],
        env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0,
    )  # fmt: skip
    bound = threading.Timer(60, process.kill)  # reading its lines waits for ever otherwise
    bound.start()
    with process:
        try:
            yield Run(process, home, port)
        finally:
            bound.cancel()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_greets_with_lines_that_work_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with start(tmp_path) as run:
        assert f"http://127.0.0.1:{run.port}" in run.line("URL")
        key = run.line("API key").split()[-1]
        words = shlex.split(run.line("curl"))
        request = urllib.request.Request(words[-1], headers=dict([words[words.index("-H") + 1].split(": ")]))
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["timestamp"] == "2026-08-10T22:00:01.000000Z"
        assert re.fullmatch(r"kb-[0-9A-Za-z]{32}", key)
        run.line("sql")
        assert len(run.children()) == 4

        os.killpg(run.process.pid, number)

        run.line("stopped")
        assert run.process.wait(20) == 0
        run.gone()


def test_the_collector_is_pointed_at_the_local_exchange(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.line("curl")
        environ = json.loads((tmp_path / "collect-environ").read_text())

    assert {name: environ[name] for name in environ if name.startswith("KALSHI_")} == {
        "KALSHI_WS_URL": "ws://x/1",
        "KALSHI_REST_URL": "http://x/2",
        "KALSHI_API_KEY_ID": "local",
        "KALSHI_PRIVATE_KEY_PATH": "/k.pem",
    }


def test_an_exchange_that_died_comes_back_on_its_ports(tmp_path: Path) -> None:
    once = EXCHANGE.replace("time.sleep(120)", "time.sleep(120 if '--ws-port' in argv else 1); sys.exit(1)")
    with start(tmp_path, exchange=once) as run:
        run.line("exchange ended (exit 1")
        ends = time.monotonic() + 20
        while len(starts := (tmp_path / "exchange-starts").read_text().splitlines()) < 2:
            assert time.monotonic() < ends
            time.sleep(0.01)

    assert json.loads(starts[1]) == ["--ws-port", "1", "--http-port", "2"]


def test_the_publisher_follows_the_clock_of_the_others_and_comes_back(tmp_path: Path) -> None:
    once = PUBLISH.replace("time.sleep(120)", "time.sleep(0.1); sys.exit(1)")
    clock = f"2026-08-10T22:00:00Z@20@{int(time.time())}"
    with start(tmp_path, publish=once, KALSHIBOOK_CLOCK=clock) as run:
        run.line("publish ended (exit 1")
        run.line("publish ended (exit 1")

    assert (tmp_path / "publish-clock").read_text() == clock


def test_with_a_kalshi_key_no_exchange_is_run(tmp_path: Path) -> None:
    from ops import keys

    pair = keys.exchange_keys(tmp_path / "other")
    with start(tmp_path, KALSHI_API_KEY_ID="mine", KALSHI_PRIVATE_KEY_PATH=str(pair.private_key_path)) as run:
        run.line("recording wss://")
        run.line("curl")
        assert len(run.children()) == 3
        assert json.loads((tmp_path / "collect-environ").read_text())["KALSHI_API_KEY_ID"] == "mine"


def test_a_child_that_refuses_its_settings_ends_it_all(tmp_path: Path) -> None:
    with start(tmp_path, collect="import sys; print('KALSHIBOOK_X is wrong'); sys.exit(2)") as run:
        run.line("collect cannot run: KALSHIBOOK_X is wrong")
        assert run.process.wait(20) == 1
        run.gone()


def test_a_second_one_on_the_same_home_is_refused(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.line("started")
        with start(tmp_path) as second:
            assert f"process {run.process.pid}" in second.line("runs there already")
            assert second.process.wait(20) == 1


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start(tmp_path, KALSHIBOOK_PORT=str(taken.getsockname()[1])) as run:
            run.line("KALSHIBOOK_PORT=")
            assert run.process.wait(20) == 1
    assert not (tmp_path / "logs").exists()


def test_an_address_of_an_exchange_without_a_key_is_refused(tmp_path: Path) -> None:
    with start(tmp_path, KALSHI_WS_URL="wss://example.com/x") as run:
        run.line("KALSHI_WS_URL=")
        assert run.process.wait(20) == 1


def test_children_are_commands_of_this_python_on_a_leash() -> None:
    spec = child_spec("serve", {"A": "b"}, "--x", "y")

    assert spec.argv == (sys.executable, "-P", "-m", "cli", "serve", "--leash", "--x", "y")
    assert spec.environ == {"A": "b"}


def test_what_the_exchange_announces_is_read_back() -> None:
    ready = ExchangeReady("ws://a/b", "http://a/c", 1, 2, "id", "/k.pem")

    assert msgspec.json.decode(msgspec.json.encode(ready), type=ExchangeReady) == ready
    assert Settings.from_env(ready.environ()).kalshi_ws_url == "ws://a/b"


def test_a_free_port_is_free() -> None:
    require_free_ports(Settings(port=free_port()))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="KALSHIBOOK_PORT"):
            require_free_ports(Settings(port=port))
        with pytest.raises(SettingsError, match="KALSHIBOOK_EXCHANGE_WS_PORT"):
            require_free_ports(Settings(port=free_port(), exchange_ws_port=port))
        with pytest.raises(SettingsError, match="KALSHIBOOK_EXCHANGE_HTTP_PORT"):
            require_free_ports(Settings(port=free_port(), exchange_http_port=port))
        for above in (1, 3):
            with pytest.raises(SettingsError, match="KALSHIBOOK_METRICS_PORT"):
                require_free_ports(Settings(port=free_port(), metrics_port=port - above))
