"""Tests of cli.leash, with real processes."""

import os
import subprocess
import sys
import time

CHILD = "import sys, time; from cli import leash; leash.hold({grace}); {more}print('up', flush=True); time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_end_of_standard_input_asks_the_process_to_stop() -> None:
    with start(CHILD.format(grace=50, more="")) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        assert child.poll() is None
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(20) == -15


def test_a_process_that_does_not_stop_is_ended() -> None:
    with start(CHILD.format(grace=0.05, more=DEAF)) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(20) == 1


def test_kill_9_of_the_parent_ends_the_child() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD.format(grace=50, more="")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait(20)
        ends = time.monotonic() + 20
        while running(pid):
            assert time.monotonic() < ends, "the child outlived its parent"
            time.sleep(0.01)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().split()[2] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
