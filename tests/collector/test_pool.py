"""The whole venue over many connections: where each market goes, the venue's bounds, halts, audits that reach all."""

import time
from collections import Counter

import pytest

from book.records import Reason
from book.wire import encode
from book.wire.commands import GET_SNAPSHOT, LIFECYCLE, ORDERBOOK, TICKER, TRADE, Unsubscribe, Update
from collector.limits import VenueStatus
from collector.links import Mark, Role, Slot
from collector.rota import NS
from tests.collector.venues import World, books, names

TAPE, LIVES = Slot(0, Role.TAPE), Slot(0, Role.LIFECYCLE)
QUARTERS = 96
"""Quarters of an hour in a day."""


def recorded(world: World, *tickers: str, seconds: float = 3) -> World:
    for ticker in tickers:
        world.session.list_market(ticker, None, None)
    world.run(seconds)
    return world


def sizes(world: World) -> list[int]:
    return sorted(len(sub.tickers) for _, sub in world.books())


def owners(world: World) -> dict[str, int]:
    return {ticker: world.session.spans.last_conn(ticker) for ticker in world.session.spans.numbers}


def asked(world: World, action: str) -> Counter[str]:
    return Counter(
        ticker
        for _, command in world.commands
        if isinstance(command, Update) and command.action == action
        for ticker in command.tickers
    )


# slots


def test_trades_and_lifecycle_have_a_connection_each() -> None:
    world = World(combos=True)
    assert world.session.slots() == [TAPE, LIVES]
    recorded(world, "A")
    channels = {
        slot: {sub.channel for (link, _), sub in world.subs.items() if link == world.links[slot]}
        for slot in world.links
    }
    assert channels == {
        TAPE: {TRADE, TICKER}, LIVES: {LIFECYCLE, "multivariate_market_lifecycle"}, books(1)[0]: {ORDERBOOK},
    }  # fmt: skip
    assert world.session.figures().up == dict.fromkeys((TAPE, LIVES, *books(1)), True)


def test_slots_grow_with_the_markets_which_are_spread_evenly() -> None:
    world = recorded(World(most_markets=100), *names(1150))
    assert sizes(world) == [95] * 2 + [96] * 10
    assert world.live() == 1150
    recorded(world, *names(100, 1150))
    assert len(world.books()) == 13
    assert world.live() == 1250


def test_what_the_end_of_a_lifecycle_connection_costs_is_no_book() -> None:
    world = recorded(World(), *names(10))
    world.end(world.links[LIVES])
    world.run(3)
    assert world.session.figures().closes == {}
    assert world.session.figures().reconnects == 1
    assert all(world.session.figures().up.values())


def test_a_slot_without_a_market_goes_after_a_while() -> None:
    world = recorded(World(most_markets=10), *names(30))
    gone = next(iter(world.books()))[1]
    for ticker in list(gone.tickers):
        world.session.finish_market(ticker)
    world.run(50)
    assert len(world.session.slots()) == 5
    world.run(20)
    assert len(world.session.slots()) == 4
    assert len(world.links) == 4
    assert world.live() == 20


def test_beyond_the_bound_on_connections_markets_are_counted_and_told() -> None:
    world = recorded(World(most_markets=10, connections=3), *names(37))
    assert world.live() == 30
    assert world.session.figures().without_room == 7
    assert [fields for event, fields in world.session.notes() if event == "without_room"][-1] == {"markets": 7}
    for ticker in names(7):
        world.session.finish_market(ticker)
    world.run(3)
    assert world.live() == 30
    assert world.session.figures().without_room == 0


# the venue's bounds


def test_what_a_full_subscription_refuses_goes_elsewhere_and_nothing_that_lives_moves() -> None:
    world = recorded(World(room=57), *names(200), seconds=30)
    assert sizes(world) == [29, 57, 57, 57]
    assert world.live() == 200
    assert world.session.figures().closes == {}
    assert world.session.figures().without_room == 0


def test_turned_away_the_markets_go_to_the_connections_that_stand() -> None:
    world = recorded(World(most_markets=100, doors=5), *names(250), seconds=5)
    assert len(world.session.slots()) == 5
    assert sizes(world) == [83, 83, 84]
    narrow = recorded(World(most_markets=100, doors=4), *names(250), seconds=5)
    assert sizes(narrow) == [100, 100]
    assert narrow.session.figures().without_room == 50
    assert narrow.session.figures().closes == {}
    narrow.doors = 9
    narrow.run(130)
    assert narrow.live() == 250
    assert narrow.session.figures().closes == {}


def test_a_bound_on_connections_is_tried_again_less_and_less_often() -> None:
    world = recorded(World(most_markets=10, doors=3), *names(30), seconds=5)
    before = world.refused
    world.run(3600)
    assert 4 <= world.refused - before <= 12
    assert world.live() == 10


def test_the_tape_finds_a_connection_though_the_books_have_taken_them_all() -> None:
    world = recorded(World(most_markets=10, doors=5), *names(30), seconds=5)
    world.doors = 4
    world.end(world.links[TAPE])
    world.run(5)
    assert TAPE in world.links
    assert world.live() == 20
    assert world.session.figures().without_room == 10


def test_a_connection_that_the_venue_does_not_give_back_leaves_its_markets_to_others_by_a_new_subscription() -> None:
    """Their last conn is above those of the subscriptions that live, so that they wait for one to begin."""
    world = recorded(World(most_markets=100, doors=4), *names(100), seconds=3)
    recorded(world, *names(10, 100), seconds=3)
    last = owners(world)
    world.doors = 3
    world.end(world.links[books(2)[1]])
    for ticker in names(20):
        world.session.finish_market(ticker)
    world.run(60)
    assert world.live() == 90
    assert all(conn >= last[ticker] for ticker, conn in owners(world).items())
    assert all(conn > last[ticker] for ticker, conn in owners(world).items() if ticker in names(10, 100))


def test_too_many_commands_slow_that_connection_only() -> None:
    world = recorded(World(most_markets=10), *names(20))
    first, second = (link for link, _ in world.books())
    world.session.links[first].asks.refused(None, 27, world.now_ns)
    assert world.session.links[first].asks._pace < world.session.links[second].asks._pace
    assert world.session.figures().commands_refused == 1


# stalls, pauses and halts


@pytest.mark.parametrize("seconds", [10.5, 14.0])
def test_a_stall_while_markets_are_added_costs_nothing(seconds: float) -> None:
    """What was asked before it is answered after it, and after the first pong: the venue held everything back."""
    world = recorded(World(), *names(10))
    ((link, _),) = world.books()
    world.deaf.add(link)
    world.commands.clear()
    for number in range(10, 40, 10):
        for ticker in names(10, number):
            world.session.list_market(ticker, None, None)
        world.step()
    world.run(seconds)
    held = [command for one, command in world.commands if one == link]
    assert len(held) == 3
    world.items.append((link, world.now_ns, Mark.PONG))
    world.step()
    world.deaf.clear()
    for command in held:
        world.answer(link, command)
    world.run(3)
    assert world.session.figures().closes == {}
    assert world.live() == 40
    assert not any(isinstance(command, Unsubscribe) for _, command in world.commands)


def test_a_connection_that_ends_in_a_pause_is_a_pause() -> None:
    world = recorded(World(), *names(3))
    world.session.venue(VenueStatus(paused=True))
    world.end(world.books()[0][0])
    world.session.venue(VenueStatus())
    world.run(3)
    world.end(world.books()[0][0])
    assert world.session.figures().closes == {"venue_pause": 3, "disconnect": 3}


def test_a_shutdown_in_a_pause_is_a_shutdown() -> None:
    world = recorded(World(), *names(3))
    world.session.venue(VenueStatus(paused=True))
    world.end(world.books()[0][0], Reason.SHUTDOWN)
    assert world.session.figures().closes == {"shutdown": 3}


def test_markets_of_a_halted_exchange_shard_are_left_alone_and_asked_for_when_it_is_back() -> None:
    world = World(audit_every_s=60.0)
    for number, ticker in enumerate(names(20)):
        world.session.list_market(ticker, None, None, 2 if number < 10 else 0)
    world.run(3)
    world.silent = set(names(10))
    world.session.venue(VenueStatus(halted=frozenset({2})))
    world.commands.clear()
    world.run(300)
    assert not asked(world, GET_SNAPSHOT).keys() & set(names(10))
    assert world.session.figures().closes == {}
    world.silent.clear()
    world.session.venue(VenueStatus())
    world.run(90)
    assert asked(world, GET_SNAPSHOT).keys() == set(names(20))
    assert world.session.figures().audits_unequal == 0


def test_what_was_asked_before_a_halt_was_known_gives_nothing_up() -> None:
    world = World()
    for ticker in names(5):
        world.session.list_market(ticker, None, None, 2)
    world.run(3)
    world.silent = set(names(5))
    for link, _ in world.books():
        world.session.links[link].asks.lost(names(5))
    world.run(5)
    world.session.venue(VenueStatus(halted=frozenset({2})))
    world.run(200)
    assert not any(isinstance(command, Unsubscribe) for _, command in world.commands)
    assert world.session.figures().reconnects == 0


def test_a_link_that_does_not_hear_us_is_given_up_though_data_comes() -> None:
    world = recorded(World(), "A")
    ((link, sub),) = world.books()
    world.deaf.add(link)
    for _ in range(601):
        world.say(link, encode.delta(1, sub.next(), "A", 0, 4500, 5, 0))
        world.step()
    assert world.session.figures().closes == {"disconnect": 1}


# audits


@pytest.mark.parametrize("failing", [0, 40])
def test_no_live_market_goes_without_an_audit_though_others_fail(failing: int) -> None:
    """12 book connections; each step is a tenth of a second, and most commands of a link hold a few markets at most."""
    every_s = 60.0
    world = recorded(World(most_markets=100, audit_every_s=every_s), *names(1200), seconds=5)
    assert len(world.books()) == 12
    world.silent = {ticker for _, sub in world.books() for ticker in list(sub.tickers)[:failing]}
    heard = dict.fromkeys((ticker for ticker in names(1200) if ticker not in world.silent), world.now_ns)
    longest_ns = 0
    a_second: list[int] = []
    for _ in range(4 * int(every_s)):
        world.commands.clear()
        for _ in range(10):
            world.step()
            for ticker in [one for one in asked(world, GET_SNAPSHOT) if one in heard]:
                longest_ns = max(longest_ns, world.now_ns - heard[ticker])
                heard[ticker] = world.now_ns
        a_second.append(asked(world, GET_SNAPSHOT).total())
    assert longest_ns + NS <= every_s * NS
    assert world.now_ns - min(heard.values()) <= every_s * NS
    assert max(a_second) <= 2.5 * 1200 / every_s
    assert world.session.figures().closes == {}
    assert world.session.figures().audits_unequal == 0


# what must not grow


def test_a_week_of_short_lived_markets_leaves_nothing_behind() -> None:
    """Eight new markets each quarter of an hour: six end by a message, one by the listing, one hours after its close.

    Most seconds are skipped: nothing but the clock needs them.
    """
    world = World(most_markets=10, watchdog_s=1e9, silence_s=1e9)
    a_day: list[list[int]] = []
    for quarter in range(7 * QUARTERS):
        ends_us = world.us() + 900_000_000
        for number in range(8):
            world.session.list_market(f"Q{quarter}-{number}", world.us(), ends_us)
        world.run(1)
        lives = world.links[LIVES]
        sub = world.subs[lives, 1]
        _stray(world, quarter)
        world.now_ns += 898 * NS
        for name in (*(f"Q{quarter}-{number}" for number in range(6)), f"NEVER-LISTED-{quarter}"):
            fields = {"event_type": "determined", "market_ticker": name, "result": "yes"}
            world.say(lives, encode.lifecycle(1, sub.next(), fields))
        world.session.finish_market(f"Q{quarter}-6")
        world.session.finish_market(f"Q{quarter - 16}-7")
        world.run(1)
        world.commands.clear()
        if quarter % QUARTERS == QUARTERS - 1:
            a_day.append(_kept(world))
    assert world.session.figures().closes["market_closed"] > 7 * QUARTERS * 7
    for one in a_day[1:]:
        assert all(later <= earlier + 16 for earlier, later in zip(a_day[0], one, strict=True)), a_day
    assert max(a_day[0]) < 300


def _stray(world: World, quarter: int) -> None:
    """Let a change come of a market that was never asked for."""
    link, sub = world.books()[0]
    sid = next(sid for (one, sid), found in world.subs.items() if one == link and found is sub)
    world.say(link, encode.delta(sid, sub.next(), f"STRAY-{quarter}", 0, 4500, 5, 0))


def _kept(world: World) -> list[int]:
    """Return the size of everything that is kept a market."""
    session = world.session
    rosters = [link.asks.roster for link in session.links.values()]
    session.changed()
    session.notes()
    return [
        len(session.spans.names), len(session.spans.numbers),
        len(session.markets.timers), len(session.markets.timers.times),
        len(session.seating.homes), len(session.intake.over),
        sum(len(conn.ended) for conn in session.spans.conns.values()),
        *(sum(len(getattr(roster, name)) for roster in rosters) for name in (
            "wanted", "adding", "added", "leaving", "fresh", "later", "unwanted", "missing", "rota", "_due",
        )),
        sum(len(link.asks.sent) + len(link.asks.late) for link in session.links.values()),
        len(session.links), len(session.spans.conns),
    ]  # fmt: skip


@pytest.mark.fault
def test_twelve_thousand_markets_are_all_audited_in_time_though_some_fail(figures: list[str]) -> None:
    """Over 12 book connections for two rounds of the rota; one link in four ends meanwhile and is connected anew."""
    every_s = 900.0
    world = recorded(World(audit_every_s=every_s), *names(12_000), seconds=10)
    assert len(world.books()) == 12
    assert world.live() == 12_000
    world.silent = {ticker for _, sub in world.books() for ticker in list(sub.tickers)[::20]}
    known = dict.fromkeys(names(12_000), world.now_ns)
    longest_ns, most, anew, begun_s = 0, 0, range(0), time.process_time()
    for second in range(2 * int(every_s)):
        if second in (300, 700, 1100):
            world.end(world.links[books(12)[second // 100]])
            anew = range(second, second + 5)
        world.commands.clear()
        for _ in range(10):
            world.step()
        found = asked(world, GET_SNAPSHOT)
        most = max(most, len(found))
        for ticker in found:
            if ticker not in world.silent:
                longest_ns = max(longest_ns, world.now_ns - known[ticker])
                known[ticker] = world.now_ns
        if second in anew:  # the books of the connection that was made last are known from now
            known |= dict.fromkeys(
                next(sub.tickers for link, sub in world.books() if link == world.opened), world.now_ns
            )
    tick_ms = (time.process_time() - begun_s) / (20 * every_s) * 1000
    answered = [at_ns for ticker, at_ns in known.items() if ticker not in world.silent]
    assert longest_ns <= every_s * NS
    assert world.now_ns - min(answered) <= every_s * NS
    assert world.session.figures().audits_unequal == 0
    figures.append(
        f"12,000 markets, {2 * every_s:.0f} s: longest without an audit {longest_ns / NS:.0f} s, "
        f"at most {most} asked in a second, {tick_ms:.2f} ms of CPU a tick with the venue's side"
    )
