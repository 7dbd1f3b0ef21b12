"""The rounds of listings: what is told to the session, kept as versions, and tried again."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from book.errors import CollectorError
from book.records import HOUR_US
from book.wire.decode import decode
from book.wire.messages import Lifecycle
from book.wire.rest import (
    EventDoc,
    MarketDoc,
    SeriesDoc,
    decode_event,
    decode_market,
    decode_series,
    parse_time_us,
    time_text,
)
from collector import discovery as discovery_module
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.discovery import Discovery
from collector.limits import Limits
from collector.session import Session
from collector.venue_rest import VenueBusyError
from collector.versions import Versions

T0 = 500_000 * HOUR_US


class Venue:
    """The documents of a venue, and what was asked of it."""

    def __init__(self, *tickers: str) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.since: list[int] = []
        self.events_of: list[str] = ["A-EV"]
        self.failing: Exception | None = None
        self.page = 2
        for ticker in tickers:
            self.add(ticker)

    def add(self, ticker: str, status: str = "active", **more: Any) -> None:
        self.documents[ticker] = {
            "ticker": ticker,
            "event_ticker": f"{ticker[0]}-EV",
            "status": status,
            "open_time": time_text(T0),
            "close_time": time_text(T0 + HOUR_US),
            **more,
        }

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.failing is not None:
            raise self.failing

    async def open_markets(self, *, combos: bool) -> AsyncIterator[list[MarketDoc]]:
        assert not combos
        living = [one for one in self.documents.values() if one["status"] in {"active", "initialized", "inactive"}]
        for start in range(0, max(1, len(living)), self.page):
            self._ask("list")
            yield [decode_market(one) for one in living[start : start + self.page]]

    async def markets(self, tickers: list[str]) -> list[MarketDoc]:
        if tickers:
            self._ask("look " + ",".join(tickers))
        return [decode_market(self.documents[ticker]) for ticker in tickers if ticker in self.documents]

    async def changed_markets(self, since_s: int, *, combos: bool) -> AsyncIterator[list[MarketDoc]]:
        assert not combos
        self._ask("changed")
        self.since.append(since_s)
        stamped = [(one, one.get("updated_time")) for one in self.documents.values()]
        yield [
            decode_market(one)
            for one, updated in stamped
            if updated is not None and parse_time_us(updated) // 1_000_000 >= since_s
        ]

    async def open_events(self, *, combos: bool) -> AsyncIterator[list[EventDoc]]:
        self._ask("events")
        yield [decode_event({"event_ticker": one, "series_ticker": "S", "category": "c"}) for one in self.events_of]

    async def changed_events(self, since_s: int) -> AsyncIterator[list[EventDoc]]:
        yield []

    async def events(self, tickers: list[str]) -> list[EventDoc]:
        self._ask("events " + ",".join(tickers))
        return [decode_event({"event_ticker": one, "series_ticker": "S"}) for one in tickers if one != "Z-EV"]

    async def all_series(self, since_s: int | None = None) -> list[SeriesDoc]:
        self._ask("all series")
        return []

    async def series(self, ticker: str) -> SeriesDoc | None:
        self._ask(f"series {ticker}")
        return decode_series({"ticker": ticker, "title": "t"})


class Bench:
    """A discovery over a session with no connection."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.session = Session(Stamper(T0, 0), ConnNumbers(0), random.Random(1), Limits())
        self.loaded = Versions()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.now_us = T0
        self._ticks = 0

    @property
    def versions(self) -> Versions:
        return self.session.metadata.versions

    def tick(self) -> None:
        self._ticks += 1
        self.session.tick(self._ticks * 1000, T0 + self._ticks)

    def run(
        self,
        until: Callable[[], bool],
        then: Callable[[], None] = lambda: None,
        until_then: Callable[[], bool] = lambda: True,
    ) -> None:
        """Discover until something holds, do something, and discover until something else holds."""

        async def scenario() -> None:
            loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            loaded.set_result(None)
            if not self.session.metadata._loaded:
                self.session.metadata.loaded(self.loaded)
            running = asyncio.create_task(self.discovery(loaded).run())
            try:
                for reached, step in ((until, then), (until_then, lambda: None)):
                    async with asyncio.timeout(5):
                        while not reached():
                            if running.done():
                                running.result()
                            self.tick()
                            await asyncio.sleep(0.001)
                    step()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        asyncio.run(scenario())

    def discovery(self, loaded: Any) -> Discovery:
        venue: Any = self.venue
        return Discovery(venue, self.session, lambda: self.now_us, self._log, combos=False, loaded=loaded)

    def _log(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def listed(self) -> list[str]:
        return sorted(self.session.markets.timers.times)

    def wants(self, ticker: str) -> bool:
        """Say whether the session follows, or would follow, a market's book."""
        return ticker in self.session.seating.homes

    def kept(self, table: str) -> list[dict[str, Any]]:
        batch = self.session.metadata.tables[table].take()
        return [] if batch is None else batch.to_pylist()

    def count(self, event: str) -> int:
        return sum(one == event for one, _ in self.events)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_module, "LOOK_EVERY_S", 0.002)
    monkeypatch.setattr(discovery_module, "AGAIN_S", 0.005)


def test_every_market_of_every_page_is_listed_and_kept_once() -> None:
    bench = Bench(Venue("A1", "A2", "B1", "B2", "B3"))
    bench.run(lambda: bench.versions.knows("markets", "B3"))
    assert bench.listed() == ["A1", "A2", "B1", "B2", "B3"]
    rows = bench.kept("markets")
    assert [row["ticker"] for row in rows] == ["A1", "A2", "B1", "B2", "B3"]
    assert {row["series_ticker"] for row in rows} == {"S"}
    assert [row["event_ticker"] for row in bench.kept("events")] == ["A-EV", "B-EV"]
    assert [row["series_ticker"] for row in bench.kept("series")] == ["S"]
    assert bench.venue.asked.count("series S") == 1


def test_a_start_asks_for_no_event_and_no_series_by_itself() -> None:
    """Three thousand events in as many requests would take minutes: what no listing names is asked for in one."""
    venue = Venue(*(f"{chr(65 + number)}1" for number in range(20)))
    bench = Bench(venue)
    venue.page = 1000
    bench.run(lambda: bench.versions.knows("markets", "T1"))
    asked = [one for one in venue.asked if one.startswith(("events ", "series "))]
    assert asked == ["events " + ",".join(f"{chr(65 + number)}-EV" for number in range(1, 20)), "series S"]


def test_recording_waits_neither_for_metadata_nor_for_what_the_log_holds() -> None:
    bench = Bench(Venue("A1"))

    async def scenario() -> None:
        loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(bench.discovery(loaded).run())
        async with asyncio.timeout(5):
            while bench.listed() != ["A1"]:
                await asyncio.sleep(0.001)
        bench.tick()
        assert bench.kept("markets") == bench.kept("events") == []
        bench.session.metadata.loaded(bench.loaded)
        loaded.set_result(None)
        async with asyncio.timeout(5):
            while not bench.versions.knows("markets", "A1"):
                bench.tick()
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert len(bench.kept("markets")) == 1


def test_what_was_heard_of_is_looked_at_and_what_changed_is_a_version() -> None:
    bench = Bench(Venue("A1"))

    def change() -> None:
        bench.venue.add("A1", status="active", close_time=time_text(T0 + 2 * HOUR_US))
        bench.venue.add("B9")
        bench.session.look_again(["A1", "B9", "gone"])

    bench.run(lambda: bench.versions.knows("markets", "A1"), change, lambda: bench.versions.knows("markets", "B9"))
    assert bench.listed() == ["A1", "B9"]
    assert bench.session.markets.timers.times["A1"].close_us == T0 + 2 * HOUR_US
    assert [row["ticker"] for row in bench.kept("markets")].count("A1") == 2


def test_changes_are_asked_for_between_the_listings_and_tell_of_markets_of_any_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery_module, "CHANGED_EVERY_S", 0.01)
    bench = Bench(Venue("A1", "A2"))
    bench.venue.documents["A1"]["updated_time"] = time_text(T0 - 1_000_000)

    def change() -> None:
        bench.now_us = T0 + 600 * 1_000_000
        bench.venue.add("A2", status="finalized", result="no", updated_time=time_text(T0 + 599 * 1_000_000))
        bench.venue.add("B1", status="closed", updated_time=time_text(T0 + 598 * 1_000_000))

    bench.run(lambda: len(bench.venue.since) >= 2, change, lambda: bench.versions.unfinished == {"A1", "B1"})
    assert bench.venue.asked.count("list") == 1
    assert bench.venue.since[0] == T0 // 1_000_000 - 61
    bench.run(lambda: True, lambda: None, lambda: bench.venue.since[-1] == T0 // 1_000_000 + 599 - 60)


def test_what_happened_while_no_recorder_ran_is_asked_for_first() -> None:
    venue = Venue("A1")
    venue.add("B1", status="finalized", result="yes", updated_time=time_text(T0 - 100 * 1_000_000))
    bench = Bench(venue)
    bench.loaded.newest_us = T0 - 3600 * 1_000_000
    bench.run(lambda: bench.versions.knows("markets", "B1") and bench.versions.knows("markets", "A1"))
    assert venue.since[0] == (T0 - 3660 * 1_000_000) // 1_000_000
    assert bench.listed() == ["A1"]


@pytest.mark.parametrize("error", [VenueBusyError(429, "/markets"), CollectorError("401")])
def test_what_could_not_be_looked_at_is_not_forgotten(error: Exception) -> None:
    bench = Bench(Venue("A1"))
    bench.run(lambda: bench.versions.knows("markets", "A1"))
    bench.venue.failing = error
    bench.venue.add("B9", status="closed")  # no listing tells of it
    bench.session.look_again(["B9"])

    def mend() -> None:
        bench.venue.failing = None

    bench.run(lambda: bench.count("discovery_failed") >= 4, mend, lambda: bench.versions.knows("markets", "B9"))
    assert "B9" in bench.listed()


def test_a_listing_that_fails_half_way_has_listed_half_and_is_tried_again() -> None:
    bench = Bench(Venue("A1", "A2", "A3"))
    bench.venue.page = 1
    pages = 0
    real = bench.venue._ask

    def fail_twice(what: str) -> None:
        nonlocal pages
        pages += what == "list"
        if what == "list" and pages in {2, 3}:
            raise VenueBusyError(500, "/markets")
        real(what)

    bench.venue._ask = fail_twice  # type: ignore[method-assign]
    bench.run(lambda: bench.count("discovery_failed") >= 1)
    assert "A1" in bench.listed()
    bench.run(lambda: bench.count("markets_listed") >= 1)
    assert bench.listed() == ["A1", "A2", "A3"]


def test_an_end_nobody_heard_is_learned_when_the_market_has_left_the_listing() -> None:
    bench = Bench(Venue("A1", "A2"))
    bench.run(lambda: bench.versions.knows("markets", "A2"))
    bench.venue.add("A1", status="finalized", result="yes")
    bench.run(lambda: bench.versions.unfinished == {"A2"})
    bench.tick()
    assert bench.listed() == ["A2"]
    assert bench.session.spans.state[bench.session.spans.market("A1")]["finished"]
    last = bench.kept("markets")[-1]
    assert (last["ticker"], last["status"], last["result"]) == ("A1", "finalized", "yes")


def test_an_empty_listing_ends_nothing() -> None:
    """A venue that lists nothing for a moment: every market is looked at by name, and lives."""
    bench = Bench(Venue("A1", "A2"))
    bench.run(lambda: bench.versions.knows("markets", "A2"))
    documents = bench.venue.documents

    async def nothing(*, combos: bool) -> AsyncIterator[list[MarketDoc]]:
        yield []

    bench.venue.open_markets = nothing  # type: ignore[method-assign, assignment]
    bench.run(lambda: "look A1,A2" in bench.venue.asked)
    assert bench.listed() == sorted(documents)
    assert bench.versions.unfinished == set(documents)


def test_a_market_that_the_venue_has_forgotten_is_not_looked_for_for_ever() -> None:
    bench = Bench(Venue("A1"))
    bench.loaded.unfinished.add("OLD")
    bench.run(lambda: "look OLD" in bench.venue.asked and bench.versions.unfinished == {"A1"})
    bench.run(lambda: bench.venue.asked.count("list") >= 2)
    assert bench.venue.asked.count("look OLD") == 1


def test_a_market_that_waits_for_its_result_is_asked_for_less_and_less_often() -> None:
    bench = Bench(Venue())
    bench.venue.add("A1", status="closed")
    bench.now_us = T0 + 2 * HOUR_US
    bench.session.look_again(["A1"])

    async def scenario() -> None:
        loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        loaded.set_result(None)
        bench.session.metadata.loaded(bench.loaded)
        running = asyncio.create_task(bench.discovery(loaded).run())
        for minute in range(100):
            bench.now_us = T0 + 2 * HOUR_US + minute * 60_000_000
            for _ in range(3):
                bench.tick()
                await asyncio.sleep(0.002)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert 3 <= bench.venue.asked.count("look A1") <= 8


def test_a_market_is_looked_up_when_it_opens_and_when_it_closes() -> None:
    """The venue says nothing of either."""
    bench = Bench(Venue())
    bench.venue.add("A1", status="initialized", open_time=time_text(T0 + 10_000_000))

    def opens() -> None:
        bench.venue.add("A1", status="active")
        bench.now_us = T0 + 13_000_000

    def statuses() -> list[str]:
        seen.extend(row["status"] for row in bench.kept("markets"))
        return seen

    def closes() -> None:
        bench.venue.add("A1", status="closed")
        bench.now_us = T0 + HOUR_US + 3_000_000

    seen: list[str] = []

    async def scenario() -> None:
        loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        loaded.set_result(None)
        bench.session.metadata.loaded(bench.loaded)
        running = asyncio.create_task(bench.discovery(loaded).run())
        for step, want in ((lambda: None, "initialized"), (opens, "active"), (closes, "closed")):
            step()
            async with asyncio.timeout(5):
                while want not in statuses():
                    bench.tick()
                    await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert seen == ["initialized", "active", "closed"]
    assert bench.venue.asked.count("list") == 1


def test_a_market_that_opens_again_is_recorded_again() -> None:
    bench = Bench(Venue("A1"))
    bench.run(lambda: bench.versions.knows("markets", "A1"))
    bench.session.tick(1 << 40, T0 + 2)
    assert bench.wants("A1")
    bench.session.tick(2 << 40, T0 + 3 * HOUR_US)
    assert not bench.wants("A1")
    bench.now_us = T0 + 3 * HOUR_US

    def reopen() -> None:
        bench.venue.add("A1", close_time=time_text(T0 + 9 * HOUR_US))
        bench.session.look_again(["A1"])

    bench.run(lambda: True, reopen, lambda: "A1" in bench.session.markets.timers.times)
    assert bench.session.markets.timers.times["A1"].close_us == T0 + 9 * HOUR_US
    bench.session.tick(3 << 40, T0 + 3 * HOUR_US + 1)
    assert bench.wants("A1")


def test_a_listing_asked_for_before_a_message_neither_lists_nor_ends_a_market() -> None:
    bench = Bench(Venue("A1"))
    bench.run(lambda: bench.versions.knows("markets", "A1"))
    body = {"event_type": "close_date_updated", "market_ticker": "A1", "close_ts": T0 // 1_000_000 + 9}
    message = decode(msgspec.json.encode({"type": "market_lifecycle_v2", "sid": 1, "seq": 1, "msg": body}))
    assert isinstance(message, Lifecycle)
    bench.session.metadata.heard(message, T0 + 500)
    bench.now_us = T0 + 499
    bench.venue.add("A1", close_time=time_text(T0 + 9 * HOUR_US))
    lists = bench.venue.asked.count("list")
    bench.run(lambda: bench.venue.asked.count("list") > lists and "all series" in bench.venue.asked)
    assert [row["source"] for row in bench.kept("markets")] == ["rest", "lifecycle"]
    assert bench.session.markets.timers.times["A1"].close_us == T0 + HOUR_US


def test_each_lifecycle_subscription_brings_a_question_about_changes() -> None:
    """What was created before it began was told to nobody."""
    bench = Bench(Venue("A1"))

    def subscribed() -> None:
        bench.venue.add("A2", updated_time=time_text(T0))
        bench.session.intake.lifecycles += 1

    bench.run(lambda: bench.count("markets_listed") >= 1, subscribed, lambda: bench.versions.knows("markets", "A2"))
    assert bench.count("markets_listed") == 1
    assert bench.listed() == ["A1", "A2"]
    assert bench.venue.asked.count("events") == 1


def test_an_event_that_messages_speak_of_is_looked_up() -> None:
    bench = Bench(Venue("A1"))
    bench.run(
        lambda: bench.versions.knows("markets", "A1"),
        lambda: bench.session.metadata.events_heard.update({"Q-EV": None}),
        lambda: bench.versions.knows("events", "Q-EV"),
    )
    assert not bench.session.metadata.events_heard


def test_an_event_that_does_not_exist_is_asked_for_once_a_round() -> None:
    bench = Bench(Venue("Z1", "Z2", "Z3"))
    bench.run(
        lambda: bench.versions.knows("markets", "Z3"),
        lambda: bench.session.look_again(["Z1"]),
        lambda: bench.venue.asked[-1] == "look Z1",
    )
    assert bench.venue.asked.count("events Z-EV") == 1


def test_what_is_a_bug_is_raised() -> None:
    bench = Bench(Venue("A1"))
    bench.venue.failing = RuntimeError("a bug")
    with pytest.raises(ExceptionGroup) as raised:
        bench.run(lambda: False)
    assert raised.group_contains(RuntimeError, match="a bug")


def test_a_market_that_is_over_is_never_listed() -> None:
    venue = Venue("A1")
    bench = Bench(venue)
    venue.add("B1", status="determined", result="no")
    bench.session.look_again(["B1"])
    bench.run(lambda: bench.versions.knows("markets", "B1"))
    assert bench.listed() == ["A1"]
