"""Tests of cli.health and of the command around it."""

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli import health
from lake import paths
from ops.settings import Settings

HOUR = 495_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, shard=3)


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response_only(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def flush(settings: Settings, hour: int, age_s: float) -> None:
    path = paths.hour_dir(settings.home, settings.shard, hour) / paths.FLUSH_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - age_s,) * 2)


def mark(settings: Settings, age_s: float) -> None:
    path = health.look_path(settings.home)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - age_s,) * 2)


def verdict(role: str, settings: Settings) -> list[bool]:
    return [sign.ok for sign in health.examine(role, settings)]


def test_a_collector_is_well_while_its_shard_is_flushed(settings: Settings) -> None:
    assert verdict("collect", settings) == [False]

    flush(settings, HOUR, 4000)
    assert verdict("collect", settings) == [False]
    flush(settings, HOUR + 1, 2)
    assert verdict("collect", settings) == [True]
    flush(settings, HOUR + 1, 60)
    assert verdict("collect", settings) == [False]
    flush(settings, HOUR - 1, 0)  # a late touch of an old hour is not its progress
    assert verdict("collect", settings) == [False]


def test_an_hour_that_has_just_been_begun_without_a_flush_is_told_as_it_is(settings: Settings) -> None:
    paths.hour_dir(settings.home, settings.shard, HOUR).mkdir(parents=True)

    (sign,) = health.examine("collect", settings)

    assert sign == (False, "collect: shard 3 has flushed nothing yet")


def test_a_home_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "health").write_text("a file where a folder belongs")

    (sign,) = health.examine("publish", Settings(home=tmp_path))

    assert sign == (False, f"publish: {tmp_path}/health/publish cannot be looked at (Not a directory)")


def test_a_publisher_is_well_while_it_looks_for_work(settings: Settings) -> None:
    assert verdict("publish", settings) == [False]

    mark(settings, 800)
    assert verdict("publish", settings) == [True]
    mark(settings, 1000)
    assert verdict("publish", settings) == [False]


@pytest.mark.parametrize("status", [200, 503])
def test_what_serves_is_asked(tmp_path: Path, status: int) -> None:
    with answering(status) as (port, asked):
        assert verdict("serve", Settings(home=tmp_path, host="0.0.0.0", port=port)) == [status == 200]
        assert verdict("exchange", Settings(home=tmp_path, exchange_http_port=port)) == [status == 200]
    assert asked == ["/healthz", "/trade-api/v2/exchange/status"]
    (sign,) = health.examine("serve", Settings(home=tmp_path, port=port))
    assert not sign.ok
    assert f"port {port} does not answer" in sign.text


def test_an_exchange_at_any_port_cannot_be_looked_at(settings: Settings) -> None:
    (sign,) = health.examine("exchange", settings)

    assert not sign.ok
    assert "KALSHIBOOK_EXCHANGE_HTTP_PORT" in sign.text


def test_up_is_well_when_all_three_are(settings: Settings) -> None:
    assert verdict("up", settings) == [False, False, False]

    flush(settings, HOUR, 1)
    mark(settings, 1)
    with answering(200) as (port, _):
        assert verdict("up", Settings(home=settings.home, shard=3, port=port)) == [True, True, True]


@pytest.mark.parametrize(
    ("line", "role"),
    [
        (b"/opt/kalshibook/bin/python3\0/opt/kalshibook/bin/kalshibook\0collect\0", "collect"),
        (b"/sbin/docker-init\0--\0kalshibook\0serve\0", "serve"),
        (b"sh\0-c\0kalshibook up\0", "up"),
        (b"/sbin/init\0splash\0", None),
    ],
)
def test_the_containers_role_is_that_of_process_1(tmp_path: Path, line: bytes, role: str | None) -> None:
    (tmp_path / "cmdline").write_bytes(line)

    assert health.container_role(tmp_path / "cmdline") == role
    assert health.container_role(tmp_path / "none") is None


def test_the_command_tells_what_it_found_and_exits_by_it(settings: Settings) -> None:
    environ = {**os.environ, "KALSHIBOOK_HOME": str(settings.home), "KALSHIBOOK_SHARD": "3"}
    argv = [sys.executable, "-m", "cli", "health"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*argv, *more], env=environ, capture_output=True, text=True, timeout=60, check=False)

    ill = run("collect")
    flush(settings, HOUR, 0)
    well = run("collect")
    wrong = run("record")

    assert (ill.returncode, ill.stdout) == (1, "FAIL  collect: shard 3 has flushed nothing yet\n")
    assert well.returncode == 0
    assert well.stdout.startswith("ok    collect: flushed ")
    assert wrong.returncode == 2
