"""A disk that fills under real processes: nothing acknowledged is lost, and the stop is a gap with its reason."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import gaps
from tests.e2e.journalwatch import JournalWatch
from tests.e2e.stack import Stack, running, until


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB of its own, logs and lake on it too."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "kalshibook-test", str(place)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.fault
def test_a_disk_that_fills_and_comes_back_is_a_gap_over_http(small_disk: Path) -> None:
    marks = {"KALSHIBOOK_DISK_STOP_GIB": "0.001", "KALSHIBOOK_DISK_RESUME_GIB": "0.005"}
    with running(small_disk, **marks) as stack:
        stack.start_exchange("--markets", "5", "--rate", "200")
        stack.start_collector()
        stack.start_server()
        tickers = until(lambda: _known(stack, 5), 60)
        watch = JournalWatch(small_disk)
        hog = small_disk / "hog"
        pid = stack.processes["collect"].pid
        reserve = small_disk / "journal" / "0" / "reserve"
        for resumed in range(2):
            _fill(hog)
            until(lambda: not reserve.exists(), 30)
            until(lambda: all(not _is_known(stack, ticker) for ticker in tickers), 30)
            hog.unlink()
            until(lambda resumed=resumed: len(stack.said("recording_resumed")) > resumed, 30)
            until(lambda: all(_is_known(stack, ticker) for ticker in tickers), 60)
        watch.stop()
        assert stack.processes["collect"].poll() is None
        assert stack.processes["collect"].pid == pid, "it went on by itself"
        assert watch.lost() == []
        for ticker in tickers:
            found = [gap for gap in gaps(stack, ticker) if gap["reason"] != "late_start"]
            assert [gap["reason"] for gap in found] == ["shutdown", "shutdown"]
            assert all(gap["to"] for gap in found), "each ends with the book that recording went on from"


def _fill(hog: Path) -> None:
    with hog.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    os.write(file.fileno(), bytes(size))
            except OSError:
                continue


def _known(stack: Stack, count: int) -> list[str]:
    """Return the recorded markets whose book is known now, once there are so many."""
    answer = stack.http.get("/v1/markets")
    if answer.status_code != 200:
        return []
    tickers = [row["ticker"] for row in answer.json()["data"]]
    known = [ticker for ticker in tickers if _is_known(stack, ticker)]
    return known if len(known) >= count else []


def _is_known(stack: Stack, ticker: str) -> bool:
    return stack.http.post("/v1/orderbook", json={"market_ticker": ticker}).status_code == 200
