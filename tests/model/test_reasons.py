"""Every way a span can end, by hand: the book is known up to the last microsecond, and unknown from the next on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from book.records import Reason
from book.wire import encode
from collector.links import Mark
from tests.model.hand import MIDNIGHT_US, Hand, S

T0 = MIDNIGHT_US + 5 * S
GOOD_US = T0 + 300_000
PONG_US = T0 + 500_000
BOOK = [(0, 4500, 100), (1, 5000, 700)]
AFTER = [(0, 4500, 150), (1, 5000, 700)]


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    """Two markets known since T0; A changed at GOOD_US, B not; the connection heard last at PONG_US."""
    hand = Hand(tmp_path, T0 - S)
    hand.market("A", T0 + 60 * S)
    hand.market("B")
    hand.connect(1, T0 - 100)
    hand.snapshot(1, T0, "A", *BOOK)
    hand.snapshot(1, T0 + 1, "B", *BOOK)
    hand.delta(1, GOOD_US, "A", 0, 4500, 50)
    hand.delta(1, GOOD_US + 100, "B", 0, 4500, 50)
    hand.pong(1, PONG_US)
    return hand


def _garbled(hand: Hand, ticker: str | None) -> bytes:
    frame = encode.delta(1, hand.seq(1), ticker or "A", 0, 4500, 10, T0)
    frame = frame.replace(b'"0.4500"', b'"0.45005"')
    return frame if ticker else frame.replace(b'"market_ticker"', b'"other"')


def _gap(hand: Hand, at_us: int) -> None:
    hand.delta(1, at_us, "B", 0, 4500, 10, skip=1)


def _channel_error(hand: Hand, at_us: int) -> None:
    hand.arrive(1, at_us, encode.error(25, "Subscription buffer overflow", sid=1, seq=hand.seq(1)))


def _unreadable(hand: Hand, at_us: int) -> None:
    hand.arrive(1, at_us, _garbled(hand, "A"))


def _unreadable_nameless(hand: Hand, at_us: int) -> None:
    hand.arrive(1, at_us, _garbled(hand, None))


def _overflow(hand: Hand, at_us: int) -> None:
    hand.arrive(1, at_us, Mark.OVERFLOW)


def _ended(reason: Reason) -> Callable[[Hand, int], None]:
    return lambda hand, at_us: hand.end(1, at_us, reason)


LAST_MESSAGE_US = GOOD_US + 100
CASES = [
    (_gap, "seq_gap", LAST_MESSAGE_US),
    (_channel_error, "channel_error", LAST_MESSAGE_US),
    (_unreadable, "unrepresentable", GOOD_US),
    (_unreadable_nameless, "unrepresentable", LAST_MESSAGE_US),
    (_overflow, "overflow", LAST_MESSAGE_US),
    *((_ended(reason), reason.value, PONG_US) for reason in (
        Reason.DISCONNECT, Reason.STALL, Reason.VENUE_PAUSE, Reason.SHUTDOWN,
    )),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "reason", "last_us"), CASES, ids=lambda one: one if isinstance(one, str) else "")
def test_a_close_takes_effect_when_the_book_was_last_known(
    hand: Hand, fault: Callable[[Hand, int], None], reason: str, last_us: int
) -> None:
    shown_us = PONG_US + 200_000
    fault(hand, shown_us)
    assert hand.ask("A", last_us) == AFTER
    for ts_us in (last_us + 1, PONG_US + 1, shown_us - 1, shown_us):
        assert hand.ask("A", ts_us) == (reason, last_us + 1)
    assert hand.ask("A", T0) == BOOK


def test_an_unreadable_message_costs_its_own_market_only(hand: Hand) -> None:
    _unreadable(hand, PONG_US + 200_000)
    assert hand.ask("A", PONG_US + 200_000) == ("unrepresentable", GOOD_US + 1)
    assert hand.ask("B", PONG_US + 200_000) == AFTER


def test_a_close_shown_within_the_same_microsecond_stands_on_what_showed_it(hand: Hand) -> None:
    hand.delta(1, PONG_US + 10, "A", 1, 5000, -700)
    hand.delta(1, PONG_US + 11, "B", 1, 5000, -700, skip=2)
    assert hand.ask("A", PONG_US + 10) == [(0, 4500, 150)]
    assert hand.ask("A", PONG_US + 11) == ("seq_gap", PONG_US + 11)


def test_a_deleted_market_is_unsubscribed_at_the_acknowledgement(hand: Hand) -> None:
    hand.session.links[1].asks.drop("B")
    done_us = PONG_US + 300_000
    assert hand.acknowledge_deletion(1, done_us) == ("B",)
    assert hand.ask("B", done_us - 1) == AFTER
    assert hand.ask("B", done_us) == ("no_data_available", "unsubscribed")
    assert hand.ask("A", done_us) == AFTER


def test_a_market_deleted_after_its_close_time_is_closed(hand: Hand) -> None:
    closed_us = T0 + 60 * S
    for second in range(1, 61):
        hand.pong(1, T0 + second * S)
    hand.session.links[1].asks.drop("A")
    hand.acknowledge_deletion(1, closed_us + S)
    assert hand.ask("A", closed_us + S - 1) == AFTER
    assert hand.ask("A", closed_us + S) == ("market_closed", None)


def test_a_conn_left_to_subscribe_anew_is_a_gap_of_its_wanted_markets_from_where_it_ends(hand: Hand) -> None:
    done_us = PONG_US + 300_000
    hand.session.links[1].asks.leave(done_us * 1000)
    (command,) = hand.commands()
    hand.session.links[1].asks.drop("B")
    hand.arrive(1, done_us, encode.unsubscribed(command.id, 1, hand.seq(1)))
    for ticker in ("A", "B"):
        assert hand.ask(ticker, done_us - 1) == AFTER
    assert hand.ask("A", done_us) == ("channel_error", done_us)
    assert hand.ask("B", done_us) == ("no_data_available", "unsubscribed")


def test_a_determined_market_is_over_where_the_message_says_so(hand: Hand) -> None:
    done_us = PONG_US + 300_000
    hand.determined(1, done_us, "A")
    assert hand.ask("A", done_us - 1) == AFTER
    assert hand.ask("A", done_us) == ("market_closed", None)
    hand.snapshot(1, done_us + 10, "A", *BOOK)
    assert hand.ask("A", done_us + 10) == ("market_closed", None)


def test_the_end_of_a_market_that_was_in_a_gap_ends_the_gap(hand: Hand) -> None:
    _gap(hand, PONG_US + 100)
    hand.determined(1, PONG_US + 200, "A")
    assert hand.ask("A", PONG_US + 199) == ("seq_gap", LAST_MESSAGE_US + 1)
    assert hand.ask("A", PONG_US + 200) == ("market_closed", None)


def test_an_empty_book_after_close_time_is_the_new_base_and_withdraws_nothing(hand: Hand) -> None:
    closed_us = T0 + 60 * S
    for second in range(1, 60):
        hand.pong(1, T0 + second * S)
    hand.snapshot(1, closed_us, "A")
    assert hand.ask("A", closed_us - 1) == AFTER
    assert hand.ask("A", closed_us) == []


def test_an_empty_book_before_close_time_is_a_mismatch(hand: Hand) -> None:
    hand.snapshot(1, PONG_US + 100, "A")
    assert hand.ask("A", T0) == BOOK
    assert hand.ask("A", T0 + 1) == ("audit_mismatch", T0 + 1)
    assert hand.ask("A", PONG_US + 100) == []


def test_a_silence_is_never_complete_and_the_fold_goes_on_after_it(hand: Hand) -> None:
    heard_us = PONG_US + 3 * S
    hand.delta(1, heard_us, "A", 0, 4500, 1)
    assert hand.ask("A", PONG_US) == AFTER
    assert hand.ask("A", PONG_US + 1) == ("stall", PONG_US + 1)
    assert hand.ask("A", heard_us - 1) == ("stall", PONG_US + 1)
    assert hand.ask("A", heard_us) == [(0, 4500, 151), (1, 5000, 700)]
    assert hand.ask("A", heard_us + 1) == ("not_yet_known", None)


def test_a_move_leaves_no_gap_and_a_later_found_one_reaches_back_over_it(hand: Hand) -> None:
    hand.connect(2, PONG_US + 1000)
    moved_us = PONG_US + 2000
    hand.snapshot(2, moved_us, "A", *BOOK)
    assert hand.ask("A", moved_us - 1) == ("not_yet_known", None)
    hand.pong(1, moved_us + 1)
    assert hand.ask("A", moved_us - 1) == AFTER
    assert hand.ask("A", moved_us) == BOOK
    hand.delta(1, moved_us + 2, "B", 0, 4500, 1, skip=1)
    assert hand.ask("A", LAST_MESSAGE_US) == AFTER
    assert hand.ask("A", moved_us - 1) == ("seq_gap", LAST_MESSAGE_US + 1)
    assert hand.ask("A", moved_us) == BOOK
