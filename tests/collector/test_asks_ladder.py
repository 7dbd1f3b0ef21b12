"""Missing books, audits, and every rung of the ladder."""

from itertools import pairwise

import pytest

from book.wire.commands import (
    GET_SNAPSHOT,
    LIFECYCLE,
    ORDERBOOK,
    TRADE,
    Subscribe,
    Unsubscribe,
    Update,
)
from collector.asks import ANSWER_WITHIN_NS, BULK_WAIT_NS, CHUNK, COMMANDS_AT_ONCE
from collector.rota import NS
from collector.stage import Stage
from tests.collector.asking import Bench, kinds, names, updates


@pytest.fixture
def bench() -> Bench:
    return Bench()


# missing books


def test_a_lost_book_is_asked_for_at_the_next_tick_then_with_growing_waits(bench: Bench) -> None:
    bench.live(names(2))
    bench.asks.lost(["M00000", "unknown"])
    at = []
    for tick in range(90):
        if updates(bench.tick(), GET_SNAPSHOT):
            at.append(tick)
            bench.books(["M00001"])  # so that the subscription is seen to live
    waits = [later - earlier for earlier, later in pairwise(at)]
    assert at[0] == 0
    assert 7 <= waits[0] <= 11
    assert 14 <= waits[1] <= 21
    assert 29 <= waits[2] <= 41


def test_missing_books_are_asked_for_in_chunks_under_the_cap(bench: Bench) -> None:
    bench.live(names(9000))
    bench.ticks(1)
    bench.asks.lost(names(9000))
    first = bench.tick()
    assert kinds(first) == [GET_SNAPSHOT] * COMMANDS_AT_ONCE
    assert len(updates(first, GET_SNAPSHOT)) == COMMANDS_AT_ONCE * CHUNK
    assert updates(first + bench.ticks(1), GET_SNAPSHOT) == names(9000)


def test_the_first_books_get_their_time_to_come_by_themselves(bench: Bench) -> None:
    bench.live(names(2), books=False)
    assert updates(bench.ticks(BULK_WAIT_NS / NS - 0.6), GET_SNAPSHOT) == []
    assert updates(bench.ticks(1), GET_SNAPSHOT) == names(2)


def test_a_book_lost_before_it_ever_came_is_asked_for_at_once(bench: Bench) -> None:
    bench.live(names(2), books=False)
    bench.asks.lost(names(2))
    assert updates(bench.tick(), GET_SNAPSHOT) == names(2)


# audits


@pytest.mark.parametrize(("count", "every_s"), [(1, 30.0), (7, 30.0), (400, 30.0), (300, 240.0)])
def test_audits_reach_every_market_in_time_and_no_faster_than_needed(count: int, every_s: float) -> None:
    bench = Bench(audit_every_s=every_s)
    bench.live(names(count))
    seen = dict.fromkeys(names(count), bench.now_ns)
    asked: list[int] = []
    on_their_way: list[list[str]] = [[]] * 3
    longest_ns = 0
    for _ in range(round(3.2 * every_s * 10)):
        due = updates(bench.tick(), GET_SNAPSHOT)
        asked.append(len(due))
        on_their_way.append(due)
        for ticker in (books := on_their_way.pop(0)):
            longest_ns = max(longest_ns, bench.now_ns - seen[ticker])
            seen[ticker] = bench.now_ns
        bench.books(books, asked=True)
    longest_ns = max(longest_ns, bench.now_ns - min(seen.values()))
    assert longest_ns <= every_s * NS
    rate = count / every_s
    for window in (100, len(asked)):
        most = max(sum(asked[start : start + window]) for start in range(0, len(asked) - window + 1, 10))
        assert most <= 1.5 * rate * (window / 10 + 1.0) + 1


def test_audits_are_spread_from_the_start() -> None:
    bench = Bench(audit_every_s=100.0)
    bench.live(names(1000))
    counts = []
    for _ in range(10):
        due = updates(bench.ticks(10), GET_SNAPSHOT)
        bench.books(due, asked=True)
        counts.append(len(due))
    assert min(counts) > 60
    assert max(counts) < 190


def test_credit_for_audits_does_not_pile_up() -> None:
    bench = Bench(audit_every_s=100.0)
    bench.live(names(200))
    bench.tick(3600)
    assert len(updates(bench.tick(), GET_SNAPSHOT)) <= 1.5 * 200 / 100 * 1.1 + 1


# the ladder


def test_no_book_at_all_means_subscribing_anew(bench: Bench) -> None:
    bench.live(names(3))
    bench.asks.lost(names(3))
    commands = bench.ticks(9)
    assert set(kinds(commands)) == {GET_SNAPSHOT}
    assert kinds(bench.ticks(2))[-1] == "Unsubscribe"
    assert bench.asks.stage is Stage.LEAVING
    assert bench.ticks(1) == []
    bench.asks.acknowledged(bench.asks._next_id - 1)
    bench.asks.gone(ORDERBOOK, bench.now_ns)
    (again,) = bench.tick()
    assert isinstance(again, Subscribe)
    assert again.tickers == tuple(names(3))


def test_one_market_without_an_answer_costs_the_others_nothing(bench: Bench) -> None:
    """A settled market may stay silent; the subscription is not to blame while others are answered."""
    bench.live(names(10))
    bench.asks.lost(["M00000"])
    probes = 0
    for _ in range(6000):
        for command in bench.tick():
            assert isinstance(command, Update), command
            answered = [ticker for ticker in command.tickers if ticker != "M00000"]
            probes += len(answered)
            bench.books(answered, asked=True)
    assert bench.asks.stage is Stage.LIVE
    assert 0 < probes <= 3 * 20 + 10


def test_audits_that_nobody_answers_mean_subscribing_anew() -> None:
    """The subscription may be dead while pongs still come."""
    bench = Bench(audit_every_s=30.0)
    bench.live(names(5))
    commands = bench.ticks(60)
    assert kinds(commands)[-1] == "Unsubscribe"


def test_what_a_new_subscription_does_not_mend_a_new_connection_may_and_each_waits_longer() -> None:
    lived = []
    for vain in range(4):
        bench = Bench(vain=vain)
        bench.live(names(1), books=False)
        left, start_ns = 0, bench.now_ns
        while not bench.asks.hopeless:
            for command in bench.tick():
                if isinstance(command, Unsubscribe):
                    left += 1
                    bench.asks.acknowledged(command.id)
                    bench.asks.gone(ORDERBOOK, bench.now_ns)
                elif isinstance(command, Subscribe):
                    bench.asks.subscribed(command.id, ORDERBOOK, 3, bench.now_ns)
        assert left == 1
        assert bench.asks.vain == vain + 1
        lived.append((bench.now_ns - start_ns) / NS)
    assert all(30 * 2**vain < one < 50 * 2**vain for vain, one in enumerate(lived))


@pytest.mark.parametrize("channel", [TRADE, LIFECYCLE, ORDERBOOK])
def test_a_subscription_that_ends_is_made_anew_at_once_and_then_with_growing_waits(channel: str) -> None:
    bench = Bench()
    bench.live(names(1))
    bench.tick(60)
    began = []
    bench.asks.gone(channel, bench.now_ns)
    start_ns = bench.now_ns
    while len(began) < 9:
        for command in bench.tick():
            if isinstance(command, Subscribe):
                began.append((bench.now_ns - start_ns) / NS)
                bench.asks.subscribed(command.id, channel, 9, bench.now_ns)
                bench.asks.gone(channel, bench.now_ns)
    waits = [later - earlier for earlier, later in pairwise(began)]
    assert began[0] <= 0.15
    assert waits[-1] <= 30.2
    assert waits[-1] > 4 * waits[1]


def test_a_subscribe_without_an_answer_ends_the_connection(bench: Bench) -> None:
    bench.opened()
    bench.asks.want(names(1))
    bench.tick()
    bench.ticks(ANSWER_WITHIN_NS / NS - 0.2)
    assert not bench.asks.hopeless
    bench.ticks(0.5)
    assert bench.asks.hopeless
    assert bench.ticks(5) == []


def test_an_unsubscribe_without_an_answer_ends_the_connection(bench: Bench) -> None:
    bench.live(names(1))
    bench.asks.leave(bench.now_ns)
    bench.ticks(11)
    assert bench.asks.hopeless


def test_an_ok_to_a_subscribe_ends_the_connection(bench: Bench) -> None:
    """The venue has merged it into a subscription of which nothing is known here."""
    bench.opened()
    bench.asks.want(names(1))
    (command,) = bench.tick()
    bench.asks.acknowledged(command.id)
    assert bench.asks.hopeless


def test_what_ends_while_it_is_being_left_is_subscribed_anew_once(bench: Bench) -> None:
    bench.live(names(1))
    bench.asks.leave(bench.now_ns)
    bench.take()
    bench.asks.gone(ORDERBOOK, bench.now_ns)
    assert kinds(bench.tick()) == ["Subscribe"]
    bench.asks.subscribed(bench.asks._next_id - 1, ORDERBOOK, 8, bench.now_ns)
    bench.books(names(1))
    assert bench.ticks(11) == []
    assert not bench.asks.hopeless


def test_commands_in_flight_do_not_pile_up() -> None:
    bench = Bench(audit_every_s=1.0)
    bench.live(names(2000))
    for _ in range(600):
        for command in bench.tick():
            if isinstance(command, Update):
                bench.books(list(command.tickers), asked=True)
    assert len(bench.asks.sent) <= COMMANDS_AT_ONCE * 10 * 11
