"""A bug in the collector, through real processes: it ends loudly, and the supervisor's next one goes on."""

import asyncio
import random
import sys
from pathlib import Path

import pytest

from cli.supervisor import ChildSpec, Supervisor
from lake import paths
from lake.journal.reader import Hour
from tests.e2e.stack import Stack, running, until

PLANTED = """
import sys
from pathlib import Path
mark = Path(sys.argv[1])
where = sys.argv[2]
if not mark.exists():
    if where == "tick":
        from collector.session import Session
        real = Session.tick
        calls = []
        def broken(self, *args):
            calls.append(1)
            if len(calls) > 60:
                mark.touch()
                raise RuntimeError("a planted bug")
            return real(self, *args)
        Session.tick = broken
    else:
        from collector.connection import Queue
        real = Queue.put
        calls = []
        def broken(self, *args):
            calls.append(1)
            if len(calls) > 1500:
                mark.touch()
                raise RuntimeError("a planted bug")
            return real(self, *args)
        Queue.put = broken
sys.argv = ["kalshibook", "collect"]
import cli.__main__
"""


@pytest.mark.fault
@pytest.mark.parametrize("where", ["tick", "socket"])
def test_a_planted_bug_ends_the_process_loudly_and_the_next_goes_on(tmp_path: Path, where: str) -> None:
    with running(tmp_path) as stack:
        stack.start_exchange("--markets", "5", "--rate", "400")
        asyncio.run(_supervised(stack, where))
        log = (tmp_path / "logs" / "collect.log").read_text()
        assert "RuntimeError: a planted bug" in log
        assert "Traceback" in log
    rows = [row for one in _hours(tmp_path) for row in one.table("orderbook").to_pylist()]
    crashed = {row["ticker"] for row in rows if row["reason"] == "crash"}
    assert len(crashed) == 5
    seqs = [(row["conn"], row["seq"]) for row in rows if row["kind"] == 1]
    assert len(seqs) == len(set(seqs))


async def _supervised(stack: Stack, where: str) -> None:
    said: list[str] = []
    supervisor = Supervisor(stack.home / "logs", said.append, random.Random(1))
    argv = (sys.executable, "-c", PLANTED, str(stack.home / "mark"), where)
    supervisor.start(ChildSpec("collect", argv, {**stack.env, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}))
    try:
        await asyncio.to_thread(until, lambda: bool(said), 60)
        assert "exit 1" in said[0]
        assert "a planted bug" in said[0]

        def closed_and_on() -> bool:
            rows = [row for one in _hours(stack.home) for row in one.table("orderbook").to_pylist()]
            places = [place for place, row in enumerate(rows) if row["reason"] == "crash"]
            return bool(places) and any(row["kind"] == 1 for row in rows[places[-1] :])

        await asyncio.to_thread(until, closed_and_on, 60, 0.5)
    finally:
        assert await supervisor.stop() == []


def _hours(home: Path) -> list[Hour]:
    found = [Hour(paths.hour_dir(home, 0, number), 0, number) for number in paths.hours(home, 0)]
    for hour in found:
        hour.poll()
    return found
