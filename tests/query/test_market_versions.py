"""A market's metadata as of an instant: never what was learned later."""

import json
import random
import shutil
from typing import Any

import pytest

from book.errors import ApiError
from lake import paths
from query.log import Log
from query.market_versions import market_at, record_at_hand
from query.markets import market
from query.point import book_at
from query.sql.session import Session

HOUR = 3_600_000_000
H0 = 496_000
T0 = H0 * HOUR
CONN = (T0 // 1000 - 1000) * 1024


def statuses(log: Log, *instants: int) -> list[str | None]:
    found = [market_at(log, "M", at_us) for at_us in instants]
    return [None if one is None else one.status for one in found]


def test_each_instant_sees_what_was_known_then(journal: Any, log: Log) -> None:
    journal.market("M", T0 + 10, status="active")
    journal.market("M", T0 + 20, status="closed", source="lifecycle")
    journal.market("OTHER", T0 + 25, status="other")
    journal.flush(H0)
    journal.market("M", T0 + 2 * HOUR, status="determined", result="yes")
    journal.flush(H0 + 2)
    edges = (T0 + 9, T0 + 10, T0 + 19, T0 + 20, T0 + HOUR, T0 + 2 * HOUR - 1, T0 + 2 * HOUR, T0 + 9 * HOUR)
    assert statuses(log, *edges) == [None, "active", "active", "closed", "closed", "closed", "determined", "determined"]
    before = market_at(log, "M", T0 + 2 * HOUR - 1)
    assert before is not None
    assert (before.result, before.source) == (None, "lifecycle")
    with pytest.raises(ApiError) as caught:
        market_at(log, "NOSUCH", T0)
    assert caught.value.code == "market_not_found"


@pytest.mark.parametrize("seed", range(3))
def test_no_version_learned_later_is_ever_seen(journal: Any, press: Any, seed: int) -> None:
    """Random lives, some hours published, some folders gone, asked of the API's reader and of SQL."""
    rng = random.Random(seed)
    hours = [H0 + number for number in range(5)]
    lives: dict[str, list[tuple[int, str]]] = {name: [] for name in "ABC"}
    for hour in hours:
        for number in sorted(rng.sample(range(1, 1000), 6)):
            name, stamp = rng.choice("ABC"), hour * HOUR + number
            lives[name].append((stamp, f"s{stamp}"))
            journal.market(name, stamp, status=f"s{stamp}", event_ticker="E")
        journal.heard(CONN, hour * HOUR + 2000)
        journal.flush(hour)
    log = press.log()
    published = hours[: rng.randrange(6)]
    if rng.random() < 0.5:
        log.catalog  # noqa: B018 - read before anything is published
    for hour in published:
        press.finish(journal, hour)
    for hour in published[:1]:
        shutil.rmtree(paths.hour_dir(journal.home, 0, hour))
    sql = Session(press.lake)
    last = published[-1] if published else None
    for name, life in lives.items():
        for at_us in [stamp + step for stamp, _ in life for step in (-1, 0, 1)] + [T0, T0 + 99 * HOUR]:
            wanted = max((one for one in life if one[0] <= at_us), default=None)
            with log.asked():
                found = market_at(log, name, at_us) if life else None
            assert (found.valid_from_us, found.status) == wanted if found else wanted is None
            if last is not None and at_us < (last + 1) * HOUR:
                query = f"SELECT epoch_us(valid_from), status FROM market_at('{name}', make_timestamptz({at_us}))"
                assert sql.connection.execute(query).fetchone() == wanted
    sql.close()


def test_a_record_is_read_where_it_stands_now(journal: Any, press: Any) -> None:
    """First in the folder, then in the published file, and still there when the folder is gone."""
    journal.market("M", T0 + 10, status="active", about="first")
    journal.market("N", T0 + 11, status="active", about="other")
    journal.market("M", T0 + 12, status="closed", about="second")
    journal.heard(CONN, T0 + HOUR)
    journal.flush(H0)
    log = press.log()
    assert [json.loads(record_at_hand(log, name) or "")["about"] for name in "MN"] == ["second", "other"]
    press.finish(journal, H0)
    assert [json.loads(record_at_hand(log, name) or "")["about"] for name in "MN"] == ["second", "other"]
    shutil.rmtree(paths.hour_dir(journal.home, 0, H0))
    assert [json.loads(record_at_hand(log, name) or "")["about"] for name in "MN"] == ["second", "other"]
    assert json.loads(market(log, "M").record or "")["about"] == "second"
    assert record_at_hand(log, "NOSUCH") is None


def test_what_was_not_known_at_the_time_of_knowledge_is_in_no_answer(journal: Any, press: Any) -> None:
    """A book asked for after the market's end, as it was known before anybody knew the result."""
    journal.market("M", T0 + 1, status="active", close_time=T0 + 500)
    journal.snapshot("M", T0 + 10, CONN, 1, [(0, 100, 5)])
    journal.close("M", T0 + 500, CONN, 1, "market_closed")
    journal.heard(CONN, T0 + HOUR + 1)
    journal.flush(H0)
    press.finish(journal, H0)
    known_us = press.now_us
    journal.market("M", T0 + 2 * HOUR, status="determined", result="yes", close_time=T0 + 400)
    journal.heard(CONN, T0 + 4 * HOUR)
    journal.flush(H0 + 2)
    press.finish(journal, H0 + 2)
    log = press.log()

    def refused(**more: Any) -> dict[str, Any]:
        with pytest.raises(ApiError) as caught:
            book_at(log, "M", T0 + 600, **more)
        assert caught.value.code == "market_closed"
        return caught.value.fields

    assert refused()["result"] == "yes"
    then = refused(as_of_us=known_us)
    assert (then["result"], then["closed_at"]) == (None, T0 + 500)
