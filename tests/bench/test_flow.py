from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import flow, flowlog, publish, published, size
from book.ladder import Book
from book.records import HOUR_US
from lake.verify import verify

HOUR = 496_223
MAKERS: list[Callable[[], flow.Flow]] = [
    lambda: flow.hour(20, 4_000, HOUR * HOUR_US, span_us=20_000_000, seed=3),
    lambda: flow.generated(20, 200, HOUR * HOUR_US, span_us=20_000_000, seed=3),
]


@pytest.mark.parametrize("make", MAKERS)
def test_a_flow_folds_from_its_first_books_to_its_last(make: Callable[[], flow.Flow]) -> None:
    made = make()
    books = [Book(levels) for levels in made.first]
    for market, *level in zip(made.market, made.side, made.price_e4, made.change_e2, strict=True):
        books[market].apply(*(int(value) for value in level))  # raises where a level would fall below zero
    assert [tuple(book.levels()) for book in books] == made.last
    assert np.all(np.diff(made.ts_us) >= 0)
    assert HOUR * HOUR_US <= made.ts_us[0] <= made.ts_us[-1] < HOUR * HOUR_US + 20_000_000
    assert np.all(made.change_e2 != 0)
    counts = np.bincount(made.market, minlength=20)
    assert counts.max() > 3 * np.median(counts)  # activity is uneven
    again = make()
    assert all(np.array_equal(one, other) for one, other in zip(made[2:8], again[2:8], strict=True))


def test_a_flow_becomes_a_log_and_published_hours(tmp_path: Path) -> None:
    made = MAKERS[0]()
    home, lake = tmp_path / "home", tmp_path / "lake"
    flowlog.write(made, home, HOUR)
    assert published.publish(home, lake) == [HOUR - 1, HOUR]
    size.check(made, lake, HOUR)
    found = size.account(lake, [HOUR])
    assert found.changes == 4_000
    assert found.rows == found.changes + found.checkpoint_rows
    files = published.orderbook_files(lake, HOUR)
    assert found.size_bytes == sum(file.stat().st_size for file in files) > found.size_without_bytes
    assert found.ratio == found.size_bytes / 4_000
    assert sorted(path.name for path in files[0].parent.iterdir()) == [files[0].name]  # nothing was left there
    assert verify(lake, home, None, lambda _: None).doubts == []


def test_a_book_that_differs_is_noticed(tmp_path: Path) -> None:
    made = MAKERS[0]()
    flowlog.write(made, tmp_path / "home", HOUR)
    published.publish(tmp_path / "home", tmp_path / "lake")
    made.last[0] = ((0, 4500, 1),)
    with pytest.raises(AssertionError, match="differ from the flow's"):
        size.check(made, tmp_path / "lake", HOUR)


def test_an_hour_is_published_in_a_process_of_its_own(tmp_path: Path) -> None:
    home, lake = tmp_path / "home", tmp_path / "lake"
    flowlog.write(MAKERS[0](), home, HOUR)
    published.publish_one(home, lake, HOUR - 1)
    done = publish.in_a_process(lake, home, HOUR)
    assert done.wall_s > 0
    assert done.cpu_s > 0
    assert 50e6 < done.rss_bytes < 2e9
    assert len(published.orderbook_files(lake, HOUR)) == 1
