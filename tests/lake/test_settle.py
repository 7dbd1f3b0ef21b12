"""What is published of an hour, against a slow reading of simulated logs."""

import random
from pathlib import Path

import pytest

from lake import schemas
from tests.lake.chains import ALL, Link, chain, run, slow_hours
from tests.lake.slow import Hours, plain, plain_rows

WITHDRAWING = ("silent", "negative", "unsolicited", "stall_5", "step")
RUNS = {
    "all": (ALL, 20, 60.0),
    "all again": (ALL, 22, 60.0),
    "withdrawing": (WITHDRAWING, 5, 40.0),
    "moves": (("crash", "move", "gap"), 8, 40.0),
    "calm": ((), 1, 8.0),
}


@pytest.mark.parametrize("name", RUNS)
def test_every_hour_is_what_a_slow_reading_says(tmp_path: Path, name: str) -> None:
    run(tmp_path, *RUNS[name])
    slow = slow_hours(tmp_path)
    links = list(chain(tmp_path, slow.hours))
    _check(links, slow)
    if name == "withdrawing":
        assert slow.counts["orphaned"] > 100
        assert slow.counts["checkpoint"] > 100
    assert slow.counts["derived"]


def test_so_it_is_up_to_any_flush(tmp_path: Path) -> None:
    """What was durable at some moment: later closes are not there yet, conns are up and heard less far."""
    run(tmp_path, ("crash", "silent", "gap", "reconnect"), 3, 30.0)
    rng = random.Random(3)
    last = slow_hours(tmp_path).flushes[-1].n
    for upto in sorted(rng.sample(range(1, last), 6)):
        slow = slow_hours(tmp_path, upto=upto)
        links = list(chain(tmp_path, slow.hours, upto=upto))
        _check(links, slow)
        assert {link.source.flush for link in links} == {upto}


def _check(links: list[Link], slow: Hours) -> None:
    for link in links:
        hour = link.settled.hour
        assert (plain_rows(link.book) if link.book else []) == slow.settled.get(hour, [])
        for name, table in link.settled.tables.items():
            assert table.schema.equals(schemas.PUBLISHED[name], check_metadata=True)
            assert table.num_rows
            if name != "orderbook":
                logged = [row for flush in slow.flushes if flush.hour == hour for row in flush.rows.get(name, [])]
                keys = schemas.SORT_KEYS[name]
                assert plain(table) == sorted(
                    logged, key=lambda row, keys=keys: [(row[key] is not None, row[key]) for key in keys]
                )
    found = [link.settled.counts for link in links]
    assert sum(one.orphaned for one in found) == slow.counts["orphaned"]
    assert sum(one.derived for one in found) == slow.counts["derived"]
    for name in ("snapshot", "checkpoint", "close", "early_checkpoint"):
        assert sum(one.left_out.get(name, 0) for one in found) == slow.counts[name]
