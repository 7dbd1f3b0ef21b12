"""The rota of audits: who is next, how fast, and what those cost that do not answer."""

import random
from itertools import pairwise

from collector.rota import NS, Rota


def nobody(_: str) -> bool:
    return False


def test_a_book_that_is_not_answered_is_asked_for_less_and_less_often() -> None:
    rota = Rota(random.Random(1), 60.0)
    for number in range(300):
        rota.known(f"M{number}", 0)
    at = [second for second in range(1500) if "M0" in _answered_but_one(rota, second, "M0")]
    waits = [later - earlier for earlier, later in pairwise(at)]
    assert len(waits) >= 5
    assert all(later > 1.5 * earlier for earlier, later in pairwise(waits[:6]))


def _answered_but_one(rota: Rota, second: int, silent: str) -> list[str]:
    found = rota.take(second * NS, 500, nobody)
    for ticker in found:
        if ticker != silent:
            rota.known(ticker, second * NS)
    return found


def test_those_that_do_not_answer_take_no_turn_of_those_that_do() -> None:
    rota = Rota(random.Random(1), 60.0)
    answering = {f"A{number}": 0 for number in range(100)}
    for ticker in (*answering, *(f"S{number}" for number in range(500))):
        rota.known(ticker, 0)
    for second in range(400):
        for ticker in rota.take(second * NS, 500, nobody):
            if ticker in answering:
                assert second - answering[ticker] <= 60
                answering[ticker] = second
                rota.known(ticker, second * NS)
    assert min(answering.values()) >= 340


def test_muted_books_are_not_taken_and_come_up_when_they_are_heard_again() -> None:
    rota = Rota(random.Random(1), 60.0)
    for ticker in ("A", "B"):
        rota.known(ticker, 0)
    found = [ticker for second in range(300) for ticker in _answered_but_one_muted(rota, second)]
    assert set(found) == {"B"}
    later = [ticker for second in range(300, 500) for ticker in rota.take(second * NS, 9, nobody)]
    assert "A" in later


def _answered_but_one_muted(rota: Rota, second: int) -> list[str]:
    found = rota.take(second * NS, 9, lambda ticker: ticker == "A")
    for ticker in found:
        rota.known(ticker, second * NS)
    return found


def test_what_is_forgotten_is_not_taken_and_leaves_nothing() -> None:
    rota = Rota(random.Random(1), 60.0)
    for second in range(2000):
        rota.known(f"M{second}", second * NS)
        rota.forget(f"M{second - 3}")
    assert len(rota) == 3
    assert len(rota._first.heap) + len(rota._again.heap) <= 2 * (2 * 3 + 64)
    found = {ticker for second in range(2000, 2300) for ticker in rota.take(second * NS, 9, nobody)}
    assert found == {"M1997", "M1998", "M1999"}
