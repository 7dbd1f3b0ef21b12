"""What is sent when: subscriptions, additions, missing books, audits, and every rung of the ladder."""

import random
from itertools import pairwise
from typing import Any

import pytest

from book.wire.commands import (
    ADD_MARKETS,
    DELETE_MARKETS,
    GET_SNAPSHOT,
    LIFECYCLE,
    ORDERBOOK,
    TRADE,
    Command,
    Subscribe,
    Unsubscribe,
    Update,
)
from collector.asks import ANSWER_WITHIN_NS, BULK_WAIT_NS, CHUNK, COMMANDS_A_TICK, NS, Asks, Stage

TICK_NS = NS // 10


def names(count: int) -> list[str]:
    return [f"M{number:05d}" for number in range(count)]


class Bench:
    """Asks, a clock, and a venue that answers only when it is told to."""

    def __init__(self, *, most_markets: int = 100_000, audit_every_s: float = 900.0) -> None:
        self.now_ns = 1_000 * NS
        self.asks = Asks(random.Random(3), most_markets=most_markets, audit_every_s=audit_every_s)
        self.asks.open(self.now_ns)
        self.sid = 0

    def take(self) -> list[Command]:
        taken = list(self.asks.out)
        self.asks.out.clear()
        return taken

    def tick(self, seconds: float = 0.1) -> list[Command]:
        self.now_ns += int(seconds * NS)
        self.asks.tick(self.now_ns)
        return self.take()

    def ticks(self, seconds: float) -> list[Command]:
        return [command for _ in range(round(seconds * 10)) for command in self.tick()]

    def opened(self) -> None:
        for command in self.take():
            assert isinstance(command, Subscribe)
            self.sid += 1
            self.asks.subscribed(command.id, command.channels[0], self.sid, self.now_ns)

    def live(self, tickers: list[str], *, books: bool = True) -> None:
        """Stand subscribed to these markets."""
        self.opened()
        self.asks.want(tickers)
        (command,) = self.tick()
        self.sid += 1
        self.asks.subscribed(command.id, ORDERBOOK, self.sid, self.now_ns)
        while commands := self.tick():
            for command in commands:
                self.asks.acknowledged(command.id)
        if books:
            self.books(tickers)

    def books(self, tickers: list[str], *, asked: bool = False) -> None:
        for ticker in tickers:
            self.asks.got(ticker, self.now_ns, asked=asked)

    def refuse(self, command: Command, code: int) -> Command | None:
        return self.asks.refused(command.id, code, self.now_ns)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def updates(commands: list[Command], action: str) -> list[str]:
    return [t for one in commands if isinstance(one, Update) and one.action == action for t in one.tickers]


def kinds(commands: list[Command]) -> list[Any]:
    return [one.action if isinstance(one, Update) else type(one).__name__ for one in commands]


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
    assert kinds(adding) == [ADD_MARKETS] * COMMANDS_A_TICK
    assert {len(one.tickers) for one in adding if isinstance(one, Update)} == {CHUNK}
    assert {one.sids for one in adding if isinstance(one, Update)} == {(3,)}
    rest = bench.tick()
    assert updates(adding, ADD_MARKETS) + updates(rest, ADD_MARKETS) == names(6000)[CHUNK:]


def test_a_market_is_subscribed_once_however_often_it_is_wanted(bench: Bench) -> None:
    bench.live(names(3))
    bench.asks.want(names(3))
    assert bench.ticks(2) == []


def test_no_more_markets_than_the_bound_and_the_rest_waits_for_room() -> None:
    bench = Bench(most_markets=3)
    bench.live(names(5))
    assert bench.asks.roster.added == set(names(3))
    assert bench.asks.without_room == 2
    bench.asks.drop("M00001")
    (gone,) = bench.tick()
    assert updates([gone], DELETE_MARKETS) == ["M00001"]
    assert bench.ticks(1) == []
    bench.asks.acknowledged(gone.id)
    assert updates(bench.tick(), ADD_MARKETS) == ["M00003"]
    assert bench.asks.without_room == 1


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
    assert bench.asks.without_room == 700 - 256
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
    bench.asks.lost(names(9000))
    first = bench.tick()
    assert kinds(first) == [GET_SNAPSHOT] * COMMANDS_A_TICK
    assert len(updates(first, GET_SNAPSHOT)) == COMMANDS_A_TICK * CHUNK
    assert len(updates(first + bench.tick() + bench.tick(), GET_SNAPSHOT)) == 9000


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
    longest_ns = 0
    for _ in range(round(3.2 * every_s * 10)):
        due = updates(bench.tick(), GET_SNAPSHOT)
        asked.append(len(due))
        for ticker in due:
            longest_ns = max(longest_ns, bench.now_ns - seen[ticker])
            seen[ticker] = bench.now_ns
        bench.books(due, asked=True)
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


def test_leaving_in_vain_is_repeated_less_and_less(bench: Bench) -> None:
    left = []
    bench.live(names(1), books=False)
    for tick in range(3000):
        for command in bench.tick():
            if isinstance(command, Unsubscribe):
                left.append(tick)
                bench.asks.acknowledged(command.id)
                bench.asks.gone(ORDERBOOK, bench.now_ns)
            elif isinstance(command, Subscribe):
                bench.asks.subscribed(command.id, ORDERBOOK, 3, bench.now_ns)
    waits = [later - earlier for earlier, later in pairwise(left)]
    assert len(left) == 4
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[0]


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
    assert len(bench.asks.sent) <= COMMANDS_A_TICK * 10 * 11


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
