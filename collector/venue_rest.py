"""The venue's REST interface, as far as a recorder needs it.

Owns requests, paging, their pace and retries. Never keeps what it has read.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import stamina

from book.errors import CollectorError, FrameError
from book.wire.answers import (
    ExchangeState,
    Window,
    decode_exchange_state,
    decode_maintenance,
    decode_read_budget,
    error_text,
)
from book.wire.rest import (
    Document,
    EventDoc,
    MarketDoc,
    SeriesDoc,
    TradeDoc,
    decode_event,
    decode_market,
    decode_series,
    decode_trade,
    parse_document,
)
from collector.pace import Pace
from collector.signing import Signer

PAGE = 1000
EVENTS_PAGE = 200
TICKERS_A_CALL = 100
RECORDED = ("open", "paused", "unopened")
"""The venue's filter words for markets whose books are recorded, now or when they open; it takes one at a time."""
TRIES = 4
WITHIN_S = 20.0
_STATE_WITH = frozenset({httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT})


_Doc = TypeVar("_Doc")
_Decode = Callable[[Mapping[str, Any]], _Doc]


class VenueBusyError(CollectorError):
    """The venue refused a request for now; ``status`` is its HTTP status, 0 where there was no answer."""

    retryable: ClassVar[bool] = True

    def __init__(self, status: int, path: str, told: str = "") -> None:
        super().__init__(f"{path}: {status or 'no answer'}{': ' if told else ''}{told}")
        self.status = status


class VenueRest:
    """A client of the venue's documents, no faster than its account may be.

    A document that cannot be read is told to ``unreadable`` and left out; the others are returned. Filters
    ``since_s`` are whole Unix seconds of the venue's clock, inclusive.
    """

    def __init__(self, url: str, signer: Signer | None, unreadable: Callable[[FrameError], None]) -> None:
        """Make a client of ``url``, which ends in the interface's root path."""
        self._root = url.rstrip("/")
        self._path = urlsplit(self._root).path
        self._signer = signer
        self._unreadable = unreadable
        self._client = httpx.AsyncClient(
            timeout=WITHIN_S, trust_env=urlsplit(url).hostname not in ("127.0.0.1", "localhost")
        )
        self.pace = Pace()

    async def learn_limits(self) -> bool:
        """Take the account's own pace; False where the venue does not tell it: then that of the smallest is kept."""
        if self._signer is None:
            return False
        try:
            document = await self.document("/account/limits", {})
        except (CollectorError, FrameError):
            return False
        budget = decode_read_budget(document or {})
        if budget is not None:
            self.pace.set_budget(budget)
        return budget is not None

    async def open_markets(self, *, combos: bool) -> AsyncIterator[list[MarketDoc]]:
        """Yield the markets that are open, paused or yet to open, page by page."""
        for status in RECORDED:
            fixed = {"status": status, "limit": str(PAGE)} | _without_combos(combos)
            async for page in self._read_pages("/markets", fixed, "markets", decode_market):
                yield page

    async def changed_markets(self, since_s: int, *, combos: bool) -> AsyncIterator[list[MarketDoc]]:
        """Yield the markets of any status whose metadata changed since then: the venue takes no other filter."""
        fixed = {"min_updated_ts": str(since_s), "limit": str(PAGE)} | _without_combos(combos)
        async for page in self._read_pages("/markets", fixed, "markets", decode_market):
            yield page

    async def markets(self, tickers: Iterable[str]) -> list[MarketDoc]:
        """Return these markets, those that the venue knows."""
        return await self._by_name("/markets", tickers, PAGE, "markets", decode_market)

    async def open_events(self, *, combos: bool) -> AsyncIterator[list[EventDoc]]:
        """Yield the open events, page by page; those of combos are listed apart."""
        fixed = {"status": "open", "limit": str(EVENTS_PAGE)}
        async for page in self._read_pages("/events", fixed, "events", decode_event):
            yield page
        if combos:
            async for page in self._read_pages(
                "/events/multivariate", {"limit": str(EVENTS_PAGE)}, "events", decode_event
            ):
                yield page

    async def changed_events(self, since_s: int) -> AsyncIterator[list[EventDoc]]:
        """Yield the events, combos left out, whose metadata changed since then."""
        fixed = {"min_updated_ts": str(since_s), "limit": str(EVENTS_PAGE)}
        async for page in self._read_pages("/events", fixed, "events", decode_event):
            yield page

    async def events(self, tickers: Iterable[str]) -> list[EventDoc]:
        """Return these events, those that the venue knows."""
        return await self._by_name("/events", tickers, EVENTS_PAGE, "events", decode_event)

    async def trades(self, from_s: int, to_s: int) -> AsyncIterator[list[TradeDoc]]:
        """Yield the trades of all markets in a stretch of whole Unix seconds of the venue's clock, page by page."""
        query = {"min_ts": str(from_s), "max_ts": str(to_s), "limit": str(PAGE)}
        async for page in self._read_pages("/markets/trades", query, "trades", decode_trade):
            yield page

    async def all_series(self, since_s: int | None = None) -> list[SeriesDoc]:
        """Return every series in one answer, or those whose metadata changed since then."""
        document = await self.document("/series", {} if since_s is None else {"min_updated_ts": str(since_s)})
        return await self._readable(decode_series, (document or {}).get("series"))

    async def series(self, ticker: str) -> SeriesDoc | None:
        """Return a series, None where the venue does not know it."""
        document = await self.document(f"/series/{quote(ticker, safe='')}", {})
        found = await self._readable(decode_series, [document.get("series")] if document else [])
        return found[0] if found else None

    async def exchange_state(self) -> ExchangeState | None:
        """Return the state of the exchange, None where the answer is not one; a 503 or 504 may bring it too.

        Raises CollectorError where there is no such answer. It is asked for once: the next round asks again.
        """
        answer = await self._send("/exchange/status", {})
        if answer.status_code not in _STATE_WITH:
            raise VenueBusyError(answer.status_code, "/exchange/status", error_text(answer.content))
        try:
            return decode_exchange_state(parse_document(answer.content))
        except FrameError:
            return None

    async def maintenance(self) -> list[Window]:
        """Return the windows of maintenance that the venue's schedule names."""
        return decode_maintenance(await self.document("/exchange/schedule", {}) or {})

    async def document(self, path: str, query: Mapping[str, Any]) -> Document | None:
        """Return the answer to one question, None where the venue answers that it does not know what was asked for.

        Raises VenueBusyError after some tries, CollectorError for a refusal, FrameError for what is no document.
        """
        async for attempt in stamina.retry_context(on=VenueBusyError, attempts=TRIES, wait_initial=0.5, wait_max=10.0):
            with attempt:
                return await self._once(path, query)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def pages(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[Document]:
        """Yield the pages of a listing. Raises as ``document``, and CollectorError where they never end."""
        cursor = ""
        while True:
            document = await self.document(path, {**query, **({"cursor": cursor} if cursor else {})})
            if document is None:
                raise CollectorError(f"{path}: the venue does not know it; is KALSHI_REST_URL right?")
            yield document
            last, cursor = cursor, document.get("cursor") or ""
            if not cursor:
                return
            if cursor == last:
                raise CollectorError(f"{path}: the venue's pages go in a circle")

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.aclose()

    async def _read_pages(
        self, path: str, query: Mapping[str, str], field: str, decode: _Decode[_Doc]
    ) -> AsyncIterator[list[_Doc]]:
        async for document in self.pages(path, query):
            yield await self._readable(decode, document.get(field))

    async def _by_name(
        self, path: str, tickers: Iterable[str], limit: int, field: str, decode: _Decode[_Doc]
    ) -> list[_Doc]:
        found: list[_Doc] = []
        for chunk in _chunks(list(tickers), TICKERS_A_CALL):
            query = {"tickers": ",".join(chunk), "limit": str(limit)}
            async for page in self._read_pages(path, query, field, decode):
                found += page
        return found

    async def _readable(self, decode: _Decode[_Doc], documents: object) -> list[_Doc]:
        """Read documents, in a thread: a page of them would hold up the receiving of frames."""
        found, errors = await asyncio.to_thread(_decoded, decode, documents)
        for error in errors:
            self._unreadable(error)
        return found

    async def _once(self, path: str, query: Mapping[str, Any]) -> Document | None:
        answer = await self._send(path, query)
        status = answer.status_code
        if status == httpx.codes.NOT_FOUND:
            return None
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise VenueBusyError(status, path, error_text(answer.content))
        if status != httpx.codes.OK:
            raise CollectorError(f"{path}: the venue answered {status}: {error_text(answer.content)}")
        return await asyncio.to_thread(parse_document, answer.content)

    async def _send(self, path: str, query: Mapping[str, Any]) -> httpx.Response:
        """Send one request when its turn comes. Raises VenueBusyError where there is no answer."""
        await asyncio.sleep(self.pace.take(time.monotonic()))
        headers = self._signer.headers("GET", self._path + path, time.time_ns() // 1_000_000) if self._signer else {}
        try:
            answer = await self._client.get(self._root + path, params=dict(query), headers=headers)
        except httpx.HTTPError as error:
            raise VenueBusyError(0, path) from error
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self.pace.refused(time.monotonic())
        else:
            self.pace.answered()
        return answer


def _without_combos(combos: bool) -> dict[str, str]:
    return {} if combos else {"mve_filter": "exclude"}


def _chunks(names: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _decoded(decode: _Decode[_Doc], documents: object) -> tuple[list[_Doc], list[FrameError]]:
    found: list[_Doc] = []
    errors: list[FrameError] = []
    for document in documents if isinstance(documents, list) else []:
        try:
            if not isinstance(document, dict):
                raise FrameError("not a JSON object")
            found.append(decode(document))
        except FrameError as error:
            errors.append(error)
    return found, errors
