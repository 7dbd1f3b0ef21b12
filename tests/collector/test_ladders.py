"""All books in one array against one plain book a market."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from book.errors import NegativeLevelError
from book.ladder import Book
from collector.ladders import Ladders

PRICES = st.sampled_from([0, 100, 4500, 4510, 4511, 9999, 10_000])
CHANGES = st.tuples(st.integers(0, 3), st.integers(0, 1), PRICES, st.integers(-4, 6))


@given(st.lists(st.lists(CHANGES, max_size=30), max_size=6))
def test_scatter_equals_plain_books(batches: list[list[tuple[int, int, int, int]]]) -> None:
    ladders, books = Ladders(), [Book() for _ in range(4)]
    for _ in books:
        ladders.add_market()
    for batch in batches:
        columns = [np.array([row[i] for row in batch], np.int64) for i in range(4)]
        done = ladders.apply(*columns) if batch else 0
        for market, side, price_e4, change_e2 in batch[:done]:
            books[market].apply(side, price_e4, change_e2)
        if done < len(batch):
            market, side, price_e4, change_e2 = batch[done]
            try:
                books[market].apply(side, price_e4, change_e2)
            except NegativeLevelError:
                pass
            else:
                raise AssertionError("stopped at a change that was good")
        assert [ladders.rows(market) for market in range(4)] == [tuple(book.levels()) for book in books]


def test_a_finer_price_lays_the_ladder_out_anew() -> None:
    ladders = Ladders()
    for _ in range(3):
        ladders.add_market()
    ladders.load(1, ((0, 4500, 7), (1, 100, 9)))
    ladders.load(1, ((0, 4501, 1), (0, 4510, 2), (1, 10_000, 3)))
    ladders.load(2, ((1, 9990, 4),))
    assert ladders.rows(1) == ((0, 4501, 1), (0, 4510, 2), (1, 10_000, 3))
    assert ladders.rows(2) == ((1, 9990, 4),)
    assert ladders.rows(0) == ()
    assert ladders.size(1, 0, 4501) == 1
    assert ladders.size(0, 0, 4501) == 0


def test_room_is_used_again_and_comes_back_empty() -> None:
    ladders = Ladders()
    first = ladders.add_market()
    ladders.load(first, ((0, 4500, 7),))
    ladders.load(first, ((0, 4510, 7),))
    second = ladders.add_market()
    assert ladders.rows(second) == ()
    assert ladders.rows(first) == ((0, 4510, 7),)


def test_room_that_was_released_serves_others_and_comes_back() -> None:
    ladders = Ladders()
    first = ladders.add_market()
    ladders.load(first, ((0, 4510, 7),))
    ladders.release(first)
    ladders.release(first)
    assert ladders.rows(first) == ()
    ladders.clear(first)
    second = ladders.add_market()
    ladders.load(second, ((0, 4510, 9), (1, 9990, 1)))
    ladders.load(first, ((1, 100, 3),))
    assert ladders.rows(first) == ((1, 100, 3),)
    assert ladders.rows(second) == ((0, 4510, 9), (1, 9990, 1))


def test_markets_that_come_and_go_take_no_more_room() -> None:
    ladders = Ladders()
    for _ in range(2000):
        market = ladders.add_market()
        ladders.load(market, ((0, 4510, 7),))
        ladders.release(market)
    assert ladders._end < 5000
