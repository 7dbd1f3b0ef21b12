"""The exchange's own account against what is answered: its true book after a frame, and its log of what it sent.

Owns the comparison. Knows the answer's fields and the control interface; nothing of how the answer was made.
"""

import json
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.e2e.stack import Stack

LATE_US = 250_000
"""How long before an instant a frame may have gone out and still be missing from its book, in machine time."""


@dataclass
class SendLog:
    """Every frame that the exchange has sent, by (port, sid, seq) and by market; times as shown."""

    frames: dict[tuple[int, int, int], dict[str, Any]] = field(default_factory=dict)
    by_market: dict[tuple[int, int, str], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    kinds: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    last: int = 0

    def fetch(self, stack: Stack) -> None:
        """Take what was sent since the last fetch."""
        while True:
            body = stack.control.get("log", params={"after": self.last, "limit": 50_000}).raise_for_status().text
            rows = [json.loads(line) for line in body.splitlines()]
            for row in rows:
                self._take(row)
            if not rows:
                return

    def _take(self, row: dict[str, Any]) -> None:
        self.last = row["n"]
        if row["seq"] is None:
            return
        self.frames[row["port"], row["sid"], row["seq"]] = row
        self.kinds[row["type"]].append(row)
        if row["type"] in ("orderbook_snapshot", "orderbook_delta"):
            self.by_market[row["port"], row["sid"], row["ticker"]].append((row["sent_us"], row["seq"]))

    def later(self, port: int, sid: int, ticker: str, seq: int) -> list[tuple[int, int]]:
        """Return (sent, seq) of the market's book frames after ``seq`` on that subscription."""
        frames = self.by_market[port, sid, ticker]
        return frames[bisect_right(frames, seq, key=lambda one: one[1]) :]


class Oracle:
    """Judge answers of a stack; conns are told from its collectors' logs."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.log = SendLog()
        self.subscriptions: dict[int, tuple[int, int]] = {}

    def refresh(self) -> None:
        """Learn what was sent and subscribed since."""
        self.log.fetch(self.stack)
        self.subscriptions = {row["conn"]: (row["port"], row["sid"]) for row in self.stack.said("subscribed")}

    def wrong(self, answer: dict[str, Any], at_us: int) -> str | None:
        """Say what is wrong with a book that was answered as complete at an instant; None where it is right."""
        quality, ticker = answer["quality"], answer["market_ticker"]
        if not quality["complete"] or quality["gap"] is not None:
            return "answered 200 without on_gap and not complete"
        port, sid = self.subscriptions[quality["conn"]]
        frame = self.log.frames.get((port, sid, quality["seq"]))
        if frame is None or frame["ticker"] != ticker:
            return f"no frame {port, sid, quality['seq']} of {ticker} was sent"
        if frame["sent_us"] > at_us:
            return f"frame {quality['seq']} went out {frame['sent_us'] - at_us} us after the instant"
        true = self._true_book(port, sid, quality["seq"], ticker)
        if true["digest"] != quality["digest"]:
            return f"digest {quality['digest']}, the exchange's true book has {true['digest']}"
        next_us = self._next_change_us(port, sid, ticker, quality["seq"], true["digest"], at_us)
        if next_us is not None and next_us < at_us - LATE_US * self.stack.rate:
            return f"the next frame went out {(at_us - next_us) // self.stack.rate} machine us before the instant"
        shown = [(0, level) for level in answer["yes"]] + [(1, level) for level in answer["no"]]
        levels = sorted((side, cents(one["price"], 100), cents(one["quantity"], 100)) for side, one in shown)
        return None if levels == sorted(map(tuple, true["levels"])) else "levels differ from the true book"

    def _true_book(self, port: int, sid: int, seq: int, ticker: str) -> dict[str, Any]:
        query = {"port": port, "sid": sid, "seq": seq, "ticker": ticker}
        return dict(self.stack.control.get("book", params=query).raise_for_status().json())

    def _next_change_us(self, port: int, sid: int, ticker: str, seq: int, digest: str, until_us: int) -> int | None:
        """Return when the market's next frame went out that is not just the same full book again."""
        for sent_us, later in self.log.later(port, sid, ticker, seq):
            full = self.log.frames[port, sid, later]["type"] == "orderbook_snapshot"
            if sent_us > until_us or not full or self._true_book(port, sid, later, ticker)["digest"] != digest:
                return sent_us
        return None

    def sent_changes(self, ticker: str) -> list[tuple[int, ...]]:
        """Return (conn, seq, side, price_e4, change_e2, ts_exchange ms) of every delta sent of a market."""
        conn_of = {place: conn for conn, place in self.subscriptions.items()}
        rows = []
        for row in self.log.kinds["orderbook_delta"]:
            if row["ticker"] == ticker and (row["port"], row["sid"]) in conn_of:
                body = json.loads(row["frame"])["msg"]
                price, change = cents(body["price_dollars"], 10_000), cents(body["delta_fp"], 100)
                side = {"yes": 0, "no": 1}[body["side"]]
                rows.append((conn_of[row["port"], row["sid"]], row["seq"], side, price, change, body["ts_ms"]))
        return sorted(rows)

    def sent_trades(self, ticker: str) -> list[tuple[Any, ...]]:
        """Return (trade_id, yes price, size, taker side, ms) of every trade sent of a market."""
        rows = {}
        for row in self.log.kinds["trade"]:
            if row["ticker"] == ticker:
                body = json.loads(row["frame"])["msg"]
                price, size = cents(body["yes_price_dollars"], 10_000), cents(body["count_fp"], 100)
                rows[body["trade_id"]] = (body["trade_id"], price, size, body["taker_side"], body["ts_ms"])
        return sorted(rows.values())


def cents(number: Any, scale: int) -> int:
    """Return a JSON number or decimal text times ``scale``, exactly."""
    value = Decimal(str(number)) * scale
    assert value == value.to_integral_value(), number
    return int(value)


def micros(text: str) -> int:
    """Read an answer's time."""
    assert text.endswith("Z"), text
    assert len(text) == 27, text
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond


def text_of(at_us: int) -> str:
    """Write a time for a question, to the microsecond."""
    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{at_us % 1_000_000:06d}Z"
