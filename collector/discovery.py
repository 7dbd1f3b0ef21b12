"""Which markets there are: the venue's listing at the start and every few minutes, and lifecycle messages between.

Owns the round of listings. What it finds goes to the session: markets to record, versions to keep.
"""

import asyncio
from collections.abc import Callable

from book.errors import CollectorError, FrameError
from book.wire.rest import EventDoc, MarketDoc
from collector.metadata import FINISHED, Versions
from collector.session import Session
from collector.venue_rest import VenueBusyError, VenueRest

LIST_EVERY_S = 300.0
LOOK_EVERY_S = 0.5

Log = Callable[..., None]


class Discovery:
    """List markets into a session; ``now_us`` gives the stamp of a version, ``log`` takes (event, fields)."""

    def __init__(
        self,
        rest: VenueRest,
        session: Session,
        versions: Versions,
        now_us: Callable[[], int],
        log: Log,
        *,
        combos: bool,
    ) -> None:
        self._rest = rest
        self._session = session
        self._versions = versions
        self._now_us = now_us
        self._log = log
        self._combos = combos

    async def run(self) -> None:
        """Discover until cancelled: all open markets per new connection and every five minutes, changed ones soon.

        What was open and is listed no more is asked for by name, since its end may have been told while nobody heard.

        A venue that does not answer is asked again; what cannot be read is logged and left for the next round.
        """
        clock = asyncio.get_running_loop().time
        next_s = clock()
        opened = 0
        while True:
            try:
                if clock() >= next_s or self._session.opened_links > opened:
                    next_s, opened = clock() + LIST_EVERY_S, self._session.opened_links
                    await self._list()
                changed = self._session.changed()
                if changed:
                    await self._take(await self._rest.markets(changed))
            except (VenueBusyError, FrameError, CollectorError) as error:
                next_s = min(next_s, clock() + 10.0)
                self._log("discovery_failed", error=str(error))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _list(self) -> None:
        """List everything that is open: recording starts with each page, before anything else is asked."""
        found: list[MarketDoc] = []
        async for page in self._rest.open_markets(combos=self._combos):
            self._record(page)
            found += page
        self._log("markets_listed", markets=len(found))
        async for events in self._rest.open_events():
            for event in events:
                await self._learn_event(event)
        await self._learn(found)
        gone = self._versions.unfinished.difference(doc.ticker for doc in found)
        if gone:
            await self._take(await self._rest.markets(sorted(gone)))

    async def _take(self, markets: list[MarketDoc]) -> None:
        self._record(markets)
        await self._learn(markets)

    def _record(self, markets: list[MarketDoc]) -> None:
        for doc in markets:
            if doc.status in FINISHED:
                self._session.finish_market(doc.ticker)
            else:
                self._session.list_market(doc.ticker, doc.open_us, doc.close_us)

    async def _learn(self, markets: list[MarketDoc]) -> None:
        """Keep new versions of markets, and of the events and series not seen yet."""
        for doc in markets:
            if not self._versions.knows("events", doc.event_ticker):
                event = await self._rest.event(doc.event_ticker)
                if event is not None:
                    await self._learn_event(event)
            row = self._versions.market(doc, self._now_us())
            if row is not None:
                self._session.metadata["markets"].add(**row)

    async def _learn_event(self, event: EventDoc) -> None:
        row = self._versions.event(event, self._now_us())
        if row is not None:
            self._session.metadata["events"].add(**row)
        if event.series_ticker and not self._versions.knows("series", event.series_ticker):
            series = await self._rest.series(event.series_ticker)
            found = self._versions.series(series, self._now_us()) if series is not None else None
            if found is not None:
                self._session.metadata["series"].add(**found)
