"""What is sent when: subscriptions, additions and deletions, and what refusals make of them."""

import pytest

from book.wire.commands import (
    ADD_MARKETS,
    DELETE_MARKETS,
    GET_SNAPSHOT,
    LIFECYCLE,
    ORDERBOOK,
    TRADE,
    Subscribe,
    Unsubscribe,
    Update,
)
from collector.asks import CHUNK, COMMANDS_AT_ONCE
from collector.stage import Stage
from tests.collector.asking import Bench, kinds, names, updates


@pytest.fixture
def bench() -> Bench:
    return Bench()


# subscribing


def test_channels_without_a_list_are_opened_at_once_each_by_its_own_command(bench: Bench) -> None:
    commands = bench.take()
    assert [one.channels for one in commands if isinstance(one, Subscribe)] == [(TRADE,), (LIFECYCLE,)]
    assert [one.id for one in commands] == [1, 2]


def test_nothing_is_subscribed_without_a_market(bench: Bench) -> None:
    bench.opened()
    assert bench.ticks(5) == []


def test_markets_come_in_chunks_and_at_most_a_few_commands_a_tick(bench: Bench) -> None:
    bench.opened()
    bench.asks.want(names(6000))
    (first,) = bench.tick()
    assert isinstance(first, Subscribe)
    assert first.tickers == tuple(names(CHUNK))
    assert first.skip_ticker_ack
    assert not first.use_yes_price
    assert bench.ticks(1) == []
    bench.asks.subscribed(first.id, ORDERBOOK, 3, bench.now_ns)
    adding = bench.tick()
    assert kinds(adding) == [ADD_MARKETS] * COMMANDS_AT_ONCE
    assert {len(one.tickers) for one in adding if isinstance(one, Update)} == {CHUNK}
    assert {one.sids for one in adding if isinstance(one, Update)} == {(3,)}
    rest = bench.ticks(0.5)
    assert updates(adding, ADD_MARKETS) + updates(rest, ADD_MARKETS) == names(6000)[CHUNK:]


def test_a_market_is_subscribed_once_however_often_it_is_wanted(bench: Bench) -> None:
    bench.live(names(3))
    bench.asks.want(names(3))
    assert bench.ticks(2) == []


def test_no_more_markets_than_the_bound_and_the_rest_waits_for_room() -> None:
    bench = Bench(most_markets=3)
    bench.live(names(5))
    assert bench.asks.roster.added == set(names(3))
    assert len(bench.asks.roster.fresh) == 2
    bench.asks.drop("M00001")
    (gone,) = bench.tick()
    assert updates([gone], DELETE_MARKETS) == ["M00001"]
    assert bench.ticks(1) == []
    bench.asks.acknowledged(gone.id)
    assert updates(bench.tick(), ADD_MARKETS) == ["M00003"]
    assert len(bench.asks.roster.fresh) == 1


# refusals


def test_full_at_a_bound_we_do_not_know_every_market_that_fits_is_added(bench: Bench) -> None:
    """The venue takes 256 markets and refuses a whole command that passes that."""
    bench.opened()
    bench.asks.want(names(700))
    held: set[str] = set()
    pending = bench.tick()
    for _ in range(200):
        for command in pending:
            assert isinstance(command, Subscribe | Update)
            assert command.tickers
            if len(held | set(command.tickers)) > 256:
                bench.refuse(command, 26)
            elif isinstance(command, Subscribe):
                held |= set(command.tickers)
                bench.asks.subscribed(command.id, ORDERBOOK, 3, bench.now_ns)
            else:
                held |= set(command.tickers)
                bench.asks.acknowledged(command.id)
            bench.books([ticker for ticker in command.tickers if ticker in held])
        pending = [one for one in bench.tick() if not updates([one], GET_SNAPSHOT)]
    assert len(held) == 256
    assert len(bench.asks.roster.fresh) == 700 - 256
    assert pending == []
    bench.asks.drop(min(held))
    (gone,) = (one for one in bench.tick() if updates([one], DELETE_MARKETS))
    bench.asks.acknowledged(gone.id)
    assert len(updates(bench.tick(), ADD_MARKETS)) == 1


def test_too_many_commands_are_answered_with_quiet_that_grows(bench: Bench) -> None:
    bench.live(names(1))
    quiet: list[float] = []
    for number in range(3):
        bench.asks.want([f"N{number}"])
        (command,) = bench.tick()
        bench.refuse(command, 27)
        waited = 0
        while not bench.tick():
            waited += 1
        bench.asks.acknowledged(bench.asks._next_id - 1)
        quiet.append(waited / 10)
    assert 0.9 <= quiet[0] <= 2.1
    assert 1.9 <= quiet[1] <= 4.1
    assert 3.9 <= quiet[2] <= 8.1


def test_after_a_calm_time_a_refusal_is_the_first_again(bench: Bench) -> None:
    bench.live(names(1))
    for _ in range(6):
        bench.refuse(Unsubscribe(0, (1,)), 27)
    bench.tick(200)
    bench.asks.want(["N"])
    (command,) = [one for one in bench.tick() if updates([one], ADD_MARKETS)]
    bench.refuse(command, 27)
    assert updates(bench.ticks(2.2), ADD_MARKETS) == ["N"]


def test_markets_of_a_refused_addition_are_never_asked_for_books_before_they_are_added(bench: Bench) -> None:
    """A book without its changes would stand still unnoticed."""
    bench.live(names(2))
    bench.asks.want(["N"])
    (command,) = bench.tick()
    bench.refuse(command, 27)
    assert not bench.asks.roster.expects("N")
    later = bench.ticks(60)
    assert updates(later, GET_SNAPSHOT) == []
    assert set(updates(later, ADD_MARKETS)) == {"N"}


def test_an_addition_without_an_answer_is_repeated_and_then_the_subscription_is_left(bench: Bench) -> None:
    bench.live(names(2))
    bench.asks.want(["N"])
    commands = bench.ticks(32)
    assert updates(commands, ADD_MARKETS) == ["N", "N", "N"]
    assert updates(commands, GET_SNAPSHOT) == []
    assert kinds(commands)[-1] == "Unsubscribe"
    assert not bench.asks.hopeless


def test_a_deletion_that_was_refused_or_not_answered_is_repeated(bench: Bench) -> None:
    bench.live(names(2))
    bench.asks.drop("M00000")
    (command,) = bench.tick()
    bench.refuse(command, 27)
    assert updates(bench.ticks(3), DELETE_MARKETS) == ["M00000"]
    assert updates(bench.ticks(11), DELETE_MARKETS) == ["M00000"]
    assert bench.asks.roster.expects("M00000")


def test_an_answer_that_comes_late_still_says_what_the_venue_did(bench: Bench) -> None:
    """The first of two deletions ends the changes: to wait for the second would show a book that stands still."""
    bench.live(names(2))
    bench.asks.drop("M00000")
    (first,) = bench.tick()
    (second,) = bench.ticks(11)
    assert updates([first, second], DELETE_MARKETS) == ["M00000", "M00000"]
    assert bench.asks.acknowledged(first.id) == first
    assert not bench.asks.roster.expects("M00000")
    bench.asks.want(["M00000"])
    (again,) = bench.tick()
    assert updates([again], ADD_MARKETS) == ["M00000"]
    bench.asks.acknowledged(second.id)
    assert bench.asks.roster.expects("M00000")
    bench.asks.acknowledged(again.id)
    assert bench.asks.roster.added == set(names(2))


def test_a_channel_that_was_refused_is_asked_for_again_and_holds_up_no_book(bench: Bench) -> None:
    trade, lifecycle = bench.take()
    bench.refuse(trade, 8)
    bench.asks.subscribed(lifecycle.id, LIFECYCLE, 1, bench.now_ns)
    bench.asks.want(names(1))
    (books,) = bench.tick()
    bench.asks.subscribed(books.id, ORDERBOOK, 2, bench.now_ns)
    bench.books(names(1))
    again = bench.ticks(31)
    assert [one.channels for one in again if isinstance(one, Subscribe)] == [(TRADE,)]


def test_a_refused_subscription_of_books_is_tried_again(bench: Bench) -> None:
    bench.opened()
    bench.asks.want(names(2))
    (command,) = bench.tick()
    bench.refuse(command, 18)
    assert bench.asks.stage is Stage.NONE
    (again,) = bench.ticks(3)
    assert isinstance(again, Subscribe)
    assert again.tickers == tuple(names(2))


def test_an_unsubscribe_that_was_refused_leaves_the_subscription_as_it_was(bench: Bench) -> None:
    bench.live(names(2))
    bench.asks.leave(bench.now_ns)
    (command,) = bench.take()
    bench.refuse(command, 27)
    assert bench.asks.stage is Stage.LIVE
    assert bench.asks.leave(bench.now_ns)


def test_a_late_error_of_a_subscription_that_is_gone_means_nothing(bench: Bench) -> None:
    bench.live(names(2))
    bench.asks.lost(names(1))
    (command,) = bench.tick()
    bench.asks.gone(ORDERBOOK, bench.now_ns)
    assert bench.refuse(command, 7) is None
    assert kinds(bench.tick()) == ["Subscribe"]


def test_books_that_were_refused_are_no_sign_of_a_dead_subscription(bench: Bench) -> None:
    bench.live(names(2))
    bench.asks.lost(names(2))
    for _ in range(40):
        for command in bench.ticks(2):
            assert not isinstance(command, Unsubscribe)
            bench.refuse(command, 27)


# wanting and dropping


def test_a_market_dropped_while_subscribing_is_taken_away_afterwards(bench: Bench) -> None:
    bench.opened()
    bench.asks.want(names(2))
    (command,) = bench.tick()
    bench.asks.drop("M00000")
    bench.asks.subscribed(command.id, ORDERBOOK, 3, bench.now_ns)
    assert updates(bench.tick(), DELETE_MARKETS) == ["M00000"]


def test_a_market_wanted_again_is_audited_again() -> None:
    bench = Bench(audit_every_s=30.0)
    bench.live(names(2))
    bench.asks.drop("M00000")
    bench.asks.want(["M00000"])
    assert updates(bench.tick(), GET_SNAPSHOT) == ["M00000"]
    bench.books(["M00000"], asked=True)
    assert "M00000" in updates(bench.ticks(30), GET_SNAPSHOT)


def test_a_dropped_market_is_asked_for_nothing_more() -> None:
    bench = Bench(audit_every_s=10.0)
    bench.live(names(2))
    bench.asks.lost(["M00001"])
    bench.asks.drop("M00000")
    bench.asks.drop("M00001")
    commands = bench.ticks(9)
    assert updates(commands, GET_SNAPSHOT) == []
    assert sorted(updates(commands, DELETE_MARKETS)) == names(2)
