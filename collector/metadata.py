"""Metadata in the session's own order: documents and messages become rows, each with the stamp at which it counts.

Owns what waits to be judged and what waits to be flushed. A message counts at its own stamp, a document at a stamp up
to which every frame has been taken: no row rests on anything that was learned after it, and each goes into the hour of
its stamp. Sans-IO; never asks the venue.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from book.errors import FrameError
from book.wire.messages import Lifecycle
from book.wire.rest import EventDoc, MarketDoc, SeriesDoc
from collector.rows import TableRows
from collector.versions import KEYS, Versioned, Versions

JUDGED_A_TICK = 200
"""Documents judged at once, some 10 ms of work: frames come first."""
MOST_EARLY = 10_000
MOST_NOTES = 100

Doc = MarketDoc | EventDoc | SeriesDoc


class Metadata:
    """The rows of markets, events and series of one shard, as they are learned."""

    def __init__(self) -> None:
        self.versions = Versions()
        self.tables = {table: TableRows(table) for table in KEYS}
        self.events_heard: dict[str, None] = {}
        """Events that messages spoke of, for whoever asks the venue."""
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self._loaded = False
        self._documents: deque[tuple[Doc, int]] = deque()
        self._early: list[Lifecycle] = []

    @property
    def waiting(self) -> bool:
        """Say whether there are rows to flush, which must go out in the hour of the last tick."""
        return any(len(rows) for rows in self.tables.values())

    @property
    def unjudged(self) -> bool:
        """Say whether a tick has something to judge."""
        return self._loaded and bool(self._documents or self._early)

    @property
    def backlog(self) -> int:
        """Return how many documents wait to be judged."""
        return len(self._documents)

    def loaded(self, versions: Versions) -> None:
        """Begin to judge, by what the log holds already; until then documents and messages wait."""
        self.versions = versions
        self._loaded = True

    def learn(self, documents: Iterable[Doc], asked_us: int) -> None:
        """Take documents that were asked for at ``asked_us``, a time shown; they are judged by the next ticks."""
        self._documents.extend((document, asked_us) for document in documents)

    def heard(self, message: Lifecycle, ts_us: int) -> None:
        """Take a lifecycle message at its stamp."""
        if message.ticker is None and message.event_ticker is not None:
            self.events_heard[message.event_ticker] = None
        if self._loaded:
            self._merge(message, ts_us)
        elif len(self._early) < MOST_EARLY:
            self._early.append(message)  # one too many changes nothing here: its market is looked up anyway

    def tick(self, stamp_us: int) -> None:
        """Judge what waits, once ``unjudged``; up to the moment of ``stamp_us`` every frame has been taken."""
        early, self._early = self._early, []
        for message in early:
            self._merge(message, stamp_us)
        for _ in range(min(len(self._documents), JUDGED_A_TICK)):
            self._judge(*self._documents.popleft(), stamp_us)

    def _judge(self, document: Doc, asked_us: int, stamp_us: int) -> None:
        if isinstance(document, MarketDoc):
            self._add(self.versions.market(document, stamp_us, asked_us))
        elif isinstance(document, EventDoc):
            self._add(self.versions.event(document, stamp_us, asked_us))
        else:
            self._add(self.versions.series(document, stamp_us))

    def _merge(self, message: Lifecycle, ts_us: int) -> None:
        try:
            self._add(self.versions.heard(message, ts_us))
        except FrameError as error:  # the message stands in its table; the record is looked up
            if len(self.notes) < MOST_NOTES:
                self.notes.append(("lifecycle_unmerged", {"ticker": message.ticker, "error": error.error}))

    def _add(self, made: Versioned | None) -> None:
        if made is not None:
            self.tables[made.table].add(**made.row)
