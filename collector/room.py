"""Whether there is room to record, and how a flush is made durable through a disk that refuses.

Owns when recording stops for want of space and when it goes on, and how long a disk that refuses is waited for. Never
writes anything itself, and ends no connection: who records looks at ``stopped``.

A stop is an end of our own choosing: every connection is ended, and the spans close as they do at a shutdown.
"""

import asyncio
import errno
import time
from collections.abc import Callable
from typing import TypeVar

from collector.disk import Disk

RETRY_S = 0.25
GIVE_UP_S = 30.0
HURRY_S = 2.0
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Log = Callable[..., None]
T = TypeVar("T")


class Room:
    """The room of one shard. ``halt`` is called, once a stop, as soon as recording must stop."""

    def __init__(self, disk: Disk, log: Log, halt: Callable[[], None]) -> None:
        self._disk = disk
        self._log = log
        self._halt = halt
        self.stopped = False
        self.free_bytes = 0
        """As of the last look."""
        self.hurried = False
        """Whether the process has been told to end: a disk that refuses is then not waited for."""

    def begin(self) -> None:
        """Look for the first time: make the reserve, or begin stopped."""
        self.look(idle=False)
        if not self.stopped and not self._disk.reserve.hold():
            self._stop("no reserve can be made")

    def look(self, *, idle: bool) -> None:
        """Stop or resume by the free space; resuming asks that all is closed and durable: ``idle``."""
        try:
            self.free_bytes = self._disk.free_bytes()
            if self.stopped:
                if idle and self._disk.roomy():
                    self.stopped = False
                    self._log("recording_resumed", free_bytes=self.free_bytes)
            elif self._disk.short():
                self._stop("too little space is free")
        except OSError as error:
            self._log("disk_unreadable", error=str(error))

    async def durable(self, work: Callable[[], T], *, owed: bool = True) -> T:
        """Run blocking ``work`` in a thread until the disk takes it, and return what it returns.

        A full disk stops recording and has the reserve given back. Raises the disk's OSError when it has refused for
        GIVE_UP_S machine seconds; where nothing is ``owed``, since every span is closed by what is acknowledged, a
        stopped recorder waits for ever.
        """
        refused_s: float | None = None
        while True:
            try:
                return await asyncio.to_thread(work)
            except OSError as error:
                now_s = time.monotonic()
                if refused_s is None:
                    refused_s = now_s
                    self._log("disk_refused", error=str(error))
                if error.errno in FULL:
                    self._stop("the disk is full")
                waited_s = now_s - refused_s
                waits = waited_s < (HURRY_S if self.hurried else GIVE_UP_S)
                if not waits and (self.hurried or owed or not self.stopped):
                    raise
            await asyncio.sleep(RETRY_S)

    def _stop(self, why: str) -> None:
        if not self.stopped:
            self.stopped = True
            self._log("recording_stopped", why=why, free_bytes=self.free_bytes, reserve=self._released())
            self._halt()

    def _released(self) -> bool:
        try:
            return self._disk.reserve.release()
        except OSError:
            return False
