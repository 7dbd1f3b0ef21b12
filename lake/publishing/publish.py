"""Publishing hours: from what was logged of them to what everybody reads.

Owns the decision: which versions of which hours one manifest holds, and that it is put under the next number or not at
all. Whoever dies anywhere leaves the old state or the new one, never a part; the next run goes on from there.

1. The files of each hour are written and proved (lake.publishing.drafts). Nothing names them yet.
2. The manifest is put under the next number: the decision.
3. Each table is committed, and 4. coverage, by which readers find all the rest (lake.publishing.carry_out).

What the last manifest decided is finished before anything else is begun, so that a manifest exists only where the one
before it is carried out. Several publishers at once do no harm: one of them gets the number.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
from lake.settling.earlier import Reached, books_before
from lake.settling.settle import SettledHour, settle
from lake.settling.sources import read_source
from lake.settling.standing import Standing

TRIES = 8

Rebuild = Callable[[int, Mapping[int, Mapping[int, int]]], dict[int, int]]
"""Makes the log of an hour anew and returns, by shard, the number of the rebuild that holds it.

It is given, by shard, the hours that are published from a rebuild, or about to be, with its number. Raises
PublishError, naming what of the raw frames is missing.
"""


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
        return _read(home, hour, standing, known, {})

    def has_closes(hour: int) -> bool:
        sources = (
            read_source(home, shard, hour, known.newest(shard), known.rebuilt(shard)) for shard in paths.shards(home)
        )
        return any(source.late_closes.num_rows for source in sources)

    def start(shelf: Shelf) -> Attempt:
        known.look(shelf.manifest_number())
        wanted = {hour for hour in hours if reason != "hour" or not shelf.published(hour)}
        wanted |= {hour for hour in known.overtaken() if hour < max(wanted, default=0)}
        wanted |= {hour for hour in known.reached(wanted) if not shelf.published(hour) and has_closes(hour)}
        return Attempt(shelf, home, sorted(wanted), reason, fail_point)

    return _publish(lake, start, settled, now_us, fail_point)


def publish_rebuilt(
    lake: Path,
    home: Path,
    hours: Sequence[int],
    rebuild: Rebuild,
    *,
    now_us: Callable[[], int],
    fail_point: Step = no_step,
    progress: Progress | None = None,
) -> Manifest | None:
    """Publish hours from logs that ``rebuild`` makes of their raw frames, with reason ``rebuilt``, all in one manifest.

    Published hours after them that rest on what changed are rebuilt too; from their logs where their raw frames are not
    kept any more. Returns and raises as publish_hours does, PublishError also where something of an hour's raw frames
    is missing: then nothing of it is published. Cost: that of recording the hours, and of publishing them.
    """
    known = progress or Progress(lake, home)
    made: dict[int, dict[int, int]] = {}
    asked = {*hours}
    while True:
        known.look(_manifests(lake))
        for hour in sorted(asked - made.keys()):
            rebuilt = {shard: _rebuilt(known, made, shard) for shard in paths.shards(home)}
            try:
                made[hour] = rebuild(hour, rebuilt)
            except PublishError:
                if hour in hours:
                    raise
                made[hour] = {}
        try:
            return _publish_made(lake, home, made, known, now_us, fail_point)
        except _RestsOnRebuiltError as error:
            asked.add(error.hour)


class _RestsOnRebuiltError(PublishError):
    """An hour that rests on one that is rebuilt, and is not rebuilt yet."""


def _publish_made(
    lake: Path,
    home: Path,
    made: Mapping[int, Mapping[int, int]],
    known: Progress,
    now_us: Callable[[], int],
    step: Step,
) -> Manifest | None:
    def settled(hour: int, standing: Standing) -> Settled:
        if hour not in made and hour > min(made):
            raise _RestsOnRebuiltError(hour, "it rests on an hour that is rebuilt")
        return _read(home, hour, standing, known, made)

    def start(shelf: Shelf) -> Attempt:
        known.look(shelf.manifest_number())
        return Attempt(shelf, home, sorted(made), "rebuilt", step, rebuilt=[hour for hour in made if made[hour]])

    return _publish(lake, start, settled, now_us, step)


def _rebuilt(known: Progress, made: Mapping[int, Mapping[int, int]], shard: int) -> dict[int, int]:
    """Return the hours whose log of a shard is that of a rebuild, with its number."""
    return known.rebuilt(shard) | {hour: numbers[shard] for hour, numbers in made.items() if shard in numbers}


def _manifests(lake: Path) -> int:
    shelf = Shelf(lake)
    shelf.refresh()
    return shelf.manifest_number()


def _read(home: Path, hour: int, standing: Standing, known: Progress, made: Mapping[int, Mapping[int, int]]) -> Settled:
    """Settle an hour from the logs under a home, up to what ``known`` has seen of them."""
    shards = [shard for shard in paths.shards(home) if hour <= max(paths.hours(home, shard), default=-1)]
    rebuilt = {shard: _rebuilt(known, made, shard) for shard in shards}
    # One look for all hours: a close that comes meanwhile must not withdraw rows here and stand open there.
    sources = [read_source(home, shard, hour, known.newest(shard), rebuilt[shard]) for shard in shards]
    sources = [
        one
        for one in sources
        if one.late_closes.num_rows or hour in rebuilt[one.shard] or _has_folder(home, one.shard, hour)
    ]
    if not sources:
        raise PublishError(hour, "no shard has a log of it")
    reads = {
        source.shard: ShardRead(source.flush, source.end is not None, rebuilt[source.shard].get(hour, 0))
        for source in sources
    }

    def books(shard: int, before: int, tickers: Collection[str]) -> dict[str, Reached]:
        return books_before(home, shard, before, tickers, known.newest(shard), rebuilt.get(shard))

    return settle(sources, standing, books), reads


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
