"""The venue's REST interface, as far as a recorder needs it.

Owns requests, paging, their pace and retries. Never keeps what it has read.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import stamina

from book.errors import CollectorError, FrameError
from book.wire.rest import (
    Document,
    EventDoc,
    MarketDoc,
    SeriesDoc,
    decode_event,
    decode_market,
    decode_series,
    parse_document,
)
from collector.signing import Signer

PAGE = 1000
EVENTS_PAGE = 200
TICKERS_A_CALL = 100
REQUESTS_A_SECOND = 10
RECORDED = ("open", "paused", "unopened")
"""The venue's filter words for markets whose books are recorded, now or when they open; it takes one at a time."""
TRIES = 4
WITHIN_S = 20.0


_Doc = TypeVar("_Doc")


class VenueBusyError(CollectorError):
    """The venue refused a request for now; ``status`` is its HTTP status, 0 where there was no answer."""

    retryable: ClassVar[bool] = True

    def __init__(self, status: int, path: str) -> None:
        super().__init__(f"{path}: {status or 'no answer'}")
        self.status = status


class VenueRest:
    """A client of the documents of markets, events and series, at most ten requests a second.

    A document that cannot be read is told to ``unreadable`` and left out; the others are returned.
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
        self._next_s = 0.0

    async def open_markets(self, *, combos: bool) -> AsyncIterator[list[MarketDoc]]:
        """Yield the markets that are open, paused or yet to open, page by page."""
        for status in RECORDED:
            fixed = {"status": status, "limit": str(PAGE)} | ({} if combos else {"mve_filter": "exclude"})
            async for document in self._pages("/markets", fixed):
                yield await self._readable(decode_market, document.get("markets"))

    async def markets(self, tickers: Iterable[str]) -> list[MarketDoc]:
        """Return these markets, those that the venue knows."""
        names = list(tickers)
        found: list[MarketDoc] = []
        for start in range(0, len(names), TICKERS_A_CALL):
            chunk = ",".join(names[start : start + TICKERS_A_CALL])
            async for document in self._pages("/markets", {"tickers": chunk, "limit": str(PAGE)}):
                found += await self._readable(decode_market, document.get("markets"))
        return found

    async def open_events(self) -> AsyncIterator[list[EventDoc]]:
        """Yield the open events, page by page."""
        async for document in self._pages("/events", {"status": "open", "limit": str(EVENTS_PAGE)}):
            yield await self._readable(decode_event, document.get("events"))

    async def event(self, ticker: str) -> EventDoc | None:
        """Return an event, None where the venue does not know it."""
        document = await self._get(f"/events/{quote(ticker, safe='')}", {})
        found = await self._readable(decode_event, [document.get("event")] if document else [])
        return found[0] if found else None

    async def series(self, ticker: str) -> SeriesDoc | None:
        """Return a series, None where the venue does not know it."""
        document = await self._get(f"/series/{quote(ticker, safe='')}", {})
        found = await self._readable(decode_series, [document.get("series")] if document else [])
        return found[0] if found else None

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.aclose()

    async def _readable(self, decode: Callable[[Mapping[str, Any]], _Doc], documents: object) -> list[_Doc]:
        """Read documents, in a thread: a page of them would hold up the receiving of frames."""
        found, errors = await asyncio.to_thread(_decoded, decode, documents)
        for error in errors:
            self._unreadable(error)
        return found

    async def _pages(self, path: str, fixed: Mapping[str, str]) -> AsyncIterator[Document]:
        cursor = ""
        while True:
            document = await self._get(path, {**fixed, **({"cursor": cursor} if cursor else {})})
            if document is None:
                raise CollectorError(f"{path}: the venue does not know it; is KALSHI_REST_URL right?")
            yield document
            last, cursor = cursor, document.get("cursor") or ""
            if not cursor:
                return
            if cursor == last:
                raise CollectorError(f"{path}: the venue's pages go in a circle")

    async def _get(self, path: str, query: dict[str, Any]) -> Document | None:
        async for attempt in stamina.retry_context(on=VenueBusyError, attempts=TRIES, wait_initial=0.5, wait_max=10.0):
            with attempt:
                return await self._once(path, query)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(self, path: str, query: dict[str, Any]) -> Document | None:
        now_s = time.monotonic()
        self._next_s = max(self._next_s, now_s) + 1 / REQUESTS_A_SECOND
        await asyncio.sleep(self._next_s - 1 / REQUESTS_A_SECOND - now_s)
        headers = self._signer.headers("GET", self._path + path, time.time_ns() // 1_000_000) if self._signer else {}
        try:
            answer = await self._client.get(self._root + path, params=query, headers=headers)
        except httpx.HTTPError as error:
            raise VenueBusyError(0, path) from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if (
            answer.status_code == httpx.codes.TOO_MANY_REQUESTS
            or answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        ):
            raise VenueBusyError(answer.status_code, path)
        if answer.status_code != httpx.codes.OK:
            raise CollectorError(f"{path}: the venue answered {answer.status_code}: {answer.text[:200]}")
        return await asyncio.to_thread(parse_document, answer.content)


def _decoded(decode: Callable[[Mapping[str, Any]], _Doc], documents: object) -> tuple[list[_Doc], list[FrameError]]:
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
