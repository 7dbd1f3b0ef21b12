"""Tests of cli.publishing: the publisher as a process, over a small journal, on a clock of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.health import look_path
from lake import paths
from lake.journal.ends import End, write_end
from lake.publishing.shelf import Shelf
from tests.query.conftest import H0, HOUR, Journal

OVER = "2026-08-01T18:30:00Z"
"""An hour and a half after the end of hour H0; H0 + 1 is over too."""
RUNNING = "2026-08-01T17:30:00Z"


def record(home: Path, hours: int = 1) -> Journal:
    """Record hours of one market from H0 on, each with its END."""
    log = Journal(home)
    conn = (H0 * HOUR // 1000 << 10) + 1024
    log.snapshot("KXA", H0 * HOUR + 1, conn, 1, [(0, 4500, 100)])
    for n in range(hours):
        start_us = (H0 + n) * HOUR
        if n:
            log.checkpoint("KXA", start_us, conn, n + 1, [(0, 4500, 100 + n)])
        log.delta("KXA", start_us + 7, conn, n + 2, 0, 4500, 1, start_us + 7)
        log.heard(conn, start_us + HOUR, n + 2)
        flushed = log.flush()
        write_end(home, End(0, H0 + n, flushed.n, ["orderbook-000000.arrow"], flushed.conns, []))
    return log


def start(home: Path, *argv: str, shown: str = OVER, **environ: str) -> subprocess.Popen[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI", "PORT"))}
    clean |= {"KALSHIBOOK_HOME": str(home), "KALSHIBOOK_CLOCK": f"{shown}@1@{time.time():.6f}"} | environ
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "publish", *argv],
        env=clean, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def once(home: Path, *argv: str, **environ: str) -> tuple[int, str, str]:
    with start(home, *argv, **environ) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def published(home: Path) -> list[int]:
    shelf = Shelf(home / "lake")
    shelf.refresh()
    return shelf.hours()


def until(found: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 60
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_once_publishes_what_is_due_and_says_so(tmp_path: Path) -> None:
    record(tmp_path, hours=2)

    assert once(tmp_path, "--once")[:2] == (0, "published 2026-08-01T16\npublished 2026-08-01T17\n")
    assert published(tmp_path) == [H0, H0 + 1]
    assert "book_at" in paths.views_path(tmp_path / "lake").read_text()
    assert once(tmp_path, "--once")[:2] == (0, "nothing was to be published\n")


def test_an_hour_that_is_not_over_is_left_alone_and_refused_by_name(tmp_path: Path) -> None:
    record(tmp_path, hours=2)

    assert once(tmp_path, "--once", shown=RUNNING)[:2] == (0, "published 2026-08-01T16\n")
    code, out, err = once(tmp_path, "--hour", "2026-08-01T17", shown=RUNNING)
    assert (code, out) == (1, "")
    assert "kalshibook: 2026-08-01T17: it is not over yet\n" in err
    assert published(tmp_path) == [H0]


def test_an_hour_named_is_read_again(tmp_path: Path) -> None:
    log = record(tmp_path)
    once(tmp_path, "--once")
    assert once(tmp_path, "--hour", "2026-08-01T16")[:2] == (0, "nothing was to be published\n")

    conn = (H0 * HOUR // 1000 << 10) + 1024
    log.close("KXA", H0 * HOUR + 2, conn, 1, "audit_mismatch")
    log.flush(H0 + 1)
    assert once(tmp_path, "--hour", "2026-08-01T16")[:2] == (0, "published 2026-08-01T16\n")
    shelf = Shelf(tmp_path / "lake")
    shelf.refresh()
    assert shelf.version(H0) == 2


def test_a_lake_elsewhere_is_where_the_setting_says(tmp_path: Path) -> None:
    record(tmp_path / "home")

    assert once(tmp_path / "home", "--once", KALSHIBOOK_LAKE=f"file://{tmp_path / 'my lake'}")[0] == 0
    assert not (tmp_path / "home" / "lake").exists()
    assert paths.views_path(tmp_path / "my lake").exists()


def test_damage_is_one_line_and_exit_1(tmp_path: Path) -> None:
    record(tmp_path)
    flush = paths.hour_dir(tmp_path, 0, H0) / paths.FLUSH_NAME
    flush.write_bytes(b"damage\n" + flush.read_bytes())

    code, out, err = once(tmp_path, "--once")
    assert (code, out) == (1, "")
    assert [line for line in err.splitlines() if line.startswith("kalshibook: ")]
    assert "Traceback" not in err


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, None])
def test_it_publishes_until_it_is_told_to_stop(tmp_path: Path, end: signal.Signals | None) -> None:
    record(tmp_path)
    with start(tmp_path, "--leash") as process:
        until(lambda: published(tmp_path) == [H0] and look_path(tmp_path).exists(), process)
        if end is None:
            assert process.stdin is not None
            process.stdin.close()
        else:
            process.send_signal(end)
        assert process.wait(20) == 0
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr]
    told = {line["event"]: line for line in lines}
    assert (told["published"]["hour"], told["published"]["version"]) == ("2026-08-01T16", 1)
    assert lines[-1]["event"] == "stopped"
    assert paths.views_path(tmp_path / "lake").exists()


def free_base() -> int:
    """Return a metrics port such that the publisher's own is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1]) - 3


def figures(base: int) -> list[str]:
    """Return the lines of figures that a publisher shows; none where it does not listen yet."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{base + 3}/metrics", timeout=10) as answer:
            return str(answer.read().decode()).splitlines()
    except urllib.error.URLError:
        return []


def test_what_it_does_is_shown_at_its_port(tmp_path: Path) -> None:
    record(tmp_path)
    base = free_base()
    with start(tmp_path, KALSHIBOOK_METRICS_PORT=str(base)) as process:
        until(lambda: "kalshibook_hours_published 1.0" in figures(base), process)
        told = figures(base)
        process.terminate()
        assert process.wait(20) == 0

    assert {
        "kalshibook_unpublished_hours 0.0",
        "kalshibook_publish_lateness_seconds 0.0",
        'kalshibook_publications_total{reason="hour"} 1.0',
        "kalshibook_publish_failures_total 0.0",
        "kalshibook_publication_seconds_count 1.0",
    } <= set(told)


def test_an_hour_that_cannot_be_published_is_told_and_grows_late(tmp_path: Path) -> None:
    log = record(tmp_path)
    (segment,) = paths.hour_dir(tmp_path, 0, H0).glob("orderbook-*.arrow")
    log.seal()
    data = bytearray(segment.read_bytes())
    data[-100] ^= 1
    segment.write_bytes(data)
    base = free_base()
    with start(tmp_path, KALSHIBOOK_METRICS_PORT=str(base)) as process:
        until(lambda: "kalshibook_publish_failures_total 1.0" in figures(base), process)
        told = figures(base)
        process.terminate()
        _, err = process.communicate(timeout=20)

    assert published(tmp_path) == []
    assert "kalshibook_unpublished_hours 1.0" in told
    (lateness,) = [float(line.split()[1]) for line in told if line.startswith("kalshibook_publish_lateness")]
    assert lateness >= 5400
    (failed,) = [line for line in map(json.loads, err.splitlines()) if line["event"] == "publish_failed"]
    assert failed["level"] == "error"
