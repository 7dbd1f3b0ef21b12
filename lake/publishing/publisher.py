"""The publisher: looks what is due, again and again, and publishes it.

Owns when the journal is looked at, what happens after an error, and what it knows of the hours it has seen. Decides no
hour by itself (lake.publishing.plan) and writes nothing itself (lake.publishing.publish). The clocks and the log are
passed in.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

from book.errors import LakeError, PublishError
from lake import paths
from lake.publishing import carry_out, publish
from lake.publishing.manifest import HourEntry
from lake.publishing.plan import GIVEN_UP_S, Task
from lake.publishing.progress import Progress
from lake.publishing.shelf import Shelf

LOOK_EVERY_S = 1.0
AFTER_ERROR_S = 10.0
"""Machine time between two looks, and before the next one after a task has failed."""


class Publisher:
    """Publish the hours of every shard under ``home`` to ``lake``.

    ``now_us`` is the clock that stamps records, in microseconds; waiting goes by ``monotonic_s``, the machine's.
    ``log`` takes an event's name and its fields. Several publishers at once do no harm.
    """

    def __init__(
        self,
        lake: Path,
        home: Path,
        now_us: Callable[[], int],
        log: Callable[..., None],
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shelf = Shelf(lake)
        """The published hours, as of the last look."""
        self.errors = 0
        """Looks that failed."""
        self.waiting: list[int] = []
        """Hours that are over and not published, ascending, as of the last look."""
        self._lake, self._home = lake, home
        self._now_us, self._monotonic_s = now_us, monotonic_s
        self._log = log
        self._finished = False
        self._progress = Progress(lake, home)
        self._over_since_s: dict[int, float] = {}

    def run(self, stop: Event) -> None:
        """Publish what is due until ``stop`` is set; a task under way is finished first.

        An hour that cannot be published is logged and tried again later; the hours after it wait. Errors other than
        the lake's own and the system's are bugs, and are raised.
        """
        while not stop.is_set():
            stop.wait(LOOK_EVERY_S if self.look(stop) else AFTER_ERROR_S)

    def once(self, hours: Sequence[int] | None = None) -> list[int]:
        """Publish what is due now, or just these hours, whether new or not; return the hours published.

        An hour that is over counts as long over by the machine's clock. Raises LakeError, OSError, and PublishError
        where an hour named is not over.
        """
        self._finish()
        if hours is not None:
            self._refuse_early(hours)
            return self._publish(Task(tuple(sorted(hours)), again=True)) if hours else []
        done: list[int] = []
        while tasks := self._tasks(lambda _hour: GIVEN_UP_S):
            done += self._publish(tasks[0])
        return done

    def from_raw(self, hours: Sequence[int], rebuild: publish.Rebuild) -> list[int]:
        """Publish hours from their raw frames, and those after them that rest on them; return the hours published.

        Raises LakeError, OSError, and PublishError where an hour is not over or raw frames of it are missing.
        """
        self._finish()
        self._refuse_early(hours)
        self._refresh()
        started_s = self._monotonic_s()
        decided = publish.publish_rebuilt(
            self._lake, self._home, hours, rebuild, now_us=self._now_us, progress=self._progress
        )
        for entry in decided.hours if decided else ():
            self._tell(entry, self._monotonic_s() - started_s)
        self.shelf.refresh()
        return [entry.hour for entry in decided.hours] if decided else []

    def look(self, stop: Event) -> bool:
        """Publish what is due, until ``stop`` is set between two tasks; say whether all went well."""
        try:
            self._finish()
            for task in self._tasks(self._over_for_s):
                if stop.is_set():
                    break
                self._publish(task)
        except (LakeError, OSError) as error:
            self.errors += 1
            self._finished = False
            self._log("publish_failed", kind=type(error).__name__, error=str(error))
            return False
        return True

    def _refuse_early(self, hours: Sequence[int]) -> None:
        early = [hour for hour in hours if self._now_us() < paths.hour_start_us(hour + 1)]
        if early:
            raise PublishError(early[0], "it is not over yet")

    def _finish(self) -> None:
        """Finish what a publisher that died had decided. Publishing does so too: here it is for the start."""
        if not self._finished:
            carry_out.finish(self._lake)
            self._finished = True

    def _over_for_s(self, hour: int) -> float:
        """Return the machine's seconds since we first saw that an hour was over: never more than it has been."""
        now_s = self._monotonic_s()
        return now_s - self._over_since_s.setdefault(hour, now_s)

    def _tasks(self, over_for_s: Callable[[int], float]) -> list[Task]:
        self._refresh()
        now_us = self._now_us()
        over = {folder.hour for folder in self._progress.folders if paths.hour_start_us(folder.hour + 1) <= now_us}
        self.waiting = sorted(hour for hour in over if not self._progress.seen(hour))
        waited = {hour: over_for_s(hour) for hour in self.waiting}
        return self._progress.plan(now_us, lambda hour: waited.get(hour, 0.0))

    def _refresh(self) -> None:
        """Take in what was logged, and what was published, by whomever."""
        self.shelf.refresh()
        self._progress.look(self.shelf.manifest_number())

    def _publish(self, task: Task) -> list[int]:
        """Carry a task out and return the hours published.

        An hour that was read and found unchanged, or empty, is not read again until its log has grown.
        """
        self._refresh()
        number = self.shelf.manifest_number()
        started_s = self._monotonic_s()
        decided = publish.publish_hours(
            self._lake,
            self._home,
            task.hours,
            now_us=self._now_us,
            reason="late" if task.again else "hour",
            progress=self._progress,
        )
        took_s = self._monotonic_s() - started_s
        entries = [] if decided is None else decided.hours
        done = [entry.hour for entry in entries]
        for entry in entries:
            self._tell(entry, took_s)
        self.shelf.refresh()
        if decided is not None or self.shelf.manifest_number() == number:  # else another publisher was faster
            for hour in task.hours:
                self._over_since_s.pop(hour, None)
                if hour not in done:
                    self._progress.note_read(hour)
        return done

    def _tell(self, entry: HourEntry, took_s: float) -> None:
        place = paths.partition(entry.hour)
        self._log(
            "published",
            hour=f"{place['dt']}T{int(place['hr']):02d}",
            version=entry.version,
            reason=entry.reason,
            rows={table: sum(data.rows for data in files) for table, files in entry.files.items() if files},
            ended={shard: read.ended for shard, read in entry.shards.items()},
            took_s=round(took_s, 2),
        )
