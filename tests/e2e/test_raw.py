"""An hour recorded and published by a reader that misreads, killed in its midst, and rebuilt from its raw frames."""

from pathlib import Path
from typing import Any

import pytest

from lake.publishing.shelf import Shelf
from lake.raw.hours import read_hour
from tests.e2e.oracle import Oracle
from tests.e2e.stack import ROOT, Stack, running, until

HOUR = 496_198  # 2026-08-09T22:00:00Z
PLANTED = """
import collector.intake
from tests.model.readers import swapped
collector.intake.decode_batch = swapped(None)
"""


def _start(stack: Stack, planted: Path) -> None:
    """Start a collector whose reader misreads."""
    path, stack.env["PYTHONPATH"] = stack.env.get("PYTHONPATH"), f"{planted}:{ROOT}"
    stack.start_collector()
    del stack.env["PYTHONPATH"]
    if path is not None:
        stack.env["PYTHONPATH"] = path


def _known(stack: Stack, as_of_us: int | None = None) -> list[dict[str, Any]]:
    """Return what coverage says of books that are known at the hour's end."""
    shelf = Shelf(stack.lake)
    shelf.refresh()
    rows = shelf.standing_rows(HOUR, as_of_us).to_pylist()
    known = [row for row in rows if row["channel"] == "orderbook" and row["state"] == "known"]
    return [row for row in known if row["end_reason"] == "continues"]


def _wrong(oracle: Oracle, rows: list[dict[str, Any]]) -> list[str]:
    """Return the markets whose digest at the hour's end is not that of the exchange's book."""
    found = []
    for row in rows:
        port, sid = oracle.subscriptions[row["conn"]]
        if oracle._true_book(port, sid, row["last_seq"], row["ticker"])["digest"] != row["digest"]:
            found.append(row["ticker"])
    return found


@pytest.mark.fault
def test_a_planted_wrong_reader_is_put_right_from_raw_frames(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "sitecustomize.py").write_text(PLANTED)
    with running(tmp_path, shown="2026-08-09T22:52:00Z", rate=20, lead_s=15.0) as stack:
        stack.start_exchange("--markets", "30", "--rate", "200")
        until(lambda: stack.shown_now_us() > stack.shown_us, 60)
        _start(stack, planted)
        until(lambda: len(stack.said("subscribed")) >= 3, 30)
        until(lambda: stack.shown_now_us() > stack.shown_us + 180_000_000, 60)
        stack.kill("collect")
        _start(stack, planted)
        until(lambda: stack.shown_now_us() > stack.shown_us + 600_000_000, 120)
        assert stack.stop("collect") == 0
        oracle = Oracle(stack)
        oracle.refresh()

        assert stack.command("publish", "--hour", "2026-08-09T22") == 0
        before = _known(stack)
        assert len(before) > 10
        assert len(_wrong(oracle, before)) > 10
        assert len(read_hour(tmp_path, 0, HOUR)) == 2

        assert stack.command("publish", "--from-raw", "2026-08-09T22") == 0
        after = _known(stack)
        assert [row["ticker"] for row in after] == [row["ticker"] for row in before]
        assert _wrong(oracle, after) == []
        assert {(row["version"], row["reason"]) for row in after} == {(2, "rebuilt")}
        published_us = int(min(row["published_at"] for row in after).timestamp() * 1_000_000)
        assert [row["digest"] for row in _known(stack, published_us - 1)] == [row["digest"] for row in before]
        assert stack.command("verify") == 0

        assert stack.command("publish", "--from-raw", "2026-08-09T22") == 0
        assert {row["version"] for row in _known(stack)} == {2}
        next(iter((tmp_path / "raw" / "0" / "2026-08-09" / "22").glob("*-1.raw"))).unlink()
        assert stack.command("publish", "--from-raw", "2026-08-09T22") == 1
