"""Owns the child's end of the leash: a process that ``up`` started stops when ``up`` is gone, however it went.

The supervisor holds the other end of the child's standard input and never writes to it; the kernel closes it when
the supervisor ends, by ``kill -9`` too. This works on every system, unlike a parent-death signal.
"""

import os
import signal
import sys
import threading
import time

GRACE_S = 10.0


def hold(grace_s: float = GRACE_S) -> None:
    """Watch standard input from a thread: at its end ask this process to stop, and end it ``grace_s`` later."""
    threading.Thread(target=_watch, args=(sys.stdin.fileno(), grace_s), name="leash", daemon=True).start()


def _watch(fd: int, grace_s: float) -> None:
    while os.read(fd, 4096):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os._exit(1)
