"""Owns the threads that questions run in: how many at once, how many may wait, and for how long.

Knows nothing of what it runs. A thread cannot be stopped from outside: a call past its deadline is answered for,
keeps its thread until it ends, and counts as long as it does.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from book.errors import ApiError

T = TypeVar("T")


class Workers:
    """Threads for blocking calls: ``threads`` run at once, ``waiting`` more may wait, each for ``deadline_s``.

    The threads are daemons, so that a call that hangs does not keep the process from stopping.
    """

    def __init__(self, threads: int, waiting: int, deadline_s: float) -> None:
        self._threads = threads
        self._bound = threads + waiting
        self._deadline_s = deadline_s
        self._unfinished = 0
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._started = False

    @property
    def unfinished(self) -> int:
        """Calls that run or wait, those past their deadline among them."""
        return self._unfinished

    async def run(self, call: Callable[[], T]) -> T:
        """Run ``call`` in a thread and return what it returns, or raise what it raises.

        Raises ApiError ``overloaded`` where too many wait, ``deadline_exceeded`` past the deadline.
        """
        if self._unfinished >= self._bound:
            raise ApiError("overloaded", "too many questions wait already")
        self._start()
        self._unfinished += 1
        job = _Job(call, asyncio.get_running_loop(), self._settle)
        self._jobs.put(job)
        done, _ = await asyncio.wait({job.future}, timeout=self._deadline_s)
        if not done:
            job.dropped = True
            raise ApiError("deadline_exceeded", f"no answer within {self._deadline_s:g} seconds")
        result: T = job.future.result()
        return result

    def close(self) -> None:
        """Let every thread end after its present call."""
        if self._started:
            for _ in range(self._threads):
                self._jobs.put(None)
            self._started = False

    def _start(self) -> None:
        if not self._started:
            self._started = True
            for n in range(self._threads):
                threading.Thread(target=self._serve, name=f"question-{n}", daemon=True).start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()

    def _settle(self, job: "_Job", result: Any, error: BaseException | None) -> None:
        self._unfinished -= 1
        if job.dropped:
            return
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)


class _Job:
    """A call, the loop that awaits it and whether it still does."""

    def __init__(
        self,
        call: Callable[[], Any],
        loop: asyncio.AbstractEventLoop,
        settle: Callable[["_Job", Any, BaseException | None], None],
    ) -> None:
        self.call = call
        self.loop = loop
        self.settle = settle
        self.future: asyncio.Future[Any] = loop.create_future()
        self.dropped = False

    def run(self) -> None:
        result, error = None, None
        if not self.dropped:
            try:
                result = self.call()
            except BaseException as raised:  # noqa: BLE001 - carried to the caller, who decides
                error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self.settle, self, result, error)
