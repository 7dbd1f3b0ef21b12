"""Questions to a server: pages read to their end, spans, and instants to ask about.

Owns the choice of instants. Judges nothing.
"""

import random
from typing import Any

import httpx

from tests.e2e.oracle import cents, micros, text_of
from tests.e2e.stack import Stack

FIRST, LAST = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
LAST_TEXT = "2100-01-01T00:00:00.000000Z"


def pages(stack: Stack, path: str, **question: Any) -> list[dict[str, Any]]:
    """Return every row of a range."""
    rows: list[dict[str, Any]] = []
    body = {"start_time": FIRST, "end_time": LAST, "limit": 10_000, **question}
    while True:
        page = stack.http.post(path, json=body).raise_for_status().json()
        rows += page["data"]
        if not page["has_more"]:
            return rows
        body["cursor"] = page["next_cursor"]


def changes(stack: Stack, ticker: str) -> list[dict[str, Any]]:
    """Return every change of a market, orphans too."""
    return pages(stack, "/v1/deltas", market_ticker=ticker, orphans=True)


def change_keys(rows: list[dict[str, Any]]) -> list[tuple[int, ...]]:
    """Return rows of /deltas in the form of Oracle.sent_changes."""
    sides = {"yes": 0, "no": 1}
    return sorted(
        (
            row["conn"],
            row["seq"],
            sides[row["side"]],
            cents(row["price_cents"], 100),
            cents(row["delta_amount"], 100),
            micros(row["ts_exchange"]) // 1000,
        )
        for row in rows
    )


def trade_keys(stack: Stack, ticker: str) -> list[tuple[Any, ...]]:
    """Return the trades of a market in the form of Oracle.sent_trades."""
    return sorted(
        (
            row["trade_id"],
            cents(row["yes_price"], 100),
            cents(row["count"], 100),
            row["taker_side"],
            micros(row["ts_exchange"]) // 1000,
        )
        for row in pages(stack, "/v1/trades", market_ticker=ticker)
    )


def spans(stack: Stack, ticker: str) -> list[tuple[int, int]]:
    """Return the stretches [from, to) in which a market's book is known: its spans without what its gaps take out."""
    data = stack.http.get(f"/v1/coverage/{ticker}").raise_for_status().json()["data"]
    found = [(micros(span["from"]), micros(span["to"])) for span in data["spans"] if span["to"] is not None]
    for gap in data["gaps"]:
        start, end = micros(gap["from"]), micros(gap["to"] or LAST_TEXT)
        found = [
            part
            for span in found
            for part in ((span[0], min(span[1], start)), (max(span[0], end), span[1]))
            if part[0] < part[1]
        ]
    return found


def gaps(stack: Stack, ticker: str) -> list[dict[str, Any]]:
    """Return the gaps of a market."""
    data = stack.http.get(f"/v1/coverage/{ticker}").raise_for_status().json()["data"]
    return list(data["gaps"])


def instants(rng: random.Random, found: list[tuple[int, int]], stamps: list[int], count: int) -> list[int]:
    """Return instants inside spans: a third on a record's stamp, a third 1 us before one, a third between."""
    inside = [ts for ts in stamps if any(start <= ts < end for start, end in found)]
    chosen: list[int] = []
    while len(chosen) < count:
        kind = len(chosen) % 3
        start, end = rng.choices(found, [end - start for start, end in found])[0]
        at_us = rng.choice(inside) - kind if kind < 2 and inside else rng.randrange(start, end)
        if any(start <= at_us < end for start, end in found):
            chosen.append(at_us)
    return chosen


def book(stack: Stack, ticker: str, at_us: int) -> httpx.Response:
    """Ask for a book."""
    return stack.http.post("/v1/orderbook", json={"market_ticker": ticker, "timestamp": text_of(at_us)})
