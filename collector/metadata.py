"""Versions of metadata: what changed of a market, event or series, and when we learned it.

Owns the judgement whether a document is a new version. Never asks the venue.
"""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from book.errors import CorruptError
from book.wire.rest import Document, EventDoc, MarketDoc, SeriesDoc, lasting_fields, parse_document, render_document
from lake import paths
from lake.journal.reader import Hour

FINISHED = frozenset({"determined", "disputed", "amended", "finalized", "settled"})
"""Statuses of a market whose result is known: its book is over."""
_KEYS = {"markets": "ticker", "events": "event_ticker", "series": "series_ticker"}


class Versions:
    """The last version of every record, as a fingerprint of what lasts; ``unfinished`` markets have no result."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], bytes] = {}
        self.unfinished: set[str] = set()
        self.unreadable: list[CorruptError] = []
        self.series_of: dict[str, str] = {}
        self.category_of: dict[str, str | None] = {}

    def load(self, home: Path, shard: int) -> None:
        """Learn the versions that a shard's log holds already.

        An hour that cannot be read is passed over and stands in ``unreadable``: its records become versions once more,
        which is better than no recording. Cost: one read of the metadata tables.
        """
        for hour in paths.hours(home, shard):
            reader = Hour(paths.hour_dir(home, shard, hour), shard, hour)
            try:
                reader.poll()
                for table, key in _KEYS.items():
                    self._learn(table, key, reader.table(table).select([key, "record"]).to_pylist())
            except CorruptError as error:
                self.unreadable.append(error)

    def knows(self, table: str, key: str) -> bool:
        """Say whether any version of a record is known."""
        return (table, key) in self._seen

    def market(self, doc: MarketDoc, now_us: int) -> dict[str, Any] | None:
        """Return the row of a new version, None where nothing lasting has changed; ``now_us`` is its stamp."""
        self._note_status(doc.ticker, doc.status)
        if not self._is_new("markets", doc.ticker, doc.raw):
            return None
        return {
            "ticker": doc.ticker,
            "valid_from": now_us,
            "event_ticker": doc.event_ticker,
            "series_ticker": doc.series_ticker or self.series_of.get(doc.event_ticker),
            "title": doc.title or doc.yes_sub_title,
            "status": doc.status,
            "category": doc.category or self.category_of.get(doc.event_ticker),
            "open_time": doc.open_us,
            "close_time": doc.close_us,
            "result": doc.result or None,
            "settlement_value_e4": doc.settlement_value_e4,
            "settled_time": doc.settlement_us,
            "price_level_structure": doc.price_level_structure,
            "price_ranges": msgspec.json.encode(doc.price_ranges).decode() if doc.price_ranges else None,
            "record": render_document(doc.raw).decode(),
        }

    def event(self, doc: EventDoc, now_us: int) -> dict[str, Any] | None:
        """Return the row of a new version of an event, None where nothing lasting has changed."""
        self._note_event(doc.event_ticker, doc.series_ticker, doc.category)
        if not self._is_new("events", doc.event_ticker, doc.raw):
            return None
        return {
            "event_ticker": doc.event_ticker,
            "valid_from": now_us,
            "series_ticker": doc.series_ticker,
            "title": doc.title,
            "sub_title": doc.sub_title,
            "category": doc.category,
            "mutually_exclusive": doc.mutually_exclusive,
            "record": render_document({name: one for name, one in doc.raw.items() if name != "markets"}).decode(),
        }

    def series(self, doc: SeriesDoc, now_us: int) -> dict[str, Any] | None:
        """Return the row of a new version of a series, None where nothing lasting has changed."""
        if not self._is_new("series", doc.ticker, doc.raw):
            return None
        return {
            "series_ticker": doc.ticker,
            "valid_from": now_us,
            "title": doc.title,
            "category": doc.category,
            "record": render_document(doc.raw).decode(),
        }

    def _learn(self, table: str, key: str, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            document = parse_document(row["record"])
            self._seen[table, row[key]] = _fingerprint(document)
            if table == "markets":
                self._note_status(row[key], document.get("status"))
            elif table == "events":
                self._note_event(row[key], document.get("series_ticker"), document.get("category"))

    def _note_status(self, ticker: str, status: str | None) -> None:
        if status in FINISHED:
            self.unfinished.discard(ticker)
        else:
            self.unfinished.add(ticker)

    def _note_event(self, event_ticker: str, series_ticker: str | None, category: str | None) -> None:
        if series_ticker:
            self.series_of[event_ticker] = series_ticker
        self.category_of[event_ticker] = category

    def _is_new(self, table: str, key: str, document: Document) -> bool:
        fingerprint = _fingerprint(document)
        if self._seen.get((table, key)) == fingerprint:
            return False
        self._seen[table, key] = fingerprint
        return True


def _fingerprint(document: Document) -> bytes:
    lasting = lasting_fields({name: value for name, value in document.items() if name != "markets"})
    return blake2b(render_document(dict(sorted(lasting.items()))), digest_size=16).digest()
