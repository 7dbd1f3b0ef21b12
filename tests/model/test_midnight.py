"""What reaches back over the checkpoint of midnight: by a gap, and by a crash."""

from pathlib import Path

from book.records import HOUR_US, Kind
from tests.model import log_rows
from tests.model.hand import MIDNIGHT_US, Hand, S

BOOK = [(0, 4500, 100)]


def _evening(home: Path) -> Hand:
    """Two markets known since ten seconds before midnight, the last message two seconds before it."""
    hand = Hand(home, MIDNIGHT_US - 11 * S)
    hand.market("A")
    hand.market("B")
    hand.connect(1, MIDNIGHT_US - 10 * S - 100)
    hand.snapshot(1, MIDNIGHT_US - 10 * S, "A", *BOOK)
    hand.snapshot(1, MIDNIGHT_US - 10 * S + 1, "B", *BOOK)
    for second in range(9, 1, -1):
        hand.delta(1, MIDNIGHT_US - second * S, "A", 0, 4600, 10)
    return hand


def _checkpoints(hand: Hand, ticker: str) -> list[int]:
    rows = log_rows.read(hand.home, 0)[ticker]
    gone = log_rows.withdrawn(rows)
    return sorted({row.ts_us for row in rows if row.kind == Kind.CHECKPOINT and row.place not in gone})


def test_a_gap_withdraws_the_checkpoints_of_midnight(tmp_path: Path) -> None:
    hand = _evening(tmp_path)
    hand.pong(1, MIDNIGHT_US + S // 2)
    known = [(0, 4500, 100), (0, 4600, 80)]
    assert hand.ask("A", MIDNIGHT_US) == known
    assert hand.ask("B", MIDNIGHT_US) == BOOK
    assert _checkpoints(hand, "A") == _checkpoints(hand, "B") == [MIDNIGHT_US]
    hand.delta(1, MIDNIGHT_US + S, "A", 0, 4600, 10, skip=3)
    last_us = MIDNIGHT_US - 2 * S
    for ticker, before in (("A", known), ("B", BOOK)):
        assert _checkpoints(hand, ticker) == []
        assert hand.ask(ticker, last_us) == before
        for ts_us in (last_us + 1, MIDNIGHT_US - 1, MIDNIGHT_US, MIDNIGHT_US + 1, MIDNIGHT_US + S):
            assert hand.ask(ticker, ts_us) == ("seq_gap", last_us + 1)
    hand.snapshot(1, MIDNIGHT_US + S + 5, "A", *BOOK)
    hand.pong(1, MIDNIGHT_US + 2 * S)
    assert hand.ask("A", MIDNIGHT_US + S + 5) == BOOK
    assert hand.ask("A", MIDNIGHT_US) == ("seq_gap", last_us + 1)
    assert log_rows.disorders(log_rows.read(tmp_path, 0)["A"]) == []


def test_a_crash_before_midnight_was_acknowledged_takes_its_checkpoints_with_it(tmp_path: Path) -> None:
    hand = _evening(tmp_path)
    hand.pong(1, MIDNIGHT_US + S // 2, flush=False)
    hand.crash()
    hand.start(MIDNIGHT_US + 3 * S)
    last_us = MIDNIGHT_US - 2 * S
    assert _checkpoints(hand, "A") == []
    assert hand.ask("A", last_us) == [(0, 4500, 100), (0, 4600, 80)]
    for ts_us in (last_us + 1, MIDNIGHT_US, MIDNIGHT_US + S // 2, MIDNIGHT_US + 3 * S):
        assert hand.ask("A", ts_us) == ("crash", last_us + 1)


def test_a_crash_after_midnight_leaves_the_checkpoint_and_closes_behind_it(tmp_path: Path) -> None:
    hand = _evening(tmp_path)
    heard_us = MIDNIGHT_US + S // 2
    hand.pong(1, heard_us)
    hand.delta(1, heard_us + 10, "A", 0, 4600, 10, flush=False)
    hand.crash()
    hand.start(MIDNIGHT_US + 3 * S)
    for ticker, known in (("A", [(0, 4500, 100), (0, 4600, 80)]), ("B", BOOK)):
        assert _checkpoints(hand, ticker) == [MIDNIGHT_US]
        assert hand.ask(ticker, MIDNIGHT_US) == hand.ask(ticker, heard_us) == known
        assert hand.ask(ticker, heard_us + 1) == ("crash", heard_us + 1)
    hand.connect(2, MIDNIGHT_US + 3 * S + 10)
    hand.snapshot(2, MIDNIGHT_US + 3 * S + 20, "A", *BOOK)
    assert hand.ask("A", MIDNIGHT_US + 3 * S + 20) == BOOK
    assert hand.ask("A", MIDNIGHT_US + 3 * S + 19) == ("crash", heard_us + 1)


def test_a_crash_withdraws_a_move_that_happened_after_the_old_conn_was_last_heard(tmp_path: Path) -> None:
    """The new conn's book after midnight stands; the old conn is known only up to its last frame before midnight."""
    hand = _evening(tmp_path)
    hand.connect(2, MIDNIGHT_US - S)
    hand.snapshot(2, MIDNIGHT_US, "A", *BOOK)
    hand.crash()
    hand.start(MIDNIGHT_US + 3 * S)
    last_us = MIDNIGHT_US - 2 * S
    assert hand.ask("A", last_us) == [(0, 4500, 100), (0, 4600, 80)]
    assert hand.ask("A", last_us + 1) == ("crash", last_us + 1)
    assert hand.ask("A", MIDNIGHT_US) == BOOK
    assert hand.ask("A", MIDNIGHT_US + 1) == ("crash", MIDNIGHT_US + 1)


def test_an_audit_withdraws_hours_and_a_midnight_back_to_the_last_proof(tmp_path: Path) -> None:
    hand = _evening(tmp_path)
    proof_us = MIDNIGHT_US - S
    hand.snapshot(1, proof_us, "A", (0, 4500, 100), (0, 4600, 80))
    hand.delta(1, MIDNIGHT_US, "A", 0, 4600, 1)
    hand.pong(1, MIDNIGHT_US + S)
    assert hand.ask("A", MIDNIGHT_US) == [(0, 4500, 100), (0, 4600, 81)]
    hand.snapshot(1, MIDNIGHT_US + 2 * S, "A", *BOOK)
    assert hand.ask("A", proof_us) == [(0, 4500, 100), (0, 4600, 80)]
    assert hand.ask("A", proof_us + 1) == hand.ask("A", MIDNIGHT_US) == ("audit_mismatch", proof_us + 1)
    assert hand.ask("A", MIDNIGHT_US + 2 * S) == BOOK
    assert _checkpoints(hand, "A") == []


def test_a_conn_whose_number_was_raised_past_the_hour_is_closed_by_a_crash(tmp_path: Path) -> None:
    """Three conns within a millisecond: the third one's number says an hour that its first rows do not stand in."""
    born_us = MIDNIGHT_US - 400
    hand = Hand(tmp_path, born_us - S)
    hand.market("A")
    hand.connect(1, born_us)
    hand.snapshot(1, born_us + 100, "A", *BOOK)
    assert hand.session.links[1].conns[1].id // 1024 * 1000 >= MIDNIGHT_US
    hand.pong(1, born_us + 200)
    hand.crash()
    hand.start(MIDNIGHT_US + S)
    assert hand.ask("A", born_us + 200) == BOOK
    assert hand.ask("A", born_us + 201) == hand.ask("A", MIDNIGHT_US) == ("crash", born_us + 201)


def test_a_crash_closes_the_books_of_a_conn_that_was_not_heard_past_midnight(tmp_path: Path) -> None:
    """Other connections were: the hour of midnight has no checkpoint of what this one carried."""
    hand = Hand(tmp_path, MIDNIGHT_US - 20 * S)
    hand.market("A")
    hand.connect(1, MIDNIGHT_US - 10 * S - 100)
    hand.snapshot(1, MIDNIGHT_US - 10 * S, "A", (0, 4500, 100))
    hand.connect(2, MIDNIGHT_US - 5 * S)
    for at_us in (MIDNIGHT_US + S, MIDNIGHT_US + HOUR_US, MIDNIGHT_US + 2 * HOUR_US):
        hand.pong(2, at_us)
    hand.crash()
    hand.start(MIDNIGHT_US + 2 * HOUR_US + S)
    assert hand.ask("A", MIDNIGHT_US - 10 * S) == [(0, 4500, 100)]
    assert hand.ask("A", MIDNIGHT_US + HOUR_US) == ("crash", MIDNIGHT_US - 10 * S + 1)
