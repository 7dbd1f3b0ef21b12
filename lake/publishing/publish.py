"""Publishing hours: from what was logged of them to what everybody reads.

Owns the decision: which versions of which hours one manifest holds, and that it is put under the next number or not at
all. Whoever dies anywhere leaves the old state or the new one, never a part; the next run goes on from there.

1. The files of each hour are written and proved (lake.publishing.drafts). Nothing names them yet.
2. The manifest is put under the next number: the decision.
3. Each table is committed, and 4. coverage, by which readers find all the rest (lake.publishing.carry_out).

What the last manifest decided is finished before anything else is begun, so that a manifest exists only where the one
before it is carried out. Several publishers at once do no harm: one of them gets the number.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path

from book.errors import PublishError
from lake import paths
from lake.objects import Step, no_step
from lake.publishing import carry_out
from lake.publishing.attempt import Attempt, Settled
from lake.publishing.manifest import Manifest, ShardRead
from lake.publishing.progress import Progress
from lake.publishing.shelf import Shelf
from lake.settling.settle import SettledHour, settle
from lake.settling.sources import read_source
from lake.settling.standing import Standing

TRIES = 8


def publish_hours(
    lake: Path,
    home: Path,
    hours: Sequence[int],
    *,
    now_us: Callable[[], int],
    reason: str = "hour",
    fail_point: Step = no_step,
    progress: Progress | None = None,
) -> Manifest | None:
    """Publish hours from the logs under ``home``, all in one manifest; visible to every reader on return.

    With reason ``hour`` those published already are left out; with any other they are read again and get a new version
    where that differs. In the same manifest come the published hours before them that the log has gone past since they
    were read, those without a folder that closes logged in these are stamped in, and those after them that rest on what
    changed. An hour of which there is nothing to tell is not
    published. Returns the manifest, None where there was nothing to publish or another publisher was faster.
    ``fail_point`` is told each step's name; ``progress`` is of this lake and home, made anew where not given.

    Raises PublishError, ProofError, CorruptError, OSError: nothing of these hours is visible then, unless the manifest
    was decided already; the next call finishes it. Cost: about 10 us an orderbook row.
    """
    known = progress or Progress(lake, home)

    def settled(hour: int, standing: Standing) -> Settled:
        shards = [shard for shard in paths.shards(home) if hour <= max(paths.hours(home, shard), default=-1)]
        # One look for all hours: a close that comes meanwhile must not withdraw rows here and stand open there.
        sources = [read_source(home, shard, hour, known.newest(shard)) for shard in shards]
        sources = [one for one in sources if one.late_closes.num_rows or _has_folder(home, one.shard, hour)]
        if not sources:
            raise PublishError(hour, "no shard has a log of it")
        reads = {source.shard: ShardRead(source.flush, source.end is not None) for source in sources}
        return settle(sources, standing), reads

    def has_closes(hour: int) -> bool:
        sources = (read_source(home, shard, hour, known.newest(shard)) for shard in paths.shards(home))
        return any(source.late_closes.num_rows for source in sources)

    def start(shelf: Shelf) -> Attempt:
        known.look(shelf.manifest_number())
        wanted = {hour for hour in hours if reason != "hour" or not shelf.published(hour)}
        wanted |= {hour for hour in known.overtaken() if hour < max(wanted, default=0)}
        wanted |= {hour for hour in known.reached(wanted) if not shelf.published(hour) and has_closes(hour)}
        return Attempt(shelf, home, sorted(wanted), reason, fail_point)

    return _publish(lake, start, settled, now_us, fail_point)


def publish_settled(
    lake: Path,
    settled_hours: Iterable[SettledHour],
    *,
    now_us: Callable[[], int],
    reason: str = "import",
    fail_point: Step = no_step,
) -> Manifest | None:
    """Publish hours settled elsewhere, all in one manifest; the same again is left alone.

    Each must have been settled with what stood before it (``standing_before``); hours after them that are published
    already are not told anew. Returns and raises as publish_hours does; PublishError where an hour is published with
    other rows: what was recorded is not replaced.
    """
    given = {settled.hour: settled for settled in settled_hours}

    def settled(hour: int, _standing: Standing) -> Settled:
        return given[hour], {shard: ShardRead(0, True) for shard in sorted({*given[hour].shard_of_conn.values()})}

    def start(shelf: Shelf) -> Attempt:
        return Attempt(shelf, None, sorted(given), reason, fail_point)

    return _publish(lake, start, settled, now_us, fail_point)


def _has_folder(home: Path, shard: int, hour: int) -> bool:
    return paths.hour_dir(home, shard, hour).is_dir()


def standing_before(lake: Path, hour: int) -> Standing:
    """Return what stands before an hour that is imported: at the end of the latest imported one before it."""
    shelf = Shelf(lake)
    shelf.refresh()
    return Attempt(shelf, None, [], "import", no_step).standing(hour)[1]


def _publish(
    lake: Path,
    start: Callable[[Shelf], Attempt],
    settled: Callable[[int, Standing], Settled],
    now_us: Callable[[], int],
    step: Step,
) -> Manifest | None:
    """Try for one number after the other until a manifest stands, or there is none to be made."""
    for tries in count(1):
        step("0.finish")
        carry_out.finish(lake, step)
        shelf = Shelf(lake)
        shelf.refresh()
        attempt = start(shelf)
        try:
            attempt.draft_all(settled)
            decided = attempt.decide(now_us()) if attempt.drafts else None
        except BaseException:
            if not attempt.deciding:
                attempt.discard()
            raise
        if decided is not None:
            carry_out.carry_out(lake, decided, step)
            return decided
        if not attempt.drafts:
            return None
        attempt.discard()  # who took the number may have published the same: the next try finds that
        if tries == TRIES:
            raise PublishError(max(attempt.drafts), f"others have taken the next number {TRIES} times")
    raise AssertionError("unreachable: the last try returns or raises")
