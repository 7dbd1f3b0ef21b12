"""The REST interface: markets, events, series, books, trades and the state of the exchange.

Owns the paths, filters and pages. Reads the registry and the true books, and changes nothing. Public as at the venue,
but a request that carries a key is checked.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from book.wire.rest import (
    encode_event,
    encode_market,
    encode_series,
    orderbook_body,
    time_text,
    trade_body,
)
from exchange.asgi import Handler, Reply, Request, Router
from exchange.auth import KEY_HEADER, Verifier
from exchange.buckets import BASIC_TOKENS_PER_S, CAPACITY_S, Bucket
from exchange.errors import AuthError, RefusedError
from exchange.paging import page, read_cursor
from exchange.registry import Market
from exchange.universe import COMBO_PREFIX
from exchange.venue import Venue

ROOT = "/trade-api/v2"
STATUS_OF_WORD = {
    "unopened": {"initialized"},
    "open": {"active"},
    "paused": {"inactive"},
    "closed": {"closed", "determined", "disputed", "amended"},
    "settled": {"finalized"},
}
_DOCUMENTS_A_TURN = 100
_STATUS_WITH = {"created": ("unopened", "open"), "close": ("closed",), "settled": ("settled",)}
"""The status filters that a filter by time may stand beside."""


class RestInterface:
    """Answers over ``venue``."""

    def __init__(self, venue: Venue, verifier: Verifier, read_tokens_per_s: int | None = None) -> None:
        self._bucket = None if read_tokens_per_s is None else Bucket(read_tokens_per_s, venue.now_ns)
        self._tokens_per_s = read_tokens_per_s or BASIC_TOKENS_PER_S
        self._venue = venue
        self._registry = venue.registry
        self._verifier = verifier

    def register(self, router: Router) -> None:
        """Add the paths; the literal ones before those with a ticker."""
        for pattern, handler in (
            ("/exchange/status", self._status),
            ("/exchange/schedule", self._schedule),
            ("/account/limits", self._limits),
            ("/markets", self._markets),
            ("/markets/trades", self._trades),
            ("/markets/orderbooks", self._orderbooks),
            ("/markets/{ticker}", self._market),
            ("/markets/{ticker}/orderbook", self._orderbook),
            ("/events", self._events),
            ("/events/multivariate", self._combo_events),
            ("/events/{ticker}", self._event),
            ("/series", self._series_list),
            ("/series/{ticker}", self._series),
        ):
            router.add("GET", ROOT + pattern, self._checked(handler))

    def _checked(self, handler: Handler) -> Handler:
        async def check(request: Request) -> Reply:
            if self._bucket is not None and not self._bucket.take():
                raise RefusedError(429, "too_many_requests", "too many requests")
            if KEY_HEADER in request.headers:
                try:
                    self._verifier.check(request.headers, request.method, request.path)
                except AuthError as error:
                    raise RefusedError(401, "authentication_error", error.details) from error
            return await handler(request)

        return check

    async def _status(self, _: Request) -> Reply:
        return Reply(self._venue.halts.status(), 503 if self._venue.halts.is_closed else 200)

    async def _schedule(self, _: Request) -> Reply:
        return Reply(self._venue.halts.schedule())

    async def _limits(self, request: Request) -> Reply:
        if KEY_HEADER not in request.headers:
            raise RefusedError(401, "authentication_error", "MISSING_HEADERS")
        tokens = self._tokens_per_s
        read = {"refill_rate": tokens, "bucket_capacity": tokens * CAPACITY_S}
        write = {"refill_rate": 100, "bucket_capacity": 100}
        return Reply({"usage_tier": "basic", "read": read, "write": write, "grants": []})

    async def _markets(self, request: Request) -> Reply:
        limit = request.whole("limit", 100, 0, 1000) or 100
        after = read_cursor(request.one("cursor"), "markets") or 0
        keep = _market_filter(request)
        rows = (m for m in self._candidates(request) if m.number > after and keep(m))
        found, cursor = page(rows, limit, "markets", lambda market: market.number)
        documents = []
        for place, market in enumerate(found, 1):
            documents.append(self._market_document(market))
            if place % _DOCUMENTS_A_TURN == 0:
                await asyncio.sleep(0)  # the venue goes on between them
        return Reply({"markets": documents, "cursor": cursor})

    def _candidates(self, request: Request) -> Iterable[Market]:
        """Return the markets to look through, in the order of their listing."""
        tickers, event_ticker = request.one("tickers"), request.one("event_ticker")
        if tickers:
            markets = (self._registry.markets.get(ticker) for ticker in dict.fromkeys(tickers.split(",")))
            return sorted((m for m in markets if m is not None), key=lambda market: market.number)
        if event_ticker:
            return self._registry.of_event(event_ticker)
        return self._registry.markets.values()

    async def _market(self, request: Request) -> Reply:
        return Reply({"market": self._market_document(self._find(request.path_values["ticker"]))})

    async def _orderbook(self, request: Request) -> Reply:
        market = self._find(request.path_values["ticker"])
        depth = request.whole("depth", 0, 0, 100) or 0
        return Reply(self._book_document(market.doc.ticker, depth))

    async def _orderbooks(self, request: Request) -> Reply:
        tickers = request.query.get("tickers", [])
        if not 1 <= len(tickers) <= 100:
            raise RefusedError(400, "bad_request", "tickers is to be given 1 to 100 times")
        rows = [{"ticker": self._find(t).doc.ticker} | self._book_document(t, 0) for t in tickers]
        return Reply({"orderbooks": rows})

    async def _trades(self, request: Request) -> Reply:
        limit = request.whole("limit", 100, 0, 1000) or 100
        before = read_cursor(request.one("cursor"), "trades")
        ticker = request.one("ticker")
        low_s, high_s = (request.whole(name, None, 0, 2**40) for name in ("min_ts", "max_ts"))
        block = request.flag("is_block_trade") if request.one("is_block_trade") else None
        trades = self._registry.tape.before(
            before,
            ticker=ticker or None,
            from_us=None if low_s is None else low_s * 1_000_000,
            to_us=None if high_s is None else high_s * 1_000_000,
        )
        rows = (row for row in trades if block is None or bool(row[1].block) == block)
        found, cursor = page(rows, limit, "trades", lambda row: row[0])
        return Reply({"trades": [trade_body(trade) for _, trade in found], "cursor": cursor})

    async def _events(self, request: Request) -> Reply:
        return self._listed_events(request, "events", is_combo=False)

    async def _combo_events(self, request: Request) -> Reply:
        return self._listed_events(request, "combos", is_combo=True)

    def _listed_events(self, request: Request, kind: str, *, is_combo: bool) -> Reply:
        limit = request.whole("limit", 200, 1, 200) or 200
        after = read_cursor(request.one("cursor"), kind) or 0
        series, is_nested = request.one("series_ticker"), request.flag("with_nested_markets")
        wanted, since_us = _statuses(request.one("status")), _since_us(request)
        tickers = set(filter(None, (request.one("tickers") or "").split(",")))
        rows = (
            (number, event)
            for number, event in enumerate(self._registry.events.values(), 1)
            if number > after
            and event.series_ticker.startswith(COMBO_PREFIX) == is_combo
            and series in (None, "", event.series_ticker)
            and (not tickers or event.event_ticker in tickers)
            and self._registry.event_us[event.event_ticker] >= since_us
            and (wanted is None or any(m.doc.status in wanted for m in self._registry.of_event(event.event_ticker)))
        )
        found, cursor = page(rows, limit, kind, lambda row: row[0])
        documents = [self._event_document(event.event_ticker, is_nested) for _, event in found]
        return Reply({"events": documents, "milestones": [], "cursor": cursor})

    async def _event(self, request: Request) -> Reply:
        ticker = request.path_values["ticker"]
        if ticker not in self._registry.events:
            raise RefusedError(404, "not_found", "not found")
        markets = [self._market_document(m) for m in self._registry.of_event(ticker)]
        event = self._event_document(ticker, request.flag("with_nested_markets"))
        return Reply({"event": event, "markets": markets})

    async def _series_list(self, request: Request) -> Reply:
        category, since_us = request.one("category"), _since_us(request)
        found = [
            ticker
            for ticker, series in self._registry.series.items()
            if category in (None, "", series.category) and self._registry.series_us[ticker] >= since_us
        ]
        return Reply({"series": [self._series_document(ticker) for ticker in found]})

    async def _series(self, request: Request) -> Reply:
        ticker = request.path_values["ticker"]
        if ticker not in self._registry.series:
            raise RefusedError(404, "not_found", "not found")
        return Reply({"series": self._series_document(ticker)})

    def _find(self, ticker: str) -> Market:
        market = self._registry.markets.get(ticker)
        if market is None:
            raise RefusedError(404, "not_found", "not found")
        return market

    def _market_document(self, market: Market) -> dict[str, Any]:
        return encode_market(market.doc, self._venue.hub.quote(market))

    def _event_document(self, ticker: str, is_nested: bool) -> dict[str, Any]:
        document = encode_event(self._registry.events[ticker])
        document["last_updated_ts"] = time_text(self._registry.event_us[ticker])
        if is_nested:
            document["markets"] = [self._market_document(m) for m in self._registry.of_event(ticker)]
        return document

    def _series_document(self, ticker: str) -> dict[str, Any]:
        return encode_series(self._registry.series[ticker]) | {
            "last_updated_ts": time_text(self._registry.series_us[ticker])
        }

    def _book_document(self, ticker: str, depth: int) -> dict[str, Any]:
        book = self._venue.truth.book(ticker)
        return orderbook_body([] if book is None else book.levels(), depth)


def _statuses(word: str | None) -> set[str] | None:
    """Return the statuses that a filter word stands for, None for no filter. Raises RefusedError for another word."""
    if not word:
        return None
    if word not in STATUS_OF_WORD:
        raise RefusedError(400, "bad_request", f"status is not one of {', '.join(STATUS_OF_WORD)}")
    return STATUS_OF_WORD[word]


def _since_us(request: Request) -> int:
    return (request.whole("min_updated_ts", 0, 0, 2**40) or 0) * 1_000_000


def _market_filter(request: Request) -> Callable[[Market], bool]:
    """Return the test that the query asks for. Raises RefusedError for filters that do not go together."""
    wanted, series, combos = _statuses(request.one("status")), request.one("series_ticker"), request.one("mve_filter")
    if combos not in (None, "", "only", "exclude"):
        raise RefusedError(400, "bad_request", "mve_filter is neither only nor exclude")
    bounds = []
    for word, field in (
        ("created", "created_us"), ("close", "close_us"), ("settled", "settlement_us"), ("updated", "updated_us"),
    ):  # fmt: skip
        for name, sign in ((f"min_{word}_ts", 1), (f"max_{word}_ts", -1)):
            second = request.whole(name, None, 0, 2**40)
            if second is not None:
                bounds.append((field, sign, second * 1_000_000))
    is_updated = request.one("min_updated_ts") is not None
    if is_updated and (
        wanted is not None or len(bounds) > 1 or request.one("event_ticker") or request.one("tickers")
        or combos == "only" or (series and combos != "exclude")
    ):  # fmt: skip
        text = "min_updated_ts goes with mve_filter=exclude only, and with series_ticker beside it"
        raise RefusedError(400, "bad_request", text)
    for word, words in _STATUS_WITH.items():
        if request.one("status") not in (*words, None, "") and any(
            request.one(f"{end}_{word}_ts") for end in ("min", "max")
        ):
            raise RefusedError(400, "bad_request", f"{word} times go with status {' or '.join(words)} only")

    def keep(market: Market) -> bool:
        doc = market.doc
        is_combo = doc.ticker.startswith(COMBO_PREFIX)
        times = ((getattr(doc, field), sign, bound_us) for field, sign, bound_us in bounds)
        return (
            (wanted is None or doc.status in wanted)
            and series in (None, "", market.series_ticker)
            and (combos in (None, "") or is_combo == (combos == "only"))
            and all(time_us is not None and time_us * sign >= bound_us * sign for time_us, sign, bound_us in times)
        )

    return keep
