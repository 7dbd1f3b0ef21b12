"""The REST interface as an ASGI application: pages, filters, error bodies, signatures."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from book.wire.rest import EventDoc, MarketDoc, SeriesDoc, TradeDoc, decode_market, decode_orderbook, decode_trade
from exchange.asgi import Reply, Request, Router
from exchange.auth import Verifier
from exchange.buckets import Bucket
from exchange.config import ExchangeConfig
from exchange.rest import RestInterface
from exchange.source import Recorded
from exchange.steps import Changed, Listed, Milestone, Traded
from exchange.tape import Tape
from exchange.venue import Venue
from tests.exchange.conftest import START_US

ROOT = "/trade-api/v2"
STATUSES = ("initialized", "active", "inactive", "closed", "finalized")


def make_venue() -> Venue:
    """Make 25 markets in five events of two series, the statuses in turn; 30 trades in the first."""
    venue = Venue(ExchangeConfig(public_keys={"k": "p"}), Recorded(iter(())), lambda: 10**15, lambda: 0, lambda: 0.0)
    for number in range(25):
        event_ticker, series_ticker = f"KXE-{number // 5}", f"KXS{number // 15}"
        market = MarketDoc(
            ticker=f"{event_ticker}-T{number}", event_ticker=event_ticker, status=STATUSES[number % 5],
            close_us=number * 1_000_000, updated_us=number * 1_000_000, created_us=0,
        )  # fmt: skip
        event = EventDoc(event_ticker=event_ticker, series_ticker=series_ticker, title=f"Event {number // 5}")
        series = SeriesDoc(ticker=series_ticker, category="Crypto" if number < 15 else "Sports")
        venue.apply(Listed(0, market, event, series, levels=((0, 4200, 5537), (1, 5600, 14650), (0, 100, 100))))
    for number in range(30):
        taker = number % 2
        venue.apply(
            Traded(0, "KXE-0-T0", f"t{number}", 4300, 100 + number, taker, number == 7, number * 1_000_000 + 500_000)
        )
    return venue


class Client:
    """Asks the application in memory."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ok(self, path: str, **query: Any) -> Any:
        response = await self._http.get(ROOT + path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    async def refused(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> tuple[int, str]:
        response = await self._http.get(ROOT + path, params=query, headers=headers)
        body = response.json()["error"]
        assert body["message"]
        return response.status_code, body["code"]

    async def pages(self, path: str, name: str, **query: Any) -> list[list[Any]]:
        found, cursor = [], ""
        while True:
            page = await self.ok(path, cursor=cursor, **query)
            found.append(page[name])
            cursor = page["cursor"]
            if not cursor:
                return found


@pytest.fixture
def ask(keys: Any) -> Callable[[Callable[[Client], Awaitable[None]]], None]:
    def run(body: Callable[[Client], Awaitable[None]]) -> None:
        verifier = Verifier({"test-key": keys.pem}, lambda: time.time_ns() // 1_000_000, 5_000)

        @contextlib.asynccontextmanager
        async def client() -> AsyncIterator[Client]:
            router = Router()
            RestInterface(make_venue(), verifier).register(router)
            transport = httpx.ASGITransport(app=router)
            async with httpx.AsyncClient(transport=transport, base_url="http://exchange") as http:
                yield Client(http)

        async def main() -> None:
            async with client() as found:
                await body(found)

        asyncio.run(main())

    return run


def tickers(rows: list[Any]) -> list[str]:
    return [row["ticker"] for row in rows]


def test_market_pages_hold_every_market_once(ask: Any) -> None:
    async def body(client: Client) -> None:
        pages = await client.pages("/markets", "markets", limit=10)
        assert [len(page) for page in pages] == [10, 10, 5]
        assert len({row["ticker"] for page in pages for row in page}) == 25
        assert [len(page) for page in await client.pages("/markets", "markets", limit=5)] == [5, 5, 5, 5, 5]
        assert len((await client.ok("/markets"))["markets"]) == 25
        market = decode_market(pages[0][0])
        assert (market.ticker, market.status) == ("KXE-0-T0", "initialized")
        shown = pages[0][0]
        assert (shown["yes_bid_dollars"], shown["yes_ask_dollars"], shown["last_price_dollars"]) == (
            "0.4200", "0.4400", "0.4300",
        )  # fmt: skip
        assert shown["volume_fp"] == f"{sum(100 + n for n in range(30)) / 100:.2f}"

    ask(body)


def test_market_filters(ask: Any) -> None:
    async def body(client: Client) -> None:
        async def found(**query: Any) -> list[str]:
            return tickers((await client.ok("/markets", **query))["markets"])

        for word, status in zip(("unopened", "open", "paused", "closed", "settled"), STATUSES, strict=True):
            rows = (await client.ok("/markets", status=word))["markets"]
            assert [row["status"] for row in rows] == [status] * 5
        assert await found(event_ticker="KXE-1") == [f"KXE-1-T{n}" for n in range(5, 10)]
        assert await found(event_ticker="KXE-9") == []
        assert len(await found(series_ticker="KXS0")) == 15
        assert await found(tickers="KXE-1-T6,KXE-0-T1,KXNONE") == ["KXE-0-T1", "KXE-1-T6"]
        assert await found(min_updated_ts=23) == ["KXE-4-T23", "KXE-4-T24"]
        assert await found(min_close_ts=3, max_close_ts=4) == ["KXE-0-T3", "KXE-0-T4"]
        assert len(await found(mve_filter="exclude")) == 25
        assert await found(mve_filter="only") == []
        pages = await client.pages("/markets", "markets", status="open", limit=2)
        assert [len(page) for page in pages] == [2, 2, 1]

    ask(body)


def test_refusals_carry_the_venues_error_body(ask: Any) -> None:
    async def body(client: Client) -> None:
        for query in (
            {"status": "open,closed"}, {"status": "weird"}, {"limit": 1001}, {"limit": "ten"}, {"limit": -1},
            {"mve_filter": "maybe"}, {"min_updated_ts": 1, "status": "open"}, {"min_close_ts": "x"},
        ):  # fmt: skip
            assert await client.refused("/markets", **query) == (400, "bad_request"), query
        for cursor in ("nonsense", "bWFya2V0czp4", "ZXZlbnRzOjU="):
            assert await client.refused("/markets", cursor=cursor) == (400, "invalid_cursor")
        for path in ("/markets/NO", "/markets/NO/orderbook", "/events/NO", "/series/NO", "/nothing"):
            assert await client.refused(path) == (404, "not_found")
        assert await client.refused("/markets/orderbooks") == (400, "bad_request")
        assert await client.refused("/markets/orderbooks", tickers=["KXE-0-T0"] * 101) == (400, "bad_request")
        assert await client.refused("/markets/KXE-0-T0/orderbook", depth=101) == (400, "bad_request")

    ask(body)


def test_books(ask: Any) -> None:
    async def body(client: Client) -> None:
        book = await client.ok("/markets/KXE-0-T0/orderbook")
        assert decode_orderbook(book) == [(0, 100, 100), (0, 4200, 5537), (1, 5600, 14650)]
        top = await client.ok("/markets/KXE-0-T0/orderbook", depth=1)
        assert top["orderbook_fp"] == {"yes_dollars": [["0.4200", "55.37"]], "no_dollars": [["0.5600", "146.50"]]}
        both = (await client.ok("/markets/orderbooks", tickers=["KXE-0-T0", "KXE-1-T5"]))["orderbooks"]
        assert tickers(both) == ["KXE-0-T0", "KXE-1-T5"]
        assert both[1]["orderbook_fp"] == book["orderbook_fp"]

    ask(body)


def test_trades_newest_first_in_pages(ask: Any) -> None:
    async def body(client: Client) -> None:
        pages = await client.pages("/markets/trades", "trades", limit=12)
        assert [len(page) for page in pages] == [12, 12, 6]
        rows = [row["trade_id"] for page in pages for row in page]
        assert rows == [f"t{n}" for n in reversed(range(30))]
        trade = decode_trade(pages[0][0])
        assert (trade.yes_price_e4, trade.qty_e2, trade.taker_side, trade.created_us) == (4300, 129, 1, 29_500_000)
        some = await client.ok("/markets/trades", min_ts=5, max_ts=8, ticker="KXE-0-T0")
        assert [row["trade_id"] for row in some["trades"]] == ["t7", "t6", "t5"]
        assert (await client.ok("/markets/trades", ticker="KXE-1-T5"))["trades"] == []
        blocks = await client.ok("/markets/trades", is_block_trade="true")
        assert [row["trade_id"] for row in blocks["trades"]] == ["t7"]

    ask(body)


def test_events_and_series(ask: Any) -> None:
    async def body(client: Client) -> None:
        pages = await client.pages("/events", "events", limit=2)
        assert [len(page) for page in pages] == [2, 2, 1]
        assert "markets" not in pages[0][0]
        nested = (await client.ok("/events", with_nested_markets="true", series_ticker="KXS1"))["events"]
        assert [(event["event_ticker"], len(event["markets"])) for event in nested] == [("KXE-3", 5), ("KXE-4", 5)]
        assert len((await client.ok("/events", status="open"))["events"]) == 5
        event = await client.ok("/events/KXE-1", with_nested_markets="true")
        assert event["event"]["title"] == "Event 1"
        assert tickers(event["markets"]) == tickers(event["event"]["markets"])
        assert tickers((await client.ok("/series"))["series"]) == ["KXS0", "KXS1"]
        assert tickers((await client.ok("/series", category="Sports"))["series"]) == ["KXS1"]
        assert (await client.ok("/series/KXS1"))["series"]["category"] == "Sports"
        assert (await client.ok("/exchange/status"))["trading_active"] is True

    ask(body)


def test_a_key_is_not_needed_but_checked_when_sent(ask: Any, keys: Any) -> None:
    async def body(client: Client) -> None:
        path = f"{ROOT}/markets"
        response = await client._http.get(path, params={"limit": 1}, headers=keys.headers(path))
        assert response.status_code == 200
        wrong = keys.headers(f"{ROOT}/events")
        assert await client.refused("/markets", wrong) == (401, "authentication_error")
        late = keys.headers(path, skew_ms=-60_000)
        assert await client.refused("/markets", late) == (401, "authentication_error")

    ask(body)


def test_state_changes_show(keys: Any) -> None:
    venue = make_venue()
    venue.apply(Changed(0, "KXE-0-T1", 0, 4300, 100, 0))
    venue.apply(
        Milestone(5_000_000, "KXE-0-T1", status="finalized", result="yes", settlement_value_e4=10_000, settlement_us=5)
    )
    market = venue.registry.markets["KXE-0-T1"]
    assert (market.doc.status, market.doc.result, market.doc.updated_us) == ("finalized", "yes", 5_000_000)
    assert venue.hub.quote(market).yes_bid == (4300, 100)


def test_a_bug_is_a_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: Request) -> Reply:
        raise ZeroDivisionError

    async def main() -> None:
        router = Router()
        router.add("GET", "/broken", broken)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=router), base_url="http://x") as http:
            response = await http.get("/broken")
            assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_server_error")
            assert (await http.post("/broken")).status_code == 405

    asyncio.run(main())
    assert "ZeroDivisionError" in caplog.text


def test_the_exchange_says_how_it_stands_and_when_it_rests(ask: Any) -> None:
    async def body(client: Client) -> None:
        status = await client.ok("/exchange/status")
        assert (status["exchange_active"], status["trading_active"]) == (True, True)
        assert status["exchange_estimated_resume_time"] is None
        assert [row["exchange_index"] for row in status["exchange_index_statuses"]] == [0, 1, 2, 3]
        schedule = (await client.ok("/exchange/schedule"))["schedule"]
        assert schedule["maintenance_windows"] == []
        assert schedule["standard_hours"][0]["thursday"] == [{"open_time": "00:00", "close_time": "00:00"}]

    ask(body)


def test_limits_are_told_to_whoever_signs(ask: Any, keys: Any) -> None:
    async def body(client: Client) -> None:
        assert await client.refused("/account/limits") == (401, "authentication_error")
        headers = keys.headers(path=f"{ROOT}/account/limits")
        limits = (await client._http.get(f"{ROOT}/account/limits", headers=headers)).json()
        assert limits["read"] == {"refill_rate": 200, "bucket_capacity": 400}

    ask(body)


def test_a_budget_that_is_spent_is_a_429_and_fills_again() -> None:
    now = [0]
    bucket = Bucket(100, lambda: now[0])
    assert [bucket.take() for _ in range(21)] == [True] * 20 + [False]
    now[0] += 100_000_000
    assert [bucket.take() for _ in range(2)] == [True, False]
    now[0] += 3_600_000_000_000
    assert [bucket.take() for _ in range(21)] == [True] * 20 + [False]


def test_the_budget_over_http(running: Any) -> None:
    async def main() -> None:
        async with running(markets=2, messages_per_s=0, read_tokens_per_s=20) as local:
            replies = [await local.http.get(f"{ROOT}/markets") for _ in range(6)]
            assert [reply.status_code for reply in replies] == [200] * 4 + [429] * 2
            assert replies[-1].json() == {"error": "too many requests"}
            assert (await local.http.get("/control/state")).status_code == 200

    asyncio.run(main())


def test_what_changed_since(ask: Any) -> None:
    async def body(client: Client) -> None:
        both = {"min_updated_ts": 23, "mve_filter": "exclude"}
        rows = (await client.ok("/markets", limit=1000, cursor="", **both))["markets"]
        assert [row["ticker"] for row in rows] == ["KXE-4-T23", "KXE-4-T24"]
        assert (await client.ok("/markets", **both, series_ticker="KXS0"))["markets"] == []
        for wrong in (
            {"min_updated_ts": 1, "series_ticker": "KXS0"}, {"min_updated_ts": 1, "mve_filter": "only"},
            {"min_close_ts": 1, "status": "open"}, {"min_settled_ts": 1, "status": "closed"},
            {"max_created_ts": 1, "status": "settled"},
        ):  # fmt: skip
            assert await client.refused("/markets", **wrong) == (400, "bad_request")
        assert len((await client.ok("/markets", min_close_ts=20, status="closed"))["markets"]) == 1

    ask(body)


def test_events_and_series_by_their_last_change(running: Any) -> None:
    async def main() -> None:
        async with running(markets=60, messages_per_s=0, cycle_s=2) as local:
            events = (await local.get(f"{ROOT}/events"))["events"]
            series = (await local.get(f"{ROOT}/series"))["series"]
            assert all(row["last_updated_ts"] for row in events + series)
            start_s = START_US // 1_000_000
            assert len((await local.get(f"{ROOT}/series", min_updated_ts=start_s))["series"]) == len(series)
            assert (await local.get(f"{ROOT}/series", min_updated_ts=start_s + 1))["series"] == []
            async with asyncio.timeout(20):
                while not (later := (await local.get(f"{ROOT}/events", min_updated_ts=start_s + 1))["events"]):
                    await asyncio.sleep(0.05)
            assert {row["event_ticker"] for row in later}.isdisjoint(row["event_ticker"] for row in events)

    asyncio.run(main())


def test_combos_have_events_of_their_own(running: Any) -> None:
    async def main() -> None:
        async with running(markets=20, combos=7, messages_per_s=0) as local:
            only = (await local.get(f"{ROOT}/markets", mve_filter="only"))["markets"]
            assert len(only) == 7
            assert all(row["exchange_index"] == 1 and row["mve_selected_legs"] for row in only)
            assert len((await local.get(f"{ROOT}/markets", mve_filter="exclude"))["markets"]) == 20
            events = (await local.get(f"{ROOT}/events"))["events"]
            assert not [row for row in events if row["event_ticker"].startswith("KXMVE")]
            combos = await local.get(f"{ROOT}/events/multivariate")
            assert {row["event_ticker"] for row in combos["events"]} == {row["event_ticker"] for row in only}
            assert (combos["milestones"], combos["cursor"]) == ([], "")

    asyncio.run(main())


def test_trades_by_time_and_market_over_a_bounded_tape() -> None:
    tape = Tape(10_000)
    for number in range(1, 30_001):
        tape.add(
            TradeDoc(
                ticker=f"T{number % 3}", trade_id=str(number), yes_price_e4=1, qty_e2=1, created_us=number * 1_000_000
            )
        )
    kept = [number for number, _ in tape.after(0)]
    assert kept[-1] == 30_000
    assert 10_000 <= len(kept) < 10_000 + 4_096
    assert [n for n, _ in tape.before(None, from_us=29_000_000_000, to_us=29_002_500_000)] == [29_002, 29_001, 29_000]
    assert [n for n, _ in tape.before(29_998, ticker="T1", from_us=29_990_000_000)] == [29_995, 29_992]
    assert [trade.trade_id for _, trade in tape.after(29_998)] == ["29999", "30000"]
    assert list(tape.before(1)) == []
    assert list(tape.before(None, ticker="none")) == []
