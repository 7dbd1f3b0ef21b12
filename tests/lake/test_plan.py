"""The plan: which hours are due, which wait, and which published ones their log has gone past."""

import random
from typing import Any

import pytest

from book.records import HOUR_US
from lake.publishing import plan as planning
from lake.publishing.manifest import ShardRead
from lake.publishing.plan import MINUTE_US, Folder, Task, Touch, plan, read_up_to

H = 495_046
NEW, AGAIN = False, True


def folder(
    hour: int, *, shard: int = 0, ended: bool = True, alive: bool = True, own: int = 10, **touches: int
) -> Folder:
    """Return hour H + ``hour``; ``touches`` are h0=20: flush 20 touches H + 0. Each flush is stamped in its folder."""
    at_us = (H + hour) * HOUR_US + 30 * MINUTE_US
    found = {H + int(name[1:]): Touch(flush, at_us) for name, flush in touches.items()}
    return Folder(shard, H + hour, ended, alive, Touch(own, at_us), found)


def planned(
    folders: list[Folder],
    published: dict[int, Any] | None = None,
    *,
    at: float = 5,
    waited: dict[int, float] | None = None,
) -> list[tuple[list[int], bool]]:
    """Plan ``at`` hours after H began; published: hour -> {shard: flush, or (flush, ended)} or None."""
    done: dict[int, dict[int, ShardRead] | None] = {
        H + hour: None
        if shards is None
        else {shard: ShardRead(*(read if isinstance(read, tuple) else (read, True))) for shard, read in shards.items()}
        for hour, shards in (published or {}).items()
    }
    now_us = H * HOUR_US + round(at * HOUR_US)
    tasks = plan(folders, done, now_us, {H + hour: s for hour, s in (waited or {}).items()})
    return [([hour - H for hour in task.hours], task.again) for task in tasks]


MINUTE = 1 / 60
LONG = {0: 30.0, 1: 30.0, 2: 30.0}


@pytest.mark.parametrize(
    ("folders", "at", "waited", "hours"),
    [
        pytest.param([], 5, {}, [], id="nothing"),
        pytest.param([folder(0)], 1 + MINUTE, {}, [[0]], id="ended, a minute after"),
        pytest.param([folder(0)], 1 + MINUTE * 0.99, {}, [], id="ended, not a minute after"),
        pytest.param([folder(0, ended=False)], 1 + 5 * MINUTE, LONG, [[0]], id="no END, five minutes and 30 s after"),
        pytest.param([folder(0, ended=False)], 1 + 4.99 * MINUTE, LONG, [], id="no END, not five minutes after"),
        pytest.param([folder(0, ended=False)], 1 + 9 * MINUTE, {0: 29.9}, [], id="no END, not 30 s of machine time"),
        pytest.param([folder(0, ended=False)], 1 + 9 * MINUTE, {}, [], id="no END, first look"),
        pytest.param([folder(0), folder(0, shard=1)], 1 + MINUTE, {}, [[0]], id="both shards ended"),
        pytest.param([folder(0), folder(0, shard=1, ended=False)], 1 + MINUTE, {}, [], id="one shard has not ended"),
        pytest.param([folder(0), folder(0, shard=1, ended=False)], 2, LONG, [[0]], id="one shard never ended"),
        pytest.param([folder(0), folder(1), folder(2)], 5, {}, [[0], [1], [2]], id="ascending"),
        pytest.param([folder(0, ended=False), folder(1)], 1 + 4 * MINUTE, {}, [], id="the earlier one still waits"),
        pytest.param([folder(0), folder(1, ended=False), folder(2)], 5, {}, [[0]], id="none past one that waits"),
        pytest.param([folder(0), folder(3)], 5, {}, [[0], [3]], id="hours without a log are passed over"),
        pytest.param(
            [folder(0), folder(0, shard=1), folder(1)], 2 + MINUTE, {}, [[0]],
            id="a shard of the hour before that lives and has no folder here may still come",
        ),
        pytest.param(
            [folder(0), folder(0, shard=1), folder(1)], 2 + 5 * MINUTE, LONG, [[0], [1]], id="it is given up as well",
        ),
        pytest.param(
            [folder(0), folder(0, shard=1, alive=False), folder(1)], 2 + MINUTE, {}, [[0], [1]],
            id="a shard that ended with all its conns closed is not waited for",
        ),
        pytest.param(
            [folder(0), folder(0, shard=1, alive=False, ended=False), folder(1)], 2 + MINUTE, LONG, [[0]],
            id="a shard that said no last word is",
        ),
    ],
)  # fmt: skip
def test_new_hours(folders: list[Folder], at: float, waited: dict[int, float], hours: list[list[int]]) -> None:
    assert planned(folders, at=at, waited=waited) == [(one, NEW) for one in hours]


@pytest.mark.parametrize(
    ("folders", "published", "at", "tasks"),
    [
        pytest.param([folder(0)], {0: {0: 10}}, 5, [], id="all was read"),
        pytest.param([folder(0, own=11)], {0: {0: 10}}, 5, [([0], AGAIN)], id="rows after it was read"),
        pytest.param([folder(0, own=11)], {0: None}, 5, [], id="not made from a log"),
        pytest.param([folder(0)], {0: {0: (10, False)}}, 5, [([0], AGAIN)], id="its END came later"),
        pytest.param([folder(0, ended=False)], {0: {0: (10, False)}}, 5, [], id="its END never came"),
        pytest.param([folder(0), folder(0, shard=1)], {0: {0: 10}}, 5, [([0], AGAIN)], id="a shard that was not read"),
        pytest.param([folder(0), folder(1, own=20, h0=19)], {0: {0: 20}, 1: {0: 20}}, 5, [], id="the close was read"),
        pytest.param(
            [folder(0), folder(1, own=20, h0=19)], {0: {0: 10}, 1: {0: 20}}, 5, [([0], AGAIN)], id="a close reaches",
        ),
        pytest.param(
            [folder(0), folder(1, own=20, h0=19)], {0: {0: 10}}, 5, [([0, 1], AGAIN)],
            id="with the hour that shows it",
        ),
        pytest.param(
            [folder(0), folder(1), folder(2, own=20, h0=19)], {0: {0: 10}, 1: {0: 10}}, 5, [([0, 1, 2], AGAIN)],
            id="and with those between, where rows it withdraws may stand",
        ),
        pytest.param(
            [folder(0), folder(1), folder(2, own=20, h1=19)], {0: {0: 10}, 1: {0: 10}}, 5, [([1, 2], AGAIN)],
            id="but none before its stamp",
        ),
        pytest.param(
            [folder(0), folder(1, own=20, ended=False, h0=19)], {0: {0: 10}}, 1.5 + MINUTE, [([0], AGAIN)],
            id="alone where the hour that shows it is not over",
        ),
        pytest.param(
            [folder(0), folder(1, own=20, ended=False, h0=19)], {0: {0: 10}}, 1.5 + 0.9 * MINUTE, [],
            id="not before it is a minute old",
        ),
        pytest.param(
            [folder(0), folder(1), folder(2, own=30, ended=False, h0=19)], {0: {0: 10}}, 2.6,
            [([0, 1], AGAIN)], id="with the next new hour, whichever shows it",
        ),
        pytest.param(
            [folder(0), folder(1, own=20, h0=19), folder(2)], {0: {0: 10}}, 5, [([0, 1], AGAIN), ([2], NEW)],
            id="the next hour by itself",
        ),
        pytest.param(
            [folder(0), folder(0, shard=1, own=4), folder(1, shard=1, own=5, h0=4), folder(1)], {0: {0: 10, 1: 4}}, 5,
            [([1], NEW)], id="flushes are compared within a shard",
        ),
        pytest.param([folder(1, own=20, h0=19)], {}, 5, [([1], NEW)], id="an hour that is not published is not again"),
    ],
)  # fmt: skip
def test_published_hours(
    folders: list[Folder], published: dict[int, Any], at: float, tasks: list[tuple[list[int], bool]]
) -> None:
    assert planned(folders, published, at=at) == tasks


def test_who_reads_all_that_is_told_has_nothing_left_to_do() -> None:
    rng = random.Random(3)
    for _ in range(300):
        folders = [
            Folder(
                shard,
                hour,
                rng.random() < 0.7,
                rng.random() < 0.5,
                Touch(rng.randint(0, 50), 0),
                {early: Touch(rng.randint(1, 50), 0) for early in range(H, hour) if rng.random() < 0.3},
            )
            for shard in range(2)
            for hour in range(H, H + 4)
            if rng.random() < 0.8
        ]
        published: dict[int, Any] = {}
        now_us = (H + 10) * HOUR_US
        for _round in range(9):
            tasks = plan(folders, published, now_us, dict.fromkeys(range(H, H + 4), 60.0))
            if not tasks:
                break
            hours = [hour for task in tasks for hour in task.hours]
            assert len(hours) == len(set(hours))
            new = [hour for hour in hours if hour not in published]
            assert new == sorted(new)
            published |= {hour: read_up_to(folders, hour) for hour in tasks[0].hours}
        assert plan(folders, published, now_us, dict.fromkeys(range(H, H + 4), 60.0)) == []
        assert set(published) == {one.hour for one in folders}


def test_a_look_at_many_hours_costs_one_look_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    real = planning._touching

    def counted(one: Folder, hour: int) -> list[Touch]:
        looked.append(hour)
        return real(one, hour)

    monkeypatch.setattr(planning, "_touching", counted)
    folders = [folder(hour, own=10 * hour + 1) for hour in range(200)]
    folders[150] = folder(150, own=1501, h140=1502)
    published = {hour: {0: 10 * hour + 1} for hour in range(200)}
    assert planned(folders, published, at=400) == [(list(range(140, 151)), AGAIN)]
    assert len(looked) <= 2 * len(folders)


def test_a_task_names_its_hours() -> None:
    assert plan([folder(0)], {}, (H + 5) * HOUR_US, {}) == [Task((H,), again=False)]
