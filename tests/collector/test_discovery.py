"""The rounds of listings: what is told to the session, kept as versions, and tried again."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from book.errors import CollectorError
from book.records import HOUR_US
from book.wire.rest import EventDoc, MarketDoc, SeriesDoc, decode_event, decode_market, decode_series, time_text
from collector import discovery as discovery_module
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.discovery import Discovery
from collector.metadata import Versions
from collector.session import Limits, Session
from collector.venue_rest import VenueBusyError

T0 = 500_000 * HOUR_US


class Venue:
    """The documents of a venue, and what was asked of it."""

    def __init__(self, *tickers: str) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
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

    async def open_events(self) -> AsyncIterator[list[EventDoc]]:
        self._ask("events")
        yield [decode_event({"event_ticker": "A-EV", "series_ticker": "S", "category": "c"})]

    async def event(self, ticker: str) -> EventDoc | None:
        self._ask(f"event {ticker}")
        return None if ticker == "Z-EV" else decode_event({"event_ticker": ticker, "series_ticker": "S"})

    async def series(self, ticker: str) -> SeriesDoc | None:
        self._ask(f"series {ticker}")
        return decode_series({"ticker": ticker, "title": "t"})


class Bench:
    """A discovery over a session with no connection."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.session = Session(Stamper(T0, 0), ConnNumbers(0), random.Random(1), Limits())
        self.versions = Versions()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.now_us = T0

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
            running = asyncio.create_task(self.discovery(loaded).run())
            try:
                for reached, step in ((until, then), (until_then, lambda: None)):
                    async with asyncio.timeout(5):
                        while not reached():
                            if running.done():
                                running.result()
                            await asyncio.sleep(0.001)
                    step()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

        asyncio.run(scenario())

    def discovery(self, loaded: Any) -> Discovery:
        venue: Any = self.venue
        return Discovery(
            venue, self.session, self.versions, lambda: self.now_us, self._log, combos=False, loaded=loaded
        )

    def _log(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def listed(self) -> list[str]:
        return sorted(self.session._times)

    def kept(self, table: str) -> list[dict[str, Any]]:
        batch = self.session.metadata[table].take()
        return [] if batch is None else batch.to_pylist()

    def count(self, event: str) -> int:
        return sum(one == event for one, _ in self.events)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_module, "LOOK_EVERY_S", 0.002)
    monkeypatch.setattr(discovery_module, "AGAIN_S", 0.005)


def test_every_market_of_every_page_is_listed_and_kept_once() -> None:
    bench = Bench(Venue("A1", "A2", "B1", "B2", "B3"))
    bench.run(
        lambda: bench.count("markets_listed") >= 1 and "series S" in bench.venue.asked and not bench.venue.failing
    )
    assert bench.listed() == ["A1", "A2", "B1", "B2", "B3"]
    rows = bench.kept("markets")
    assert [row["ticker"] for row in rows] == ["A1", "A2", "B1", "B2", "B3"]
    assert {row["series_ticker"] for row in rows} == {"S"}
    assert [row["event_ticker"] for row in bench.kept("events")] == ["A-EV", "B-EV"]
    assert [row["series_ticker"] for row in bench.kept("series")] == ["S"]
    assert bench.venue.asked.count("series S") == 1


def test_recording_waits_neither_for_metadata_nor_for_what_the_log_holds() -> None:
    bench = Bench(Venue("A1"))

    async def scenario() -> None:
        loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(bench.discovery(loaded).run())
        async with asyncio.timeout(5):
            while bench.listed() != ["A1"] or "events" not in bench.venue.asked:
                await asyncio.sleep(0.001)
        assert bench.kept("markets") == bench.kept("events") == []
        loaded.set_result(None)
        async with asyncio.timeout(5):
            while not bench.versions.knows("markets", "A1"):
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
    assert bench.session._times["A1"][1] == T0 + 2 * HOUR_US
    assert [row["ticker"] for row in bench.kept("markets")].count("A1") == 2


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
    bench.session.tick(1, T0 + 1)
    bench.venue.add("A1", status="finalized", result="yes")
    bench.run(lambda: bench.versions.unfinished == {"A2"})
    bench.session.tick(2, T0 + 2)
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
    bench.versions.unfinished.add("OLD")
    bench.run(lambda: "look OLD" in bench.venue.asked)
    assert bench.versions.unfinished == {"A1"}


def test_each_lifecycle_subscription_brings_a_listing() -> None:
    """What was created before it began was told to nobody."""
    bench = Bench(Venue("A1"))

    def subscribed() -> None:
        bench.venue.add("A2")
        bench.session.intake.lifecycles += 1

    bench.run(lambda: bench.count("markets_listed") >= 1, subscribed, lambda: bench.versions.knows("markets", "A2"))
    assert bench.count("markets_listed") == 2
    assert bench.listed() == ["A1", "A2"]
    assert bench.venue.asked.count("events") == 1


def test_an_event_that_does_not_exist_is_asked_for_once_a_round() -> None:
    bench = Bench(Venue("Z1", "Z2", "Z3"))
    bench.run(lambda: bench.versions.knows("markets", "Z3"))
    assert bench.venue.asked.count("event Z-EV") == 1


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
