"""The venue's REST interface against a small server: pages, pace, refusals, documents that cannot be read."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import stamina

from book.errors import CollectorError, FrameError
from book.wire.answers import Budget
from collector import venue_rest
from collector.pace import BASIC, SHARE, Pace
from collector.venue_rest import VenueBusyError, VenueRest

Answer = tuple[int, Any]
Venue = Callable[[str, dict[str, str]], Answer]
ROOT = "/trade-api/v2"


@pytest.fixture(autouse=True)
def _no_waiting() -> Any:
    with stamina.set_testing(True, attempts=venue_rest.TRIES):
        yield


@asynccontextmanager
async def serving(venue: Venue) -> AsyncIterator[str]:
    """Answer each GET with what ``venue`` says of its path (below the root) and query."""

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                where = urlsplit(head.split(" ")[1])
                query = {name: values[0] for name, values in parse_qs(where.query).items()}
                status, body = venue(where.path.removeprefix(ROOT), query)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(data), data))
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(attend, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}{ROOT}"


def ask(venue: Venue, question: Callable[[VenueRest], Any]) -> tuple[Any, list[str]]:
    """Ask ``venue``; return the answer and what was told as unreadable."""
    told: list[str] = []

    async def scenario() -> Any:
        async with serving(venue) as url:
            rest = VenueRest(url, None, lambda error: told.append(str(error)))
            rest.pace = Pace(Budget(1e6, 1e6))
            try:
                return await question(rest)
            finally:
                await rest.close()

    return asyncio.run(scenario()), told


async def collected(pages: AsyncIterator[list[Any]]) -> list[Any]:
    return [one async for page in pages for one in page]


def market(ticker: str, **more: Any) -> dict[str, Any]:
    return {"ticker": ticker, "event_ticker": "E", "status": "active", **more}


def test_every_page_of_every_living_status_is_read_and_combos_left_out() -> None:
    seen: list[dict[str, str]] = []

    def venue(path: str, query: dict[str, str]) -> Answer:
        assert path == "/markets"
        seen.append(query)
        page = int(query.get("cursor", "0"))
        if query["status"] != "open":
            return 200, {"markets": [market(query["status"])], "cursor": ""}
        return 200, {"markets": [market(f"M{page}")], "cursor": str(page + 1) if page < 2 else ""}

    found, _ = ask(venue, lambda rest: collected(rest.open_markets(combos=False)))
    assert [doc.ticker for doc in found] == ["M0", "M1", "M2", "paused", "unopened"]
    assert {query["mve_filter"] for query in seen} == {"exclude"}
    assert {query["limit"] for query in seen} == {"1000"}
    ask(venue, lambda rest: collected(rest.open_markets(combos=True)))
    assert "mve_filter" not in seen[-1]


@pytest.mark.parametrize("body", [{}, {"markets": None, "cursor": None}, {"markets": [], "cursor": ""}])
def test_an_empty_listing_is_empty(body: Any) -> None:
    assert ask(lambda *_: (200, body), lambda rest: collected(rest.open_markets(combos=False))) == ([], [])


def test_markets_are_asked_for_by_name_a_hundred_at_a_time() -> None:
    asked: list[list[str]] = []

    def venue(_: str, query: dict[str, str]) -> Answer:
        asked.append(query["tickers"].split(","))
        return 200, {"markets": [market(ticker) for ticker in asked[-1] if ticker != "M7"]}

    names = [f"M{number}" for number in range(250)]
    found, _ = ask(venue, lambda rest: rest.markets(names))
    assert [len(one) for one in asked] == [100, 100, 50]
    assert [doc.ticker for doc in found] == [name for name in names if name != "M7"]


def test_one_document_that_cannot_be_read_costs_the_others_nothing() -> None:
    bad = [
        {"ticker": "B1", "event_ticker": "E"},
        market("B2", close_time="soon"),
        market("B3", close_time=5),
        market("B4", title=["x"]),
        market("B5", result=1),
        7,
        None,
    ]
    documents = [market("A"), *bad, market("Z")]
    found, told = ask(lambda *_: (200, {"markets": documents}), lambda rest: rest.markets(["A"]))
    assert [doc.ticker for doc in found] == ["A", "Z"]
    assert len(told) == len(bad)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_venue_is_asked_again_until_it_answers(status: int) -> None:
    calls = []

    def venue(*_: Any) -> Answer:
        calls.append(1)
        return (status, {"error": "too many requests"}) if len(calls) < 3 else (200, {"markets": [market("A")]})

    found, _ = ask(venue, lambda rest: rest.markets(["A"]))
    assert len(found) == 1
    assert len(calls) == 3


@pytest.mark.parametrize("status", [429, 500])
def test_a_venue_that_stays_busy_is_given_up_for_now(status: int) -> None:
    calls = []

    def venue(*_: Any) -> Answer:
        calls.append(1)
        return status, {}

    with pytest.raises(VenueBusyError) as raised:
        ask(venue, lambda rest: rest.markets(["A"]))
    assert (raised.value.status, raised.value.retryable, len(calls)) == (status, True, venue_rest.TRIES)


def test_nobody_there_is_busy_too() -> None:
    async def scenario() -> None:
        async with serving(lambda *_: (200, {})) as url:
            pass
        rest = VenueRest(url, None, lambda _: None)
        with pytest.raises(VenueBusyError) as raised:
            await rest.markets(["A"])
        assert raised.value.status == 0
        await rest.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_is_said_at_once_with_the_venues_words(status: int) -> None:
    calls = []

    def venue(*_: Any) -> Answer:
        calls.append(1)
        return status, {"error": {"code": "x", "message": "because"}}

    with pytest.raises(CollectorError, match="because"):
        ask(venue, lambda rest: rest.markets(["A"]))
    assert len(calls) == 1


def test_a_listing_that_is_not_there_is_no_empty_listing() -> None:
    with pytest.raises(CollectorError, match="KALSHI_REST_URL"):
        ask(lambda *_: (404, {}), lambda rest: collected(rest.open_markets(combos=False)))


def test_pages_that_go_in_a_circle_are_left() -> None:
    with pytest.raises(CollectorError, match="circle"):
        ask(lambda *_: (200, {"markets": [], "cursor": "x"}), lambda rest: collected(rest.open_markets(combos=False)))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_an_answer_that_is_no_document_is_said(body: bytes) -> None:
    with pytest.raises(FrameError):
        ask(lambda *_: (200, body), lambda rest: rest.markets(["A"]))


def test_changes_are_asked_for_with_no_other_filter_than_the_venue_takes() -> None:
    seen: list[dict[str, str]] = []

    def venue(_: str, query: dict[str, str]) -> Answer:
        seen.append(query)
        return 200, {"markets": [market("A", status="finalized")], "cursor": "" if "cursor" in query else "2"}

    found, _ = ask(venue, lambda rest: collected(rest.changed_markets(77, combos=False)))
    assert [doc.ticker for doc in found] == ["A", "A"]
    assert seen[0] == {"min_updated_ts": "77", "limit": "1000", "mve_filter": "exclude"}
    assert seen[1] == seen[0] | {"cursor": "2"}
    ask(venue, lambda rest: collected(rest.changed_markets(77, combos=True)))
    assert "mve_filter" not in seen[-1]


def test_events_are_listed_in_pages_and_those_of_combos_apart() -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    def venue(path: str, query: dict[str, str]) -> Answer:
        seen.append((path, query))
        return 200, {"events": [{"event_ticker": f"E{len(seen)}", "series_ticker": "S"}], "cursor": ""}

    found, _ = ask(venue, lambda rest: collected(rest.open_events(combos=True)))
    assert [doc.event_ticker for doc in found] == ["E1", "E2"]
    assert seen == [("/events", {"status": "open", "limit": "200"}), ("/events/multivariate", {"limit": "200"})]
    ask(venue, lambda rest: collected(rest.changed_events(77)))
    assert seen[2:] == [("/events", {"min_updated_ts": "77", "limit": "200"})]


def test_events_are_asked_for_by_name_a_hundred_at_a_time() -> None:
    asked: list[list[str]] = []

    def venue(path: str, query: dict[str, str]) -> Answer:
        assert path == "/events"
        asked.append(query["tickers"].split(","))
        return 200, {"events": [{"event_ticker": ticker, "series_ticker": "S"} for ticker in asked[-1]]}

    found, _ = ask(venue, lambda rest: rest.events([f"E{number}" for number in range(150)]))
    assert ([len(one) for one in asked], len(found)) == ([100, 50], 150)


def test_all_series_come_in_one_answer() -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    def venue(path: str, query: dict[str, str]) -> Answer:
        seen.append((path, query))
        return 200, {"series": [{"ticker": "S", "last_updated_ts": "2026-11-24T20:00:00Z"}, {"ticker": 5}]}

    found, told = ask(venue, lambda rest: rest.all_series())
    assert ([(one.ticker, one.updated_us) for one in found], len(told)) == ([("S", 1_795_550_400_000_000)], 1)
    ask(venue, lambda rest: rest.all_series(77))
    assert seen == [("/series", {}), ("/series", {"min_updated_ts": "77"})]


def test_a_series_by_name_whatever_stands_in_it() -> None:
    paths: list[str] = []

    def venue(path: str, _: dict[str, str]) -> Answer:
        paths.append(path)
        return 200, {"series": {"ticker": "S"}}

    series, _ = ask(venue, lambda rest: rest.series("S/1 ?#"))
    assert (series.ticker, paths) == ("S", ["/series/S%2F1%20%3F%23"])


@pytest.mark.parametrize("answer", [(404, {}), (200, {}), (200, {"series": None}), (200, {"series": {"title": 5}})])
def test_a_series_that_is_unknown_or_unreadable_is_none(answer: Answer) -> None:
    found, _ = ask(lambda *_: answer, lambda rest: rest.series("S"))
    assert found is None


STATE = {"exchange_active": False, "trading_active": False, "exchange_estimated_resume_time": "2026-11-24T20:00:00Z"}


@pytest.mark.parametrize("status", [200, 503, 504])
def test_the_state_of_the_exchange_is_read_whatever_status_it_comes_with(status: int) -> None:
    calls = []

    def venue(path: str, _: dict[str, str]) -> Answer:
        calls.append(path)
        return status, STATE

    state, _ = ask(venue, lambda rest: rest.exchange_state())
    assert (state.exchange_active, state.resume_us) == (False, 1_795_550_400_000_000)
    assert calls == ["/exchange/status"]


@pytest.mark.parametrize("answer", [(503, b"<html>"), (200, {"exchange_active": "?"}), (503, {"error": "down"})])
def test_an_answer_that_is_no_state_says_nothing(answer: Answer) -> None:
    assert ask(lambda *_: answer, lambda rest: rest.exchange_state())[0] is None


@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_refusal_is_no_state(status: int) -> None:
    with pytest.raises(VenueBusyError):
        ask(lambda *_: (status, STATE), lambda rest: rest.exchange_state())


@pytest.mark.parametrize(
    "body",
    [
        {"code": "bad", "message": "because", "details": "why"},
        {"error": {"code": "bad", "message": "because", "details": "why"}},
    ],
)
def test_a_refusal_says_why_in_each_of_the_venues_forms(body: Any) -> None:
    with pytest.raises(CollectorError, match="bad: because: why"):
        ask(lambda *_: (400, body), lambda rest: rest.markets(["A"]))
    with pytest.raises(VenueBusyError, match="too many requests"):
        ask(lambda *_: (429, {"error": "too many requests"}), lambda rest: rest.markets(["A"]))


class NoSigner:
    """Signs nothing, and counts how often it is asked."""

    def headers(self, *_: Any) -> dict[str, str]:
        return {}


LIMITS = {"usage_tier": "x", "read": {"refill_rate": 600, "bucket_capacity": 700}, "write": {}, "grants": []}


@pytest.mark.parametrize(
    ("answer", "known", "budget"),
    [
        ((200, LIMITS), True, Budget(600, 700)),
        ((404, {}), False, BASIC),
        ((401, {"code": "x"}), False, BASIC),
        ((200, {"read": {"refill_rate": 0, "bucket_capacity": 1}}), False, BASIC),
        ((200, b"?"), False, BASIC),
    ],
)
def test_the_accounts_own_limits_count_where_the_venue_tells_them(answer: Answer, known: bool, budget: Budget) -> None:
    async def scenario() -> tuple[bool, Budget]:
        async with serving(lambda *_: answer) as url:
            signer: Any = NoSigner()
            rest = VenueRest(url, signer, lambda _: None)
            try:
                return await rest.learn_limits(), rest.pace._budget
            finally:
                await rest.close()

    assert asyncio.run(scenario()) == (known, budget)


def test_requests_keep_their_pace() -> None:
    at: list[float] = []

    def venue(*_: Any) -> Answer:
        at.append(time.monotonic())
        return 200, {"markets": []}

    async def question(rest: VenueRest) -> None:
        rest.pace = Pace(Budget(refill_rate=500 / SHARE, capacity=20 / SHARE))
        await rest.markets([f"M{number}" for number in range(1000)])

    ask(venue, question)
    assert len(at) == 10
    assert at[-1] - at[0] >= 7 / 50
