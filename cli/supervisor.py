"""Owns the child processes of ``up``: starts them, starts them again when they die, and stops them all.

It knows roles by name alone, and nothing of what they do. Each child writes to a log file of its own, runs in a
process group of its own (a terminal's Ctrl-C reaches the supervisor alone), and has the supervisor at the other end
of its standard input, so that it can tell when the supervisor is gone.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from ops.backoff import Backoff

LOG_BYTES = 16 * 1024 * 1024
STOP_S = 4.0
WRONG_USE = 2
_STEADY_S = 60.0
_FIRST_S = 0.5
_LONGEST_S = 30.0


class ChildSpec(msgspec.Struct, frozen=True):
    """A child process: its role, which names its log, its command and its whole environment."""

    role: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]


def open_log(path: Path) -> int:
    """Open the log for appending and return its descriptor; one over 16 MiB first becomes ``<name>.1``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def last_words(path: Path) -> str:
    """Return what the last line of a log says: its ``event`` where the line is JSON; cost: one read of 8 KiB."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        lines = file.read().decode(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "nothing")
    with contextlib.suppress(msgspec.MsgspecError):
        line = msgspec.json.decode(last, type=dict[str, object])
        told = (text.strip(" |+-") for text in reversed(str(line.get("exception", "")).split("\n")))
        error = next(filter(None, told), "")  # a group of exceptions ends in a frame of | and -
        return f"{line.get('event', last)}{': ' if error else ''}{error}"
    return last


class _Child:
    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.asked = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None
        self.task: asyncio.Task[None] | None = None

    def signal(self, number: signal.Signals) -> None:
        """Send ``number`` to the child; a kill goes to all that it started too."""
        self.asked.set()
        if self.process is None or self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)


class Supervisor:
    """Keeps children alive. ``say`` takes a line for a person; ``rng`` gives the jitter."""

    def __init__(self, log_dir: Path, say: Callable[[str], None], rng: random.Random) -> None:
        self._log_dir = log_dir
        self._say = say
        self._rng = rng
        self._children: dict[str, _Child] = {}
        self.refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when a child says by exit code 2 that starting it again is of no use.

        Fails with the error where a child cannot be started at all.
        """

    def start(self, spec: ChildSpec) -> None:
        """Start a child and keep it alive until ``stop``. A role has one child."""
        child = self._children[spec.role] = _Child(spec)
        child.task = asyncio.create_task(self._keep(child), name=spec.role)
        child.task.add_done_callback(self._report)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.refused.done():
            self.refused.set_exception(error)

    def replace(self, spec: ChildSpec) -> None:
        """Use ``spec`` from the child's next start on; the running process stays."""
        self._children[spec.role].spec = spec

    def log_path(self, role: str) -> Path:
        """Return where the child's log is."""
        return self._log_dir / f"{role}.log"

    async def stop(self, first: Sequence[str] = (), within_s: float = STOP_S) -> list[str]:
        """Stop all children by SIGTERM, those of ``first`` before the others; return the roles that had to be killed.

        The first get half of ``within_s``, and what still runs at its end is killed with all that it started. On
        return no child runs.
        """
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        leading = [self._children[role] for role in first if role in self._children]
        await self._end(leading, signal.SIGTERM, within_s / 2)
        everybody = list(self._children.values())
        late = await self._end(everybody, signal.SIGTERM, begun_s + within_s - loop.time())
        await self._end(late, signal.SIGKILL, None)
        return [child.spec.role for child in late]

    async def _end(self, children: list[_Child], number: signal.Signals, timeout_s: float | None) -> list[_Child]:
        tasks = {child.task: child for child in children if child.task is not None and not child.task.done()}
        for child in tasks.values():
            child.signal(number)
        if not tasks:
            return []
        _, pending = await asyncio.wait(tasks, timeout=timeout_s)
        return [tasks[task] for task in pending]

    async def _keep(self, child: _Child) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff(self._rng, first_s=_FIRST_S, most_s=_LONGEST_S)
        while not child.asked.is_set():
            begun_s = loop.time()
            code = await self._run_once(child)
            if child.asked.is_set():
                return
            role, log = child.spec.role, self.log_path(child.spec.role)
            if code == WRONG_USE:
                if not self.refused.done():
                    self.refused.set_result(f"{role} cannot run: {last_words(log)} (log: {log})")
                return
            if loop.time() - begun_s > _STEADY_S:
                backoff.reset()
            delay_s = backoff.next_s()
            how = f"signal {-code}" if code < 0 else f"exit {code}"
            self._say(f"{role} ended ({how}: {last_words(log)}); again in {delay_s:.1f} s; its log is {log}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.asked.wait(), delay_s)

    async def _run_once(self, child: _Child) -> int:
        log = open_log(self.log_path(child.spec.role))
        try:
            child.process = await asyncio.create_subprocess_exec(
                *child.spec.argv,
                env=dict(child.spec.environ),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        finally:
            os.close(log)
        if child.asked.is_set():  # asked to stop while it was being started
            child.process.terminate()
        return await child.process.wait()
