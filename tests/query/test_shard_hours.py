"""Which hours a walk visits: by what published hours say of each other, and by the directory."""

from types import SimpleNamespace
from typing import Any

from query.publications import Version
from query.published import NOW, Edition
from query.shard_hours import ShardHours

A = "A"


class Lake:
    """Published hours by number: the publication each came with, and the last record hour that it tells of A."""

    changes = 1

    def __init__(self, manifests: dict[int, int], records: dict[int, int | None]) -> None:
        self.manifests, self.records = manifests, records
        self.directory = self
        self.looked = 0

    def versions(self, _edition: Edition) -> dict[int, Version]:
        return {hour: Version(1, number, 0, frozenset({0}), {}) for hour, number in sorted(self.manifests.items())}

    def hour(self, number: int, _version: Version) -> Any:
        named = number in self.records
        market = SimpleNamespace(last_record_hour=self.records[number]) if named else None
        return SimpleNamespace(market=lambda _ticker: market)

    def span(self, _ticker: str) -> tuple[int, int] | None:
        self.looked += 1
        return (min(self.records), max(self.records)) if self.records else None


def hours(lake: Any, in_folders: Any = ()) -> ShardHours:
    folders: Any = SimpleNamespace(unpublished=list(in_folders), refresh=lambda _: None, changes=0)
    found = ShardHours(0, folders, lake, NOW)
    found.refresh()
    return found


def down(found: ShardHours, hour: int) -> list[int]:
    visited: list[int] = []
    at = found.first_down(hour)
    while at is not None:
        visited.append(at)
        at = found.next_down(at, A)
    return visited


def up(found: ShardHours, hour: int) -> list[int]:
    visited: list[int] = []
    at = found.first_up(hour)
    while at is not None:
        visited.append(at)
        at = found.next_up(at, A)
    return visited


def test_hours_known_to_be_quiet_are_passed_over() -> None:
    lake = Lake({hour: hour for hour in range(1, 10)}, {2: None, **dict.fromkeys(range(3, 8), 2), 8: 7, 9: 8})
    assert down(hours(lake), 9) == [9, 8, 7, 2]
    assert down(hours(lake), 5) == [5, 2]
    assert lake.looked == 2, "the first hour alone does not say whether there is an earlier one"


def test_what_was_published_after_the_hour_that_passes_over_it_is_visited() -> None:
    manifests = {hour: hour for hour in range(1, 10)} | {4: 20, 6: 9}
    lake = Lake(manifests, {1: None, **dict.fromkeys(range(2, 10), 1)})
    assert down(hours(lake), 9) == [9, 4, 1]
    assert down(hours(lake), 5) == [5, 4, 1]
    assert down(hours(lake), 3) == [3, 1]


def test_folders_are_always_visited() -> None:
    lake = Lake({1: 1, 2: 2, 3: 3, 5: 4, 6: 5}, {1: None, **dict.fromkeys((2, 3, 5, 6), 1)})
    assert down(hours(lake, [4, 7, 8]), 9) == [8, 7, 6, 4, 3, 1]
    assert up(hours(lake, [4, 7, 8]), 0) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_directory_leads_from_hours_that_do_not_name_the_market() -> None:
    lake = Lake({hour: hour for hour in range(1, 100)}, {40: None, 41: 40, 42: 41})
    assert down(hours(lake), 99) == [99, 42, 41, 40]
    assert down(hours(lake), 30) == [30]
    assert up(hours(lake), 1) == [1, 40, 41, 42, 43]
    assert up(hours(lake, [100]), 60) == [60, 100]
    nobody = Lake({hour: hour for hour in range(1, 100)}, {})
    assert down(hours(nobody), 99) == [99]
    assert up(hours(nobody), 1) == [1]
