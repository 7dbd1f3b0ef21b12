"""Versions of metadata: what changed of a market, event or series, and when we learned it.

Owns the judgement whether a document or message is a new version, and what is held of the last one. Never asks the
venue, and never decides when something was learned.
"""

import zlib
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from book.errors import FrameError
from book.records import HOUR_US
from book.wire.lasting import comparable, lasting_fields
from book.wire.merging import OVER, PAID, merged_event, merged_market
from book.wire.messages import Lifecycle
from book.wire.rest import (
    Document,
    EventDoc,
    MarketDoc,
    SeriesDoc,
    decode_event,
    decode_market,
    parse_document,
    render_document,
)

KEYS = {"markets": "ticker", "events": "event_ticker", "series": "series_ticker"}
"""The tables of metadata, and what tells their records apart."""
REST = "rest"
LIFECYCLE = "lifecycle"
PAID_KEPT_US = 48 * HOUR_US
UNSEEN_KEPT_US = 30 * 24 * HOUR_US
"""How long a market that is paid out, and anything else that nobody speaks of any more, is still held to be known."""

Row = dict[str, Any]


class Versioned(NamedTuple):
    """A new version: its table and its row as TableRows.add takes it."""

    table: str
    row: Row


class _Held(msgspec.Struct):
    """The last version of a record: what lasts of it, compressed (empty once no message can follow), and its digest."""

    digest: bytes
    lasting: bytes
    valid_from_us: int
    seen_us: int
    heard_us: int = 0
    """When a message last spoke of it: a document asked for before then is out of date."""
    status: str = ""
    determined_us: int | None = None
    series_ticker: str | None = None
    category: str | None = None


class Versions:
    """The last version of every record. ``unfinished`` are the markets without a result."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, _Held]] = {table: {} for table in KEYS}
        self.unfinished: set[str] = set()
        self.newest_us = 0
        """The stamp of the newest version that was loaded."""

    def __len__(self) -> int:
        """Return how many records are held."""
        return sum(map(len, self._held.values()))

    def knows(self, table: str, key: str) -> bool:
        """Say whether any version of a record is held."""
        return key in self._held[table]

    def is_stale(self, table: str, key: str, asked_us: int) -> bool:
        """Say whether a message spoke of a record since a document of it was asked for."""
        held = self._held[table].get(key)
        return held is not None and held.heard_us >= asked_us

    def load(self, table: str, rows: Iterable[Row], now_us: int) -> None:
        """Take versions that the log holds already, the last row of each record; a row that is damaged is left out.

        Cost: about 40 us a row.
        """
        for row in rows:
            try:
                lasting = lasting_fields(parse_document(row["record"]))
            except FrameError:
                continue
            determined_us = row.get("determined_time")
            held = _Held(_digest(lasting, determined_us), _kept(table, lasting), row["valid_from"], now_us)
            self._held[table][row[KEYS[table]]] = held
            self.newest_us = max(self.newest_us, held.valid_from_us)
            held.series_ticker, held.category = row.get("series_ticker"), row.get("category")
            if table == "markets":
                held.determined_us = determined_us
                self._note_status(row["ticker"], held, row["status"])

    def market(self, doc: MarketDoc, now_us: int, asked_us: int | None = None) -> Versioned | None:
        """Return the new version that a document of a market is, None where nothing lasting has changed.

        ``now_us`` is its stamp. One that was asked for at ``asked_us``, before a message that spoke of the market,
        says nothing: it may be older than the message.
        """
        if asked_us is not None and self.is_stale("markets", doc.ticker, asked_us):
            return None
        return self._market(doc, now_us, REST, render_document(doc.raw))

    def event(self, doc: EventDoc, now_us: int, asked_us: int | None = None) -> Versioned | None:
        """Return the new version that a document of an event is, as ``market`` does."""
        if asked_us is not None and self.is_stale("events", doc.event_ticker, asked_us):
            return None
        return self._event(doc, now_us, REST, render_document(doc.raw))

    def series(self, doc: SeriesDoc, now_us: int) -> Versioned | None:
        """Return the new version that a document of a series is, None where nothing lasting has changed."""
        row = {"series_ticker": doc.ticker, "title": doc.title, "category": doc.category}
        return self._judged("series", doc.ticker, doc.raw, row, now_us, REST, render_document(doc.raw))

    def heard(self, message: Lifecycle, now_us: int) -> Versioned | None:
        """Return the new version that a message makes of the last one, None where it changes nothing that is held.

        Raises FrameError where it says of a field what cannot be read.
        """
        table = "events" if message.ticker is None else "markets"
        key = message.event_ticker if message.ticker is None else message.ticker
        held = self._held[table].get(key or "")
        if held is not None:
            held.heard_us = now_us
            if not held.lasting:
                return None
        record = None if held is None else parse_document(zlib.decompress(held.lasting))
        if table == "events":
            merged = merged_event(record, message)
            if merged is None:
                return None
            return self._event(decode_event(merged), now_us, LIFECYCLE, render_document(merged))
        merged = merged_market(record, message, now_us)
        if merged is None:
            return None
        return self._market(decode_market(merged), now_us, LIFECYCLE, render_document(merged), message.determination_us)

    def tidy(self, now_us: int) -> int:
        """Let go of what no answer has spoken of for long; return how much. Cost: a look at every record.

        Should the venue speak of such a record again, it becomes a version once more, and is then held as long again.
        """
        gone = 0
        for table in ("markets", "events"):
            held = self._held[table]
            old = [key for key, one in held.items() if now_us - one.seen_us > _kept_us(one)]
            for key in old:
                del held[key]
            self.unfinished.difference_update(old if table == "markets" else ())
            gone += len(old)
        return gone

    def forget(self, ticker: str) -> None:
        """Expect no result of a market any more: the venue does not know it."""
        self.unfinished.discard(ticker)

    def _market(
        self, doc: MarketDoc, now_us: int, source: str, record: bytes, determined_us: int | None = None
    ) -> Versioned | None:
        held = self._held["markets"].get(doc.ticker)
        event = self._held["events"].get(doc.event_ticker)
        if determined_us is None and held is not None:
            determined_us = held.determined_us
        row = {
            "ticker": doc.ticker,
            "event_ticker": doc.event_ticker,
            "series_ticker": doc.series_ticker or (event.series_ticker if event else None),
            "title": doc.title or doc.yes_sub_title,
            "status": doc.status,
            "category": doc.category or (event.category if event else None),
            "open_time": doc.open_us,
            "close_time": doc.close_us,
            "result": doc.result or None,
            "settlement_value_e4": doc.settlement_value_e4,
            "determined_time": determined_us,
            "settled_time": doc.settlement_us,
            "price_level_structure": doc.price_level_structure,
            "price_ranges": msgspec.json.encode(doc.price_ranges).decode() if doc.price_ranges else None,
        }
        made = self._judged("markets", doc.ticker, doc.raw, row, now_us, source, record)
        held = self._held["markets"].get(doc.ticker)
        if held is not None:
            held.determined_us = determined_us
            self._note_status(doc.ticker, held, doc.status)
        return made

    def _event(self, doc: EventDoc, now_us: int, source: str, record: bytes) -> Versioned | None:
        row = {
            "event_ticker": doc.event_ticker,
            "series_ticker": doc.series_ticker,
            "title": doc.title,
            "sub_title": doc.sub_title,
            "category": doc.category,
            "mutually_exclusive": doc.mutually_exclusive,
        }
        made = self._judged("events", doc.event_ticker, doc.raw, row, now_us, source, record)
        held = self._held["events"].get(doc.event_ticker)
        if held is not None:
            held.series_ticker, held.category = doc.series_ticker or None, doc.category
        return made

    def _judged(
        self, table: str, key: str, document: Document, row: Row, now_us: int, source: str, record: bytes
    ) -> Versioned | None:
        """Hold a record where it is new, and return its row."""
        lasting = lasting_fields(document)
        digest = _digest(lasting, row.get("determined_time"))
        held = self._held[table].get(key)
        valid_from_us = now_us
        if held is not None:
            held.seen_us = now_us
            if held.digest == digest:
                return None
            valid_from_us = max(now_us, held.valid_from_us + 1)
            if valid_from_us // HOUR_US != now_us // HOUR_US:
                return None  # two in the last microsecond of an hour: the next listing tells again
        made = _Held(digest, _kept(table, lasting), valid_from_us, now_us, heard_us=held.heard_us if held else 0)
        if source == LIFECYCLE:
            made.heard_us = now_us
        self._held[table][key] = made
        return Versioned(table, row | {"valid_from": valid_from_us, "source": source, "record": record.decode()})

    def _note_status(self, ticker: str, held: _Held, status: str) -> None:
        held.status = status
        if status in PAID:
            held.lasting = b""
        if status in OVER:
            self.unfinished.discard(ticker)
        else:
            self.unfinished.add(ticker)


def _kept_us(held: _Held) -> int:
    return PAID_KEPT_US if held.status in PAID else UNSEEN_KEPT_US


def _digest(lasting: Document, determined_us: int | None) -> bytes:
    return blake2b(comparable(lasting) + b"%d" % (determined_us or 0), digest_size=16).digest()


def _kept(table: str, lasting: Document) -> bytes:
    """Return what is held for messages to be laid over: none speaks of a series."""
    return b"" if table == "series" else zlib.compress(render_document(lasting), 1)
