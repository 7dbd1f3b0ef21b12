"""Which hours are published now, and which are published again. Pure: what is known comes in, a list of tasks goes out.

Owns when an hour is due and when a published one has been overtaken by its log. Reads nothing and no clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lake import paths
from lake.publishing.manifest import ShardRead

MINUTE_US = 60_000_000
SETTLED_US = MINUTE_US
"""An hour is looked at from so long after its end, on the clock that stamps records; so is what reached back."""
GIVEN_UP_US = 5 * MINUTE_US
GIVEN_UP_S = 30.0
"""Without the END of every shard an hour waits so long, on that clock and by the machine's."""


_NOT_READ = ShardRead(-1, ended=False)


class Touch(NamedTuple):
    """The newest flush of a folder that has to do with an hour, and its stamp in microseconds."""

    flush: int
    at_us: int


NEVER = Touch(0, 0)


@dataclass(frozen=True)
class Folder:
    """What the flush file of one shard's hour tells a planner.

    ``ended`` where it has its END. ``alive`` where a conn is up at its last mark. ``own`` is the newest flush with rows
    of the hour itself, ``touches`` those that reach earlier hours: closes stamped in them, silences that began there.
    ``newest`` is the number of the newest flush known through the folder.
    """

    shard: int
    hour: int
    ended: bool = False
    alive: bool = True
    own: Touch = NEVER
    touches: Mapping[int, Touch] = field(default_factory=dict)
    newest: int = 0


class Task(NamedTuple):
    """Hours for one manifest, ascending; ``again`` where some are published already."""

    hours: tuple[int, ...]
    again: bool


def plan(
    folders: Sequence[Folder],
    published: Mapping[int, Mapping[int, ShardRead] | None],
    now_us: int,
    ended_for_s: Mapping[int, float],
) -> list[Task]:
    """Return what is to be published now, in order.

    ``published`` maps each published hour to how far its shards' logs were read, None where it does not come from a
    log. ``now_us`` is the clock that stamps records, ``ended_for_s`` the machine's seconds since an hour ended (one
    that is missing has just ended). Hours come in ascending order: none before an earlier one that still waits. What
    reached back comes before the next new hour, in one manifest with it; without one by itself, once a minute old.
    """
    by_hour: dict[int, list[Folder]] = {}
    for folder in folders:
        by_hour.setdefault(folder.hour, []).append(folder)
    past = overtaken(folders, published)
    tasks: list[Task] = []
    for hour in sorted(by_hour):
        if hour in published:
            continue
        if not _due(hour, by_hour, now_us, ended_for_s.get(hour, 0.0)):
            break
        # Never without them: what withdraws rows there withdraws rows here, and this hour rests on those.
        again = sorted(early for early in past if early < hour)
        for early in again:
            del past[early]
        tasks.append(Task((*again, hour), bool(again)))
    late = sorted(hour for hour, at_us in past.items() if now_us - at_us >= SETTLED_US)
    return [Task(tuple(late), True), *tasks] if late else tasks


def read_up_to(folders: Sequence[Folder], hour: int) -> dict[int, ShardRead]:
    """Return what has been read of an hour by whoever reads all that these folders tell of it."""
    found: dict[int, ShardRead] = {}
    for folder in folders:
        known = found.get(folder.shard, _NOT_READ)
        flush = max((touch.flush for touch in _touching(folder, hour)), default=-1)
        ended = known.ended or (folder.hour == hour and folder.ended)
        found[folder.shard] = ShardRead(max(known.flush, flush), ended)
    return found


def _due(hour: int, by_hour: Mapping[int, Sequence[Folder]], now_us: int, ended_for_s: float) -> bool:
    over_us = now_us - paths.hour_start_us(hour + 1)
    if over_us < SETTLED_US:
        return False
    here = {folder.shard: folder.ended for folder in by_hour[hour]}
    # A shard of the hour before that has not said its last word may still come with rows of this one.
    silent = [
        folder
        for folder in by_hour.get(hour - 1, ())
        if folder.shard not in here and (folder.alive or not folder.ended)
    ]
    if all(here.values()) and not silent:
        return True
    return over_us >= GIVEN_UP_US and ended_for_s >= GIVEN_UP_S


def overtaken(folders: Sequence[Folder], published: Mapping[int, Mapping[int, ShardRead] | None]) -> dict[int, int]:
    """Return the published hours that the log has gone past, each with the stamp of what did so last.

    Cost: a look at each folder, and at each hour that one of them touches.
    """
    found: dict[int, int] = {}
    for folder in folders:
        first = min(folder.touches, default=folder.hour)
        for hour in range(first, folder.hour + 1):
            shards = published.get(hour)
            if shards is None:
                continue
            read = shards.get(folder.shard, _NOT_READ)
            touches = [touch for touch in _touching(folder, hour) if touch.flush > read.flush]
            if folder.hour == hour and folder.ended and not read.ended:
                touches.append(folder.own)
            for touch in touches:
                found[hour] = max(found.get(hour, 0), touch.at_us)
    return found


def _touching(folder: Folder, hour: int) -> list[Touch]:
    """Return what of a folder has to do with an hour.

    What a close withdraws may stand in any hour from its stamp to the folder that it was logged in.
    """
    if hour > folder.hour:
        return []
    own = [folder.own] if hour == folder.hour else []
    return own + [touch for early, touch in folder.touches.items() if early <= hour]
