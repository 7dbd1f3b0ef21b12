"""The true books at any remembered change equal an independent fold; what is forgotten says so."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.errors import NegativeLevelError
from exchange.errors import RefusedError
from exchange.truth import BLOCK_CHANGES, Truth

Levels = tuple[tuple[int, int, int], ...]


def history(seed: int, count: int, truth: Truth) -> dict[int, dict[str, Levels]]:
    """Change two markets at random; return both books, folded here by hand, after each change."""
    rng = random.Random(seed)
    books: dict[str, dict[tuple[int, int], int]] = {"A": {}, "B": {}}
    after = {}
    for ticker in books:
        truth.reset(ticker, ())
        after[truth.change_no] = dict.fromkeys(books, ())
    for _ in range(count):
        ticker = rng.choice(("A", "B"))
        book = books[ticker]
        if rng.random() < 0.002:
            book.clear()
            book |= {(0, 500): 7, (1, 600): 9}
            truth.reset(ticker, [(1, 600, 9), (0, 500, 7)])
        else:
            key = (rng.randrange(2), rng.randrange(1, 20))
            change_e2 = rng.randrange(-book.get(key, 0), 50) or 1
            book[key] = book.get(key, 0) + change_e2
            if not book[key]:
                del book[key]
            truth.change(ticker, *key, change_e2)
        after[truth.change_no] = {
            t: tuple(sorted((s, p, q) for (s, p), q in rows.items())) for t, rows in books.items()
        }
    return after


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6))
def test_every_book_at_every_change_equals_the_fold(seed: int) -> None:
    truth = Truth()
    for change_no, books in history(seed, 3 * BLOCK_CHANGES, truth).items():
        for ticker, levels in books.items():
            assert tuple(truth.at(ticker, change_no).levels()) == levels


def test_before_its_listing_a_market_is_empty() -> None:
    truth = Truth()
    truth.reset("A", [(0, 100, 1)])
    truth.reset("B", [(0, 100, 2)])
    assert truth.at("B", 1).levels() == []
    assert truth.at("A", 1).levels() == [(0, 100, 1)]


def test_what_nobody_asks_for_is_forgotten_and_says_so() -> None:
    floor = [0]
    truth = Truth(lambda: floor[0])
    after = history(1, 20 * BLOCK_CHANGES, truth)
    middle = len(after) // 2
    floor[0] = middle
    for _ in range(2 * BLOCK_CHANGES):
        for ticker in ("A", "B"):
            truth.change(ticker, 0, 9_000, 1)
    for change_no in range(middle, len(after), 97):
        assert tuple(truth.at("A", change_no).levels()) == after[change_no]["A"]
    with pytest.raises(RefusedError) as caught:
        truth.at("A", 2)
    assert caught.value.status == 410


def test_refusals_change_nothing() -> None:
    truth = Truth()
    truth.reset("A", [(0, 100, 5)])
    with pytest.raises(NegativeLevelError):
        truth.change("A", 0, 100, -6)
    assert (truth.change_no, truth.at("A", 1).levels()) == (1, [(0, 100, 5)])
    with pytest.raises(RefusedError, match="no market X") as caught:
        truth.at("X", 1)
    assert caught.value.status == 404
    assert truth.book("X") is None


def test_books_of_the_past_are_not_shared() -> None:
    truth = Truth()
    truth.reset("A", [(0, 100, 5)])
    truth.at("A", 1).apply(0, 100, 1)
    assert truth.at("A", 1).levels() == [(0, 100, 5)]


def test_a_book_at_an_instant_includes_what_happened_at_it() -> None:
    truth = Truth()
    for at_us in (100, 200, 200, 300):
        truth.mark(at_us)
        truth.reset("A", [(0, 100, at_us)])
    truth.mark(400)
    truth.mark(500)
    assert [truth.change_at(at_us) for at_us in (99, 100, 199, 200, 299, 300, 450, 10**9)] == [0, 1, 1, 3, 3, 4, 4, 4]
    assert truth.at("A", truth.change_at(250)).levels() == [(0, 100, 200)]


def test_quiet_markets_forget_too() -> None:
    floor = [0]
    truth = Truth(lambda: floor[0])
    for number in range(100):
        truth.mark(number)
        truth.reset(f"M{number}", [])
        for _ in range(50):
            truth.change(f"M{number}", 0, 100, 1)
    before = [truth.at(f"M{number}", 5_000).levels() for number in range(100)]
    floor[0] = 4_000
    truth.sweep(100)
    held = sum(len(block.numbers) for history in truth._histories.values() for block in history.blocks)
    assert held < 1_600, "of 5,000 changes those after the floor"
    assert [truth.at(f"M{number}", 5_000).levels() for number in range(100)] == before
    assert truth.at("M0", 4_000).levels() == [(0, 100, 50)]
    with pytest.raises(RefusedError) as caught:
        truth.at("M0", 20)
    assert caught.value.status == 410


def test_a_busy_market_forgets_what_is_old_in_the_midst_of_a_block() -> None:
    floor = [0]
    truth = Truth(lambda: floor[0])
    truth.reset("A", [])
    for _ in range(300):
        truth.change("A", 0, 100, 1)
    floor[0] = 250
    truth.sweep(1)
    assert sum(len(block.numbers) for block in truth._histories["A"].blocks) < 60
    assert [truth.at("A", number).levels() for number in (250, 301)] == [[(0, 100, 249)], [(0, 100, 300)]]
    truth.change("A", 0, 100, 1)
    assert truth.at("A", 302).levels() == [(0, 100, 301)]
