"""Which markets there are: the venue's listings, what changed since, and lifecycle messages between.

Owns the rounds of listings and look-ups. What is found goes to the session: markets to record, documents to judge.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from book.errors import CollectorError, FrameError
from book.records import HOUR_US
from book.wire.merging import OVER, PAID
from book.wire.rest import EventDoc, MarketDoc, SeriesDoc
from collector.appointments import Appointments
from collector.session import Session
from collector.venue_rest import VenueRest

ALL_EVERY_S = 600.0
CHANGED_EVERY_S = 20.0
LOOK_EVERY_S = 0.5
AGAIN_S = 10.0
LOOKED_AT_ONCE = 500
SERIES_A_ROUND = 50
OVERLAP_US = 60_000_000
"""How far a question about changes reaches back before the last change seen: the venue's documents may come late."""
LONGEST_OUTAGE_US = 7 * 24 * HOUR_US
"""After a longer one, what came and went meanwhile is not asked for."""

Log = Callable[..., None]


class _Found(NamedTuple):
    """What a round of listings has brought."""

    markets: list[MarketDoc]
    events: list[EventDoc]
    series: list[SeriesDoc]


class Discovery:
    """List markets into a session; ``now_us`` reads the clock shown, ``log`` takes (event, fields).

    ``loaded`` ends when it is known which versions the log holds; until then recording starts and nothing else is
    asked. It may be awaited more than once. ``after_round`` is called after each complete round.
    """

    def __init__(
        self,
        rest: VenueRest,
        session: Session,
        now_us: Callable[[], int],
        log: Log,
        *,
        combos: bool,
        loaded: Awaitable[None],
        after_round: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._rest = rest
        self._session = session
        self._metadata = session.metadata
        self._now_us = now_us
        self._log = log
        self._combos = combos
        self._loaded = loaded
        self._after_round = after_round
        self._appointments = Appointments()
        self._since_us: int | None = None
        """Up to when all changes were listed, by the newest document seen; None: nothing was listed yet."""
        self._nowhere: set[str] = set()

    async def run(self) -> None:
        """Discover until cancelled: everything now and every ten minutes, changes three times a minute.

        Markets of which something was heard, and those that have just opened or closed, are looked up twice a second.
        A venue that does not answer is asked again; what cannot be read is logged and left for the next round.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rounds())
            tasks.create_task(self._looks())

    async def _rounds(self) -> None:
        clock = asyncio.get_running_loop().time
        all_s = changed_s = clock()
        heard = 0
        while True:
            now_s = clock()
            missed = heard != self._session.lifecycles
            if not self._metadata.backlog and (now_s >= min(all_s, changed_s) or missed):
                heard = self._session.lifecycles
                complete = now_s >= all_s
                done = await self._tried(self._list_all() if complete else self._list_changed())
                changed_s = clock() + (CHANGED_EVERY_S if done else AGAIN_S)
                if complete:
                    all_s = clock() + (ALL_EVERY_S if done else AGAIN_S)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _looks(self) -> None:
        """Look up what was heard of and what is due; what cannot be looked up now is not forgotten."""
        while True:
            for event, fields in self._metadata.notes:
                self._log(event, **fields)
            self._metadata.notes.clear()
            changed = self._session.changed()
            due = self._appointments.due(self._now_us(), LOOKED_AT_ONCE)
            if (changed or due) and not await self._tried(self._look(sorted({*changed, *due}))):
                self._session.look_again(changed)
                for ticker in due:
                    self._appointments.put_off(ticker, self._now_us())
                await asyncio.sleep(AGAIN_S)
            events = list(self._metadata.events_heard)
            if events and await self._tried(self._look_at_events(events)):
                for ticker in events:
                    self._metadata.events_heard.pop(ticker, None)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _tried(self, work: Awaitable[None]) -> bool:
        try:
            await work
        except (FrameError, CollectorError) as error:
            self._log("discovery_failed", error=str(error))
            return False
        return True

    async def _list_all(self) -> None:
        """List everything that is open: recording starts with each page, before anything else is asked.

        What was open and is listed no more is asked for by name: its end may have been told while nobody heard.
        """
        asked_us = self._now_us()
        markets: list[MarketDoc] = []
        async for page in self._rest.open_markets(combos=self._combos):
            self._record(page, asked_us)
            markets += page
        self._log("markets_listed", markets=len(markets))
        await self._loaded
        if self._since_us is None:
            await self._catch_up()
        self._nowhere.clear()
        events = [event async for page in self._rest.open_events(combos=self._combos) for event in page]
        series = await self._rest.all_series()
        await self._take_all(_Found(markets, events, series), asked_us)
        found = {doc.ticker for doc in markets}
        for ticker in self._metadata.versions.unfinished.difference(found):
            self._appointments.at_once(ticker, asked_us)
        self._metadata.versions.tidy(asked_us)
        if self._after_round is not None:
            await self._after_round()

    async def _catch_up(self) -> None:
        """List what changed while no recorder ran: markets that came and went meanwhile are in no other listing."""
        newest_us, now_us = self._metadata.versions.newest_us, self._now_us()
        if newest_us and now_us - newest_us < LONGEST_OUTAGE_US:
            await self._list_since(newest_us)

    async def _list_changed(self) -> None:
        if self._since_us is not None:
            await self._list_since(self._since_us)

    async def _list_since(self, since_us: int) -> None:
        """List what the venue says has changed since an instant of its clock, whatever its status now."""
        asked_us, since_s = self._now_us(), max(0, since_us - OVERLAP_US) // 1_000_000
        markets: list[MarketDoc] = []
        async for page in self._rest.changed_markets(since_s, combos=self._combos):
            self._record(page, asked_us)
            markets += page
        events = [event async for page in self._rest.changed_events(since_s) for event in page]
        series = await self._rest.all_series(since_s)
        await self._take_all(_Found(markets, events, series), asked_us)

    async def _look(self, tickers: list[str]) -> None:
        """Look markets up by name; one that the venue does not know any more is not looked for again."""
        asked_us = self._now_us()
        markets = await self._rest.markets(tickers)
        self._record(markets, asked_us)
        await self._loaded
        await self._take(_Found(markets, [], []), asked_us)
        for ticker in set(tickers).difference(doc.ticker for doc in markets):
            self._appointments.cancel(ticker)
            self._metadata.versions.forget(ticker)

    async def _look_at_events(self, tickers: list[str]) -> None:
        asked_us = self._now_us()
        await self._take(_Found([], await self._rest.events(tickers), []), asked_us)

    def _record(self, markets: Iterable[MarketDoc], asked_us: int) -> None:
        """Tell the session what to record, and plan when to look again."""
        now_us = self._now_us()
        for doc in markets:
            if self._metadata.versions.is_stale("markets", doc.ticker, asked_us):
                continue  # a message has said more since; it is looked up again for that
            if doc.status in OVER:
                self._session.finish_market(doc.ticker)
            else:
                self._session.list_market(doc.ticker, doc.open_us, doc.close_us, doc.exchange_index)
            self._plan(doc, now_us)

    def _plan(self, doc: MarketDoc, now_us: int) -> None:
        if doc.status in PAID:
            self._appointments.cancel(doc.ticker)
        elif doc.open_us is not None and doc.open_us > now_us:
            self._appointments.expect(doc.ticker, doc.open_us)
        elif doc.close_us is not None and doc.close_us > now_us and doc.status not in OVER:
            self._appointments.expect(doc.ticker, doc.close_us)
        elif doc.ticker not in self._appointments:
            self._appointments.put_off(doc.ticker, now_us)

    async def _take_all(self, found: _Found, asked_us: int) -> None:
        """Take a whole listing: the next question about changes goes on from its newest document."""
        await self._take(found, asked_us)
        stamps = [doc.updated_us for doc in found.markets]
        stamps += [doc.updated_us for doc in found.events] + [doc.updated_us for doc in found.series]
        newest_us = max((stamp for stamp in stamps if stamp is not None), default=asked_us)
        self._since_us = max(self._since_us or 0, min(newest_us, asked_us))

    async def _take(self, found: _Found, asked_us: int) -> None:
        """Hand documents on to be judged, series and events first: a market's version names them.

        Events and series that nobody listed are asked for by name, once a round.
        """
        versions = self._metadata.versions
        named = {doc.event_ticker for doc in found.events}
        wanted = {doc.event_ticker for doc in found.markets if not versions.knows("events", doc.event_ticker)}
        wanted -= named | self._nowhere
        events = found.events + (await self._rest.events(sorted(wanted)) if wanted else [])
        self._nowhere |= wanted.difference(doc.event_ticker for doc in events)
        series = found.series + await self._unlisted_series(events, {doc.ticker for doc in found.series})
        self._metadata.learn(series, asked_us)
        self._metadata.learn(events, asked_us)
        self._metadata.learn(found.markets, asked_us)

    async def _unlisted_series(self, events: Iterable[EventDoc], named: set[str]) -> list[SeriesDoc]:
        wanted = {doc.series_ticker for doc in events if not self._metadata.versions.knows("series", doc.series_ticker)}
        wanted -= named | self._nowhere | {""}
        found: list[SeriesDoc] = []
        for ticker in sorted(wanted)[:SERIES_A_ROUND]:
            series = await self._rest.series(ticker)
            if series is None:
                self._nowhere.add(ticker)
            else:
                found.append(series)
        return found
