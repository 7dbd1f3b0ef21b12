"""Owns what ``up`` prints once it serves: an address, a key and lines that work as printed.

It asks the server over HTTP as any client does; what it prints was answered before it was printed.
"""

import random
import shlex
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec


class ServedBook(msgspec.Struct, frozen=True):
    """A book that the server has just answered: its market, and the instant at which it is known (ISO 8601)."""

    ticker: str
    timestamp: str


async def find_book(client: httpx.AsyncClient, rng: random.Random) -> ServedBook | None:
    """Return a live book that the server answers now, one with both sides if there is one; None while there is none.

    Cost: up to 22 requests; of many markets ``rng`` picks those to ask for. ``client`` has the server's address and
    the key.
    """
    if await _get(client, "/readyz") is None:
        return None
    listed = await _get(client, "/v1/markets?limit=200")
    tickers = [row["ticker"] for row in (listed or {}).get("data", []) if row.get("first_data_at")]
    found = None
    for ticker in rng.sample(tickers, min(20, len(tickers))):
        book = await _get(client, f"/v1/orderbook/{ticker}")
        if book is None:
            continue
        found = ServedBook(ticker, book["timestamp"])
        if book["yes"] and book["no"]:
            return found
    return found


def lines_to_try(url: str, api_key: str, book: ServedBook, lake: Path) -> list[str]:
    """Return the lines that tell a person where the product is and what to try first."""
    key = shlex.quote(f"Authorization: Bearer {api_key}")
    body = shlex.quote(msgspec.json.encode({"market_ticker": book.ticker, "timestamp": book.timestamp}).decode())
    return [
        "",
        "KalshiBook is up",
        f"  URL      {url}",
        f"  API key  {api_key}",
        f"  docs     {url}/docs",
        f"  lake     {lake.absolute()}",
        "",
        "A book as it is now:",
        f"  curl -s -H {key} {shlex.quote(f'{url}/v1/orderbook/{book.ticker}?depth=5')}",
        "The same book at an instant of your choice:",
        f"  curl -s -H {key} -H 'Content-Type: application/json' -d {body} {shlex.quote(f'{url}/v1/orderbook')}",
        "What is recorded of this market, and where the gaps are:",
        f"  curl -s -H {key} {shlex.quote(f'{url}/v1/coverage/{book.ticker}')}",
        "",
        "Each hour is published to the lake a minute or more after its end. Then this book by SQL:",
        f"  {shlex.quote(_command())} sql {shlex.quote(_by_sql(book))}",
        "",
        "Ctrl-C stops everything.",
    ]


def _by_sql(book: ServedBook) -> str:
    ticker = book.ticker.replace("'", "''")
    return f"FROM book_at('{ticker}', TIMESTAMPTZ '{book.timestamp}')"


def _command() -> str:
    """Return the installed command of this Python, as short as it can be typed in the working folder."""
    command = Path(sys.executable).with_name("kalshibook")
    try:
        return str(command.relative_to(Path.cwd()))
    except ValueError:
        return str(command)


async def _get(client: httpx.AsyncClient, path: str) -> dict[str, Any] | None:
    """Return the body of a 200, or None: a server that is not up yet, or has no answer yet, is no error here."""
    try:
        answer = await client.get(path)
    except httpx.TransportError:
        return None
    if answer.status_code != httpx.codes.OK:
        return None
    return msgspec.json.decode(answer.content, type=dict[str, Any]) if answer.content else {}
