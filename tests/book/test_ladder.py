"""A book against brute force."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.digest import digest
from book.errors import NegativeLevelError
from book.ladder import Book

changes = st.lists(st.tuples(st.sampled_from([0, 1]), st.integers(1, 6), st.integers(-300, 300)), max_size=60)


@given(changes)
def test_snapshot_and_deltas_equal_brute_force(rows: list[tuple[int, int, int]]) -> None:
    book, plain = Book(), {}
    for side, price_e4, change_e2 in rows:
        size = plain.get((side, price_e4), 0) + change_e2
        if size < 0:
            before = book.copy()
            with pytest.raises(NegativeLevelError) as caught:
                book.apply(side, price_e4, change_e2)
            assert (caught.value.have_e2, caught.value.change_e2) == (size - change_e2, change_e2)
            assert book == before
            continue
        plain[side, price_e4] = size
        assert book.apply(side, price_e4, change_e2) == size
    assert book.levels() == sorted((s, p, q) for (s, p), q in plain.items() if q)
    for side in (0, 1):
        prices = [p for (s, p), q in plain.items() if s == side and q]
        assert book.best(side) == ((max(prices), plain[side, max(prices)]) if prices else None)


@given(st.dictionaries(st.tuples(st.sampled_from([0, 1]), st.integers(0, 10_000)), st.integers(1, 10**9)), st.randoms())
def test_digest_does_not_depend_on_order(levels: dict[tuple[int, int], int], shuffler) -> None:
    rows = [(s, p, q) for (s, p), q in levels.items()]
    shuffled = rows[:]
    shuffler.shuffle(shuffled)
    assert digest(rows) == digest(shuffled) == Book(shuffled).digest()


def test_digest_is_the_documented_text() -> None:
    text = "Y4500=12000\nY4600=1\nN100=5\n"
    assert digest([(1, 100, 5), (0, 4600, 1), (0, 4500, 12000)]) == sha256(text.encode()).hexdigest()[:16]
    assert Book().digest() == sha256(b"").hexdigest()[:16]


def test_copies_are_independent() -> None:
    book = Book([(0, 100, 5)])
    other = book.copy()
    other.apply(0, 100, -5)
    assert len(book) == 1
    assert len(other) == 0
