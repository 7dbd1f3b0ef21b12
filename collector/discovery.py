"""Which markets there are: the venue's listing at the start and every few minutes, and lifecycle messages between.

Owns the round of listings. What it finds goes to the session: markets to record, versions to keep.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from book.errors import CollectorError, FrameError
from book.wire.rest import EventDoc, MarketDoc
from collector.metadata import FINISHED, Versions
from collector.session import Session
from collector.venue_rest import VenueRest

LIST_EVERY_S = 300.0
LOOK_EVERY_S = 0.5
AGAIN_S = 10.0
LEARN_A_TURN = 50

Log = Callable[..., None]


class Discovery:
    """List markets into a session; ``now_us`` gives the stamp of a version, ``log`` takes (event, fields).

    ``loaded`` ends when ``versions`` knows what the log holds; until then nothing is judged to be new. It may be
    awaited more than once.
    """

    def __init__(
        self,
        rest: VenueRest,
        session: Session,
        versions: Versions,
        now_us: Callable[[], int],
        log: Log,
        *,
        combos: bool,
        loaded: Awaitable[None],
    ) -> None:
        self._rest = rest
        self._session = session
        self._versions = versions
        self._now_us = now_us
        self._log = log
        self._combos = combos
        self._loaded = loaded
        self._nowhere: set[str] = set()

    async def run(self) -> None:
        """Discover until cancelled: all open markets now and every five minutes, changed ones twice a second.

        A venue that does not answer is asked again; what cannot be read is logged and left for the next round.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rounds())
            tasks.create_task(self._changes())

    async def _rounds(self) -> None:
        """List everything every five minutes, and the markets whenever lifecycle messages may have been missed."""
        clock = asyncio.get_running_loop().time
        next_s = clock()
        heard = 0
        while True:
            complete = clock() >= next_s
            if complete or heard != self._session.lifecycles:
                heard = self._session.lifecycles
                done = await self._tried(self._list(complete=complete))
                next_s = clock() + AGAIN_S if not done else clock() + LIST_EVERY_S if complete else next_s
            await asyncio.sleep(LOOK_EVERY_S)

    async def _changes(self) -> None:
        """Look at the markets of which something was heard; one that cannot be looked at now is not forgotten."""
        while True:
            changed = self._session.changed()
            if changed and not await self._tried(self._look(changed)):
                self._session.look_again(changed)
                await asyncio.sleep(AGAIN_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _tried(self, work: Awaitable[None]) -> bool:
        try:
            await work
        except (FrameError, CollectorError) as error:
            self._log("discovery_failed", error=str(error))
            return False
        return True

    async def _list(self, *, complete: bool) -> None:
        """List the open markets: recording starts with each page, before anything else is asked.

        What was open and is listed no more is asked for by name: its end may have been told while nobody heard. A
        complete listing goes through the events too.
        """
        found: dict[str, MarketDoc] = {}
        async for page in self._rest.open_markets(combos=self._combos):
            self._record(page)
            found |= {doc.ticker: doc for doc in page}
        self._log("markets_listed", markets=len(found))
        if complete:
            self._nowhere.clear()
            async for events in self._rest.open_events():
                for event in events:
                    await self._learn_event(event)
        await self._learn(found.values())
        await self._look(sorted(self._versions.unfinished.difference(found)))

    async def _look(self, tickers: list[str]) -> None:
        """Look markets up by name; one that the venue does not know any more is not looked for again."""
        found = await self._rest.markets(tickers)
        self._record(found)
        await self._learn(found)
        self._versions.unfinished.difference_update(set(tickers).difference(doc.ticker for doc in found))

    def _record(self, markets: list[MarketDoc]) -> None:
        for doc in markets:
            if doc.status in FINISHED:
                self._session.finish_market(doc.ticker)
            else:
                self._session.list_market(doc.ticker, doc.open_us, doc.close_us)

    async def _learn(self, markets: Iterable[MarketDoc]) -> None:
        """Keep new versions of markets, and of the events and series not seen yet."""
        await self._loaded
        for number, doc in enumerate(markets):
            if number % LEARN_A_TURN == 0:
                await asyncio.sleep(0)  # frames come first
            if not self._versions.knows("events", doc.event_ticker) and doc.event_ticker not in self._nowhere:
                event = await self._rest.event(doc.event_ticker)
                if event is not None:
                    await self._learn_event(event)
                else:
                    self._nowhere.add(doc.event_ticker)
            row = self._versions.market(doc, self._now_us())
            if row is not None:
                self._session.metadata["markets"].add(**row)

    async def _learn_event(self, event: EventDoc) -> None:
        await self._loaded
        row = self._versions.event(event, self._now_us())
        if row is not None:
            self._session.metadata["events"].add(**row)
        ticker = event.series_ticker
        if ticker and not self._versions.knows("series", ticker) and ticker not in self._nowhere:
            series = await self._rest.series(ticker)
            found = self._versions.series(series, self._now_us()) if series is not None else None
            if found is not None:
                self._session.metadata["series"].add(**found)
            if series is None:
                self._nowhere.add(ticker)
