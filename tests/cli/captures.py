"""Captures written by tests, the plain fold of a capture's lines, and what an import made of them.

Owns what the tests of the import share. The fold reads lines as anybody would, and takes nothing of the code under
test.
"""

import gzip
import json
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from book.errors import ApiError
from cli.importing import run_import
from lake.publishing import parquet
from lake.publishing.shelf import Shelf
from ops.clock import RehearsalClock
from ops.settings import Settings
from query.log import Log
from query.point import book_at

H0_MS = 490_000 * 3_600_000
"""The first millisecond of an hour long over."""
HOUR_MS = 3_600_000
LATER = RehearsalClock.parse("2026-12-01T00:00:00Z@1@0.0")
Book = dict[tuple[str, str], Decimal]


@dataclass
class Recorder:
    """A file under way: one connection's frames; numbers go up by one a subscription unless told otherwise."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    seqs: Counter[int] = field(default_factory=Counter)

    def say(self, ms: int, kind: str, msg: Any, *, sid: int, seq: int | None = None) -> "Recorder":
        self.seqs[sid] = self.seqs[sid] + 1 if seq is None else seq
        event = {"type": kind, "sid": sid, "seq": self.seqs[sid], "msg": msg}
        self.lines.append({"recv_ms": H0_MS + ms, "event": event})
        return self

    def book(self, ms: int, ticker: str, yes: str = "", no: str = "", **numbers: Any) -> "Recorder":
        """Add a full book; a side is ``price:size`` parted by spaces."""
        msg: dict[str, Any] = {"market_ticker": ticker}
        for name, side in (("yes_dollars_fp", yes), ("no_dollars_fp", no)):
            if side:
                msg[name] = [level.split(":") for level in side.split()]
        return self.say(ms, "orderbook_snapshot", msg, **{"sid": 1, **numbers})

    def delta(self, ms: int, ticker: str, change: str, price: str = "0.4500", **numbers: Any) -> "Recorder":
        msg = {"market_ticker": ticker, "price_dollars": price, "delta_fp": change, "side": "yes"}
        return self.say(ms, "orderbook_delta", msg, **{"sid": 1, **numbers})

    def trade(self, ms: int, ticker: str, trade_id: str) -> "Recorder":
        msg = {
            "market_ticker": ticker, "trade_id": trade_id, "yes_price_dollars": "0.4500", "no_price_dollars": "0.5500",
            "count_fp": "3.00", "taker_outcome_side": "yes", "is_block_trade": False,
        }  # fmt: skip
        return self.say(ms, "trade", msg, sid=2)

    def write(self) -> None:
        text = "".join(json.dumps(line) + "\n" for line in self.lines).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(gzip.compress(text) if self.path.suffix == ".gz" else text)


def fold(files: list[Path], ticker: str) -> tuple[list[int], list[Book]]:
    """Return when a market's book was told anew (us, ascending) and what it was then: (side, price) -> size."""
    lines: list[tuple[int, int, dict[str, Any]]] = []
    for number, path in enumerate(files):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            lines += [(line["recv_ms"], number, line["event"]) for line in map(json.loads, file)]
    times: list[int] = []
    books: list[Book] = []
    book: Book = {}
    for ms, _, event in sorted(lines, key=lambda line: line[:2]):
        msg = event["msg"]
        if msg.get("market_ticker") != ticker or event["type"] not in ("orderbook_snapshot", "orderbook_delta"):
            continue
        if event["type"] == "orderbook_snapshot":
            sides = (("yes", "yes_dollars_fp"), ("no", "no_dollars_fp"))
            book = {(side, price): Decimal(size) for side, name in sides for price, size in msg.get(name, ())}
        else:
            key = (msg["side"], msg["price_dollars"])
            book = {**book, key: book.get(key, Decimal(0)) + Decimal(msg["delta_fp"])}
            if not book[key]:
                del book[key]
        times.append(ms * 1000)
        books.append(book)
    return times, books


def book_of(times: list[int], books: list[Book], at_us: int) -> list[tuple[int, int, int]]:
    """Return the levels of the newest book at an instant as the product has them."""
    book = books[bisect_right(times, at_us) - 1]
    levels = (
        (int(side == "no"), int(Decimal(price) * 10_000), int(size * 100)) for (side, price), size in book.items()
    )
    return sorted(levels)


class Imported:
    """A capture folder and a home to import it into."""

    def __init__(self, folder: Path) -> None:
        self.capture = folder / "capture"
        self.settings = Settings(home=folder / "var", rehearsal=LATER)
        self.said: list[str] = []
        self._log: Log | None = None

    def recorder(self, name: str = "events/day.ndjson") -> Recorder:
        return Recorder(self.capture / name)

    def run(self, *tickers: str, capture: Path | None = None) -> int:
        self._log = None
        return run_import(self.settings, capture or self.capture, tickers, self.said.append)

    @property
    def shelf(self) -> Shelf:
        shelf = Shelf(self.settings.lake_root)
        shelf.refresh()
        return shelf

    @property
    def log(self) -> Log:
        if self._log is None:
            self._log = Log(self.settings.home, self.settings.clock.now_us, lake=self.settings.lake_root)
        return self._log

    def ask(self, ticker: str, ms: float) -> Any:
        """Return the levels of a book, milliseconds after H0, or (code, reason, since when in ms where it is a gap)."""
        at_us = 1000 * H0_MS + round(1000 * ms)
        try:
            return book_at(self.log, ticker, at_us).book.levels()
        except ApiError as error:
            from_us = error.fields.get("from")
            since = () if from_us is None else ((from_us - 1000 * H0_MS) / 1000,)
            return (error.code, error.fields.get("reason"), *since)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the published rows of a table, hour by hour."""
        found = []
        for hour in self.shelf.hours():
            for row in self.shelf.standing_rows(hour).to_pylist():
                if row["state"] == "table" and row["channel"] == table:
                    found += parquet.read_file(self.shelf.path(table, row["file"]), table).to_pylist()
        return found

    def closes(self) -> list[tuple[str, str, float]]:
        """Return (ticker, reason, ms after H0) of every close."""
        rows = [row for row in self.rows("orderbook") if row["reason"] is not None]
        stamps = [(round(row["ts_recv"].timestamp() * 1e6) - 1000 * H0_MS) / 1000 for row in rows]
        return [(row["ticker"], row["reason"], stamp) for row, stamp in zip(rows, stamps, strict=True)]
