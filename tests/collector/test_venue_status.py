"""What counts as a pause, and when the venue is asked."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from book.errors import CollectorError
from book.wire.answers import ExchangeState, Window
from collector import venue_status
from collector.limits import VenueStatus
from collector.venue_status import StatusPoller, is_weekly_pause, status_at

NEW_YORK = ZoneInfo("America/New_York")
UP = ExchangeState(True, True, frozenset(), None)
DOWN = ExchangeState(False, False, frozenset({0, 1}), 77)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-11-26T08:00:00", "2026-11-26T10:00:00"),  # winter: five hours behind
        ("2026-07-23T07:00:00", "2026-07-23T09:00:00"),  # summer: four
        ("2026-03-12T07:00:00", "2026-03-12T09:00:00"),  # the first Thursday after the clocks went forward
        ("2026-03-05T08:00:00", "2026-03-05T10:00:00"),
        ("2026-11-05T08:00:00", "2026-11-05T10:00:00"),  # and after they went back
        ("2026-10-29T07:00:00", "2026-10-29T09:00:00"),
    ],
)
def test_every_thursday_from_three_to_five_in_new_york(start: str, end: str) -> None:
    day_us = 86_400_000_000
    for edge_us, inside in ((at(start) - 1, False), (at(start), True), (at(end) - 1, True), (at(end), False)):
        assert is_weekly_pause(edge_us, NEW_YORK) is inside
        assert status_at(edge_us, NEW_YORK, UP, []).paused is inside
    for days in range(1, 7):
        assert not is_weekly_pause(at(start) + days * day_us, NEW_YORK)


def test_a_window_of_the_schedule_is_a_pause() -> None:
    windows = [Window(100, 200), Window(300, 400)]
    paused = [status_at(now_us, None, UP, windows).paused for now_us in (99, 100, 199, 200, 300, 400)]
    assert paused == [False, True, True, False, True, False]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (None, VenueStatus()),
        (UP, VenueStatus()),
        (DOWN, VenueStatus(True, frozenset())),
        (ExchangeState(True, False, frozenset(), None), VenueStatus(True, frozenset())),
        (ExchangeState(True, True, frozenset({2}), None), VenueStatus(False, frozenset({2}))),
    ],
)
def test_what_the_venue_says_of_itself(state: ExchangeState | None, status: VenueStatus) -> None:
    assert status_at(0, None, state, []) == status


class Venue:
    def __init__(self) -> None:
        self.state: ExchangeState | None = UP
        self.windows: list[Window] = []
        self.failing = False
        self.asked = 0

    async def exchange_state(self) -> ExchangeState | None:
        self.asked += 1
        if self.failing:
            raise CollectorError("down")
        return self.state

    async def maintenance(self) -> list[Window]:
        if self.failing:
            raise CollectorError("down")
        return self.windows


class Session:
    def __init__(self) -> None:
        self.links: dict[int, None] = {}
        self.told: list[VenueStatus] = []

    def venue(self, status: VenueStatus) -> None:
        self.told.append(status)


class Bench:
    def __init__(self) -> None:
        self.venue: Any = Venue()
        self.session: Any = Session()
        self.events: list[str] = []
        self.now_us = at("2026-11-24T20:00:00")

    def run(self, *steps: tuple[Callable[[], None], Callable[[], bool]]) -> None:
        """Poll; after each step, until what it is to bring about holds."""

        async def scenario() -> None:
            poller = StatusPoller(
                self.venue, self.session, lambda: self.now_us, lambda event, **_: self.events.append(event)
            )
            running = asyncio.create_task(poller.run())
            for step, until in steps:
                step()
                async with asyncio.timeout(5):
                    while not until():
                        await asyncio.sleep(0.001)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        asyncio.run(scenario())

    def say(self, state: ExchangeState | None) -> Callable[[], None]:
        return lambda: setattr(self.venue, "state", state)

    def paused(self, *told: bool) -> Callable[[], bool]:
        return lambda: [status.paused for status in self.session.told] == list(told)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(venue_status, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(venue_status, "STATE_EVERY_S", 0.005)
    monkeypatch.setattr(venue_status, "SOONEST_S", 0.002)
    return Bench()


def test_a_session_is_told_when_a_pause_begins_and_ends(bench: Bench) -> None:
    bench.run((bench.say(DOWN), bench.paused(True)), (bench.say(UP), bench.paused(True, False)))
    assert bench.events == ["venue_status", "venue_status"]


def test_the_weekly_pause_goes_by_the_clock_shown(bench: Bench) -> None:
    def thursday() -> None:
        bench.now_us = at("2026-11-26T08:00:00")

    def later() -> None:
        bench.now_us = at("2026-11-26T10:00:00")

    bench.run((thursday, bench.paused(True)), (later, bench.paused(True, False)))


def test_the_schedule_is_followed(bench: Bench) -> None:
    bench.venue.windows = [Window(bench.now_us - 5, bench.now_us + 5)]
    bench.run((lambda: None, bench.paused(True)))


def test_a_venue_that_does_not_answer_leaves_the_status_as_it_was(bench: Bench) -> None:
    def fail() -> None:
        bench.venue.failing, bench.venue.asked = True, 0

    bench.run((bench.say(DOWN), bench.paused(True)), (fail, lambda: bench.venue.asked > 5))
    assert bench.paused(True)()
    assert "venue_state_unknown" in bench.events


def test_but_not_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venue_status, "STALE_S", 0.02)

    def fail() -> None:
        bench.venue.failing = True

    bench.run((bench.say(DOWN), bench.paused(True)), (fail, bench.paused(True, False)))


def test_the_venue_is_asked_soon_after_a_link_has_ended_and_otherwise_seldom(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venue_status, "STATE_EVERY_S", 1000.0)
    bench.session.links = {1: None, 2: None}
    looks = 0

    def some_looks() -> bool:
        nonlocal looks
        looks += 1
        return looks > 50

    def end() -> None:
        nonlocal looks
        looks = 0
        bench.session.links = {2: None, 3: None}

    bench.run(
        (lambda: None, lambda: bench.venue.asked == 1),
        (lambda: None, some_looks),
        (end, lambda: bench.venue.asked == 2),
        (lambda: None, some_looks),
    )
    assert bench.venue.asked == 2


def test_without_the_zone_the_rest_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> ZoneInfo:
        raise venue_status.ZoneInfoNotFoundError

    monkeypatch.setattr(venue_status, "ZoneInfo", missing)
    bench.now_us = at("2026-11-26T08:30:00")
    bench.run((bench.say(DOWN), bench.paused(True)), (bench.say(UP), bench.paused(True, False)))
    assert "time_zone_unknown" in bench.events
