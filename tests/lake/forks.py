"""A process that has everything imported and forks publishers that die where they are told to.

Owns how a publisher is started and killed in tests. Run as a script: a line of JSON in (a list of jobs, run at once), a
line out (how each ended). A job: lake, home, hours, now_us, reason; ``die_at`` is how many steps it takes before it
dies without a word, ``kill_after_s`` when it is killed from outside.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

DIED = 9
"""How a publisher ends that was told to die."""


class Forks:
    """The forking process, as a test uses it."""

    def __init__(self) -> None:
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(Path(__file__))],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *jobs: dict[str, Any]) -> list[int]:
        """Run publishers at once; return how each ended: 0 well, DIED by itself, negative by a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        ends: list[int] = json.loads(line)
        return ends

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def job(lake: Path, home: Path, hours: list[int], now_us: int, reason: str = "hour", **how: Any) -> dict[str, Any]:
    """Return one publisher's job."""
    return {"lake": str(lake), "home": str(home), "hours": hours, "now_us": now_us, "reason": reason} | how


def _child(one: dict[str, Any]) -> None:
    from lake.publishing.publish import publish_hours

    left = one.get("die_at", 1 << 30)

    def step(_name: str) -> None:
        nonlocal left
        if not left:
            os._exit(DIED)
        left -= 1

    publish_hours(
        Path(one["lake"]),
        Path(one["home"]),
        one["hours"],
        now_us=lambda: int(one["now_us"]),
        reason=one["reason"],
        fail_point=step,
    )


def _start(one: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _child(one)
    finally:  # a child never gets to the code of its parent; what it raised goes to standard error
        error = sys.exc_info()[1]
        if error is not None:
            traceback.print_exception(error)
        os._exit(error is not None)


def _serve() -> None:
    import lake.publishing.publish  # noqa: F401 - the children find it imported

    for line in sys.stdin:
        jobs = json.loads(line)
        pids = [_start(one) for one in jobs]
        for pid, one in zip(pids, jobs, strict=True):
            if "kill_after_s" in one:
                time.sleep(one["kill_after_s"])
                os.kill(pid, signal.SIGKILL)
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        sys.stdout.write(json.dumps(ends) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
