"""Where a market stands between us and the venue, move by move."""

import random

from hypothesis import given
from hypothesis import strategies as st

from collector.roster import Ask, Roster
from collector.rota import Rota


def roster_of() -> Roster:
    return Roster(Rota(random.Random(1), 900.0))


def answered(_: str) -> bool:
    return False


def added(*tickers: str) -> Roster:
    roster = roster_of()
    for ticker in tickers:
        roster.want(ticker)
    roster.confirm(roster.take_fresh(100, 0, 5))
    return roster


def test_only_a_confirmed_market_is_asked_for_its_book() -> None:
    roster = roster_of()
    roster.want("A")
    assert not roster.expects("A")
    assert roster.take_fresh(10, 7, 5) == ["A"]
    assert roster.expects("A")
    assert roster.due(10, 100, answered, lambda tries: 60) == []
    roster.confirm(["A", "B"])
    assert roster.due(10, 11, answered, lambda tries: 60) == []
    assert roster.due(10, 12, answered, lambda tries: 60) == ["A"]
    assert not roster.expects("B")


def test_a_book_that_comes_unasked_confirms_its_market() -> None:
    roster = roster_of()
    roster.want("A")
    roster.take_fresh(10, 0, 5)
    roster.got("A")
    assert roster.added == {"A"}
    assert roster.missing == {}


def test_a_market_that_was_not_added_waits_before_the_others() -> None:
    roster = roster_of()
    for ticker in ("A", "B", "C"):
        roster.want(ticker)
    taken = roster.take_fresh(2, 0, 5)
    roster.drop("B")
    roster.not_added(taken)
    assert list(roster.fresh) == ["A", "C"]
    assert roster.missing == roster.unwanted == {}
    assert not len(roster)


def test_a_dropped_market_is_taken_away_once() -> None:
    roster = added("A")
    roster.drop("A")
    assert roster.take_unwanted(10) == ["A"]
    roster.drop("A")
    assert roster.take_unwanted(10) == []
    assert roster.expects("A")
    roster.deleted(["A"])
    assert not roster.expects("A")
    assert roster.fresh == {}


def test_a_market_dropped_before_it_was_confirmed_is_taken_away_afterwards() -> None:
    roster = roster_of()
    roster.want("A")
    roster.take_fresh(1, 0, 5)
    roster.drop("A")
    assert roster.take_unwanted(10) == []
    roster.confirm(["A"])
    assert roster.take_unwanted(10) == ["A"]


def test_wanted_again_before_it_was_taken_away_a_market_is_asked_for_its_book() -> None:
    roster = added("A")
    roster.got("A")
    roster.rota.known("A", 1)
    roster.drop("A")
    roster.want("A")
    assert roster.take_unwanted(10) == []
    assert roster.missing == {"A": Ask()}


def test_wanted_again_while_it_is_taken_away_a_market_is_added_anew() -> None:
    roster = added("A")
    roster.drop("A")
    roster.take_unwanted(10)
    roster.want("A")
    assert roster.fresh == {}
    roster.deleted(["A"])
    assert list(roster.fresh) == ["A"]


def test_wanted_again_and_not_taken_away_after_all_a_market_is_asked_for_its_book() -> None:
    roster = added("A", "B")
    roster.drop("A")
    roster.drop("B")
    roster.take_unwanted(10)
    roster.want("A")
    roster.not_deleted(["A", "B"])
    assert "A" in roster.missing
    assert list(roster.unwanted) == ["B"]


def test_a_lost_book_keeps_its_turn_where_it_was_asked_for_already() -> None:
    roster = added("A", "B")
    roster.missing = {"A": Ask(50, 60, 2), "B": Ask(50, 60)}
    roster.rota.known("A", 9)
    for ticker in ("A", "B", "C"):
        roster.lost(ticker)
    assert roster.missing == {"A": Ask(50, 60, 2), "B": Ask()}
    assert "A" not in roster.rota


MOVES = st.lists(
    st.tuples(
        st.sampled_from(
            ["want", "drop", "add", "confirm", "not_added", "delete", "deleted", "not_deleted", "got", "lost", "clear"]
        ),
        st.integers(0, 3),
    ),
    max_size=40,
)


@given(MOVES)
def test_no_market_is_ever_lost_or_held_for_ever(moves: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order, asking on until nothing is due brings exactly the wanted markets."""
    roster, adding, leaving = roster_of(), list[list[str]](), list[list[str]]()
    for move, number in moves:
        ticker = "ABCD"[number]
        if move in {"want", "drop", "got", "lost"}:
            getattr(roster, move)(ticker)
        elif move == "add":
            adding.append(roster.take_fresh(number, 0, 0))
        elif move == "delete":
            leaving.append(roster.take_unwanted(number))
        elif move == "clear":
            roster.clear()
            adding, leaving = [], []
        elif move in {"confirm", "not_added"} and adding:
            getattr(roster, move)(adding.pop(0))
        elif move in {"deleted", "not_deleted"} and leaving:
            getattr(roster, move)(leaving.pop(0))
        assert not roster.adding & roster.added
        assert roster.leaving <= roster.added
        assert not set(roster.fresh) & (roster.added | roster.adding)
    for _ in range(3):
        for taken in (*adding, roster.take_fresh(9, 0, 0)):
            roster.confirm(taken)
        for taken in (*leaving, roster.take_unwanted(9)):
            roster.deleted(taken)
        adding, leaving = [], []
    assert roster.added == roster.wanted
    assert not roster.adding
    assert not roster.fresh
    assert set(roster.missing) <= roster.wanted
