"""Builds the image and runs it as docker/compose.yaml says: each role alone, and the whole product as process 1."""

import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.compose import ROOT
from tests.docker.engine import Containers, Image, built, missing
from tests.docker.rehearsal import Rehearsal, rehearsed
from tests.e2e.client import book, change_keys, changes
from tests.e2e.journalwatch import JournalWatch
from tests.e2e.oracle import Oracle
from tests.e2e.publication import HOUR_US, published_hours
from tests.e2e.stack import free_port, until

pytestmark = pytest.mark.fault

RATE = 60
ALONE = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "volumes": ["state:/var/lib/kalshibook"],
    "read_only": True,
    "tmpfs": ["/tmp"],
}
PROCESSES = """
import json, pathlib
found = {}
for status in pathlib.Path("/proc").glob("[0-9]*/status"):
    try:
        rows = dict(line.split(":\\t", 1) for line in status.read_text().splitlines() if ":\\t" in line)
        words = (status.parent / "cmdline").read_text().split("\\0")
    except OSError:
        continue
    found[rows["Pid"]] = [rows["State"][0], rows["Uid"].split()[0], rows["CapEff"], words]
print(json.dumps(found))
"""


@pytest.fixture(scope="module", name="image")
def _image(figures: list[str]) -> Iterator[Image]:
    if (why := missing()) is not None:
        pytest.skip(f"an image is built and run by other programs: {why}")
    with built() as image:
        figures.append(f"image: {image.size_bytes / 1e6:.0f} MB, its base included")
        yield image


def test_the_image_holds_what_it_runs_and_nothing_it_was_made_with(image: Image) -> None:
    site = next((image.root / "opt/kalshibook/lib").glob("python3*/site-packages"))
    config = image.config

    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "kalshibook", "health"]
    assert config["StopSignal"] == "SIGTERM"
    assert not config.get("Volumes")
    assert config["Labels"]["org.opencontainers.image.title"] == "KalshiBook"
    installed = {path.name.split("-")[0].lower() for path in site.glob("*.dist-info")}
    assert {"kalshibook", "kalshibook_service", "pyarrow", "deltalake", "duckdb"} <= installed
    assert installed & {"pip", "setuptools", "hatchling", "pytest", "mypy", "ruff", "hypothesis"} == set()
    for package in ("book", "exchange", "collector", "lake", "query", "server", "ops", "cli"):
        sources = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*") if "__pycache__" not in path.parts}
        files = {path.relative_to(site) for path in (site / package).rglob("*") if "__pycache__" not in path.parts}
        assert files == sources
        assert all(list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc")) for path in (site / package).rglob("*.py"))
    left = ("build", "root/.cache", "var/lib/kalshibook/.cache", "opt/kalshibook/bin/pip", "usr/bin/cc", "usr/bin/ld")
    assert [path for path in left if (image.root / path).exists()] == []
    assert list((image.root / "var/lib/kalshibook").iterdir()) == []
    assert list((image.root / "opt/kalshibook").glob("*/*/site-packages/tests")) == []


def test_each_role_in_a_container_records_publishes_answers_and_stops_without_loss(
    tmp_path: Path, image: Image, figures: list[str]
) -> None:
    rng = random.Random(7)
    with rehearsed(image, tmp_path, shown="2026-08-10T21:40:00Z", rate=RATE, lead_s=0) as stack:
        watch = JournalWatch(stack.home)
        stack.start_exchange("--markets", "40", "--rate", "20")
        stack.start_collector()
        stack.start_publisher()
        stack.start_server()
        for role in stack.processes:
            until(lambda role=role: stack.is_well(role), 60, every_s=1)
        oracle = Oracle(stack)
        asked = _interrogate(stack, oracle, rng, seconds=75)
        assert len(published_hours(stack)) >= 1
        assert asked["right"] >= 50
        assert asked["published"] >= 5
        assert asked["wrong"] == []

        counted = stack.containers.execute(
            "serve", "kalshibook", "sql", "--json", "SELECT count(*) AS n FROM orderbook"
        )
        assert json.loads(counted.stdout)["n"] > 1000, counted.stderr
        assert [stack.told[role] for role in stack.processes if not stack.is_well(role)] == []
        assert stack.stop("collect") == 0
        oracle.refresh()
        time.sleep(0.5)  # the watch reads on for a while
        watch.stop()
        assert watch.lost() == []
        _judge_journal(stack, watch)
        recorded = _judge_rows(stack, oracle, watch)

        stack.start_collector()  # a clean end leaves nothing to close
        until(lambda: len(stack.said("subscribed")) > len(oracle.subscriptions), 30)
        assert stack.said("crash_closed") == []
        figures.append(
            f"containers: {asked['right']} books right, {asked['published']} of them in {len(published_hours(stack))} "
            f"published hours; {recorded} changes recorded of those sent; {len(watch.seen)} flushes, none lost"
        )
        assert {role: stack.stop(role) for role in ("collect", "publish", "serve", "exchange")} == dict.fromkeys(
            ("collect", "publish", "serve", "exchange"), 0
        )
        assert _verified(stack) == 0


def test_the_whole_product_as_process_1_leaves_no_zombies_and_stops_when_asked(tmp_path: Path, image: Image) -> None:
    volume, work = tmp_path / "volume", tmp_path / "containers"
    volume.mkdir()
    work.mkdir()
    containers = Containers(image, volume, work)
    out, err = tmp_path / "out", tmp_path / "err"
    try:
        with out.open("wb") as to, err.open("wb") as to_err:
            environ = {"KALSHIBOOK_HOST": "127.0.0.1", "PORT": str(free_port())}
            containers.run("up", ALONE, to, to_err, **environ)
        until(lambda: "KalshiBook is up" in out.read_text(), 120, every_s=0.5)
        until(lambda: containers.health("up", ALONE)[0], 60, every_s=1)
        key = re.search(r"API key +(kb-\w+)", out.read_text())
        assert key is not None
        assert (volume / "keys" / "api-key").read_text().strip() == key[1]

        before = _processes(containers)
        assert before["1"][3][1:3] == ["/opt/kalshibook/bin/kalshibook", "up"]
        roles = {words[4]: pid for pid, (_, _, _, words) in before.items() if words[2:4] == ["-m", "cli"]}
        assert set(roles) == {"exchange", "collect", "publish", "serve"}
        assert {(uid, caps) for _, uid, caps, _ in before.values()} == {("10001", "0" * 16)}
        assert containers.execute("up", "python3", "-c", f"import os; os.kill({roles['collect']}, 9)").returncode == 0
        until(lambda: _again(containers, roles["collect"]), 60, every_s=0.5)
        until(lambda: containers.health("up", ALONE)[0], 60, every_s=1)
        assert [words for state, _, _, words in _processes(containers).values() if state == "Z"] == []
        assert containers.execute("up", "touch", "/opt/kalshibook/x").returncode != 0
        assert containers.stop("up", 30) == 0
        assert out.read_text().splitlines()[-1] == "stopped"
    finally:
        containers.close()


def _processes(containers: Containers) -> dict[str, list[Any]]:
    """Return (state, uid, capabilities, command) of each process in the container, by its number there."""
    done = containers.execute("up", "python3", "-c", PROCESSES)
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return {pid: row for pid, row in found.items() if PROCESSES not in row[3]}


def _again(containers: Containers, killed: str) -> bool:
    """Say whether a collector runs that is not the one that was killed."""
    return any(
        words[2:5] == ["-m", "cli", "collect"] and pid != killed and state != "Z"
        for pid, (state, _, _, words) in _processes(containers).items()
    )


def _verified(stack: Rehearsal) -> int:
    """Let a container prove the volume's published hours; return its exit code."""
    service = {**stack.service("serve"), "command": ["verify"]}
    with (stack.home / "verify.out").open("wb") as out:
        return stack.containers.run("verify", service, out, out).wait(120)


def _interrogate(stack: Rehearsal, oracle: Oracle, rng: random.Random, seconds: float) -> dict[str, Any]:
    """Ask for books at instants of the last shown minutes while time goes on, and judge the answers."""
    asked: dict[str, Any] = {"right": 0, "refused": 0, "published": 0, "wrong": []}
    tickers: list[str] = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s or not _hour_is_out(stack):
        assert time.monotonic() < end_s + 120, "no hour was published"
        listed = stack.http.get("/v1/markets", params={"limit": 200}).json().get("data", [])
        tickers = [row["ticker"] for row in listed if row.get("first_data_at")] or tickers
        oracle.refresh()
        for ticker in rng.sample(tickers, min(5, len(tickers))):
            at_us = stack.shown_now_us() - rng.randrange(5 * RATE, 40 * RATE) * 1_000_000
            answer = book(stack, ticker, at_us)
            if answer.status_code != 200:
                asked["refused"] += 1
                continue
            wrong = oracle.wrong(answer.json(), at_us)
            if wrong is not None:
                asked["wrong"].append((ticker, at_us, wrong))
                continue
            asked["right"] += 1
            asked["published"] += at_us // HOUR_US in published_hours(stack)
        time.sleep(0.5)
    return asked


def _hour_is_out(stack: Rehearsal) -> bool:
    return bool(published_hours(stack)) and stack.shown_now_us() // HOUR_US > max(published_hours(stack))


def _judge_journal(stack: Rehearsal, watch: JournalWatch) -> None:
    """Hold the journal of a stopped collector to be sealed, with no byte or row that no flush names."""
    rows: dict[Path, int] = {}
    for folder, record in watch.seen:
        for segment, _, _, added in record.get("tables", {}).values():
            rows[folder / segment] = rows.get(folder / segment, 0) + added
    segments = list((stack.home / "journal").rglob("*.arrow"))

    assert set(segments) == set(rows)
    assert list((stack.home / "journal").rglob("*.tmp")) == []
    for segment in segments:
        sidecar = json.loads(segment.with_name(f"{segment.name}.json").read_bytes())
        assert (sidecar["rows"], sidecar["bytes"]) == (rows[segment], segment.stat().st_size), segment
    assert [conn for conn, mark in _marks(watch).items() if mark[2]] == [], "conns that no flush has ended"


def _judge_rows(stack: Rehearsal, oracle: Oracle, watch: JournalWatch) -> int:
    """Hold what is answered to be every change that was sent up to the last acknowledged seq of its conn."""
    known = {conn: mark[1] for conn, mark in _marks(watch).items()}
    tickers = sorted({row["ticker"] for row in oracle.log.kinds["orderbook_delta"]})
    count = 0
    for ticker in tickers:
        sent = [row for row in oracle.sent_changes(ticker) if row[1] <= known[row[0]]]
        assert change_keys(changes(stack, ticker)) == sent, ticker
        count += len(sent)
    return count


def _marks(watch: JournalWatch) -> dict[int, list[int]]:
    """Return the newest acknowledged mark of each conn: last frame, last seq, and whether it is up."""
    marks = {}
    for _, record in watch.seen:
        marks.update({int(conn): mark for conn, mark in record.get("conns", {}).items()})
    return marks
