"""Whether the venue is up: asked every half minute, soon after a connection has ended, and by its schedule.

Owns the poller and what counts as a pause. Every Thursday from 03:00 to 05:00 in New York is one, whatever the schedule
says. What a pause means for the record is the session's.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from book.errors import CollectorError, FrameError
from book.wire.answers import ExchangeState, Window
from collector.limits import VenueStatus
from collector.session import Session
from collector.venue_rest import VenueRest

STATE_EVERY_S = 30.0
SOONEST_S = 2.0
"""How long the venue is left alone at least between two questions about its state."""
SCHEDULE_EVERY_S = 3600.0
LOOK_EVERY_S = 0.25
STALE_S = 300.0
"""An answer that is older says nothing any more."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_THURSDAY = 3
_PAUSE_HOURS = range(3, 5)

Log = Callable[..., None]


def status_at(now_us: int, zone: ZoneInfo | None, state: ExchangeState | None, windows: list[Window]) -> VenueStatus:
    """Return the venue's status at a time shown, in microseconds, by what it said last; ``zone`` is New York's."""
    down = state is not None and not (state.exchange_active and state.trading_active)
    planned = any(window.start_us <= now_us < window.end_us for window in windows)
    weekly = zone is not None and is_weekly_pause(now_us, zone)
    return VenueStatus(down or planned or weekly, state.halted if state is not None and not down else frozenset())


def is_weekly_pause(now_us: int, zone: ZoneInfo) -> bool:
    """Say whether the weekly maintenance is on: Thursday 03:00 to 05:00 by the clocks of ``zone``."""
    there = (_EPOCH + timedelta(microseconds=now_us)).astimezone(zone)
    return there.weekday() == _THURSDAY and there.hour in _PAUSE_HOURS


class StatusPoller:
    """Tell a session the venue's status; ``now_us`` reads the clock shown, ``log`` takes (event, fields)."""

    def __init__(self, rest: VenueRest, session: Session, now_us: Callable[[], int], log: Log) -> None:
        self._rest = rest
        self._session = session
        self._now_us = now_us
        self._log = log
        self._state: ExchangeState | None = None
        self._windows: list[Window] = []
        self._told = VenueStatus()
        self._answered_s = float("-inf")
        try:
            self._zone: ZoneInfo | None = ZoneInfo("America/New_York")
        except ZoneInfoNotFoundError:
            self._zone = None
            log("time_zone_unknown", zone="America/New_York")

    async def run(self) -> None:
        """Poll until cancelled. A venue that does not answer leaves the status as it was, for five minutes."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._follow_schedule())

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        asked_s = float("-inf")
        links: set[int] = set()
        ended = False
        while True:
            now_s, standing = clock(), set(self._session.links)
            ended = ended or not links <= standing
            links = standing
            if now_s - asked_s >= (SOONEST_S if ended else STATE_EVERY_S):
                asked_s, ended = now_s, False
                await self._ask(clock)
            if clock() - self._answered_s > STALE_S:
                self._state = None
            self._tell()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _ask(self, clock: Callable[[], float]) -> None:
        try:
            state = await self._rest.exchange_state()
        except CollectorError as error:
            self._log("venue_state_unknown", error=str(error))
            return
        if state is not None:
            self._state, self._answered_s = state, clock()

    async def _follow_schedule(self) -> None:
        while True:
            try:
                self._windows = await self._rest.maintenance()
            except (CollectorError, FrameError) as error:
                self._log("venue_schedule_unknown", error=str(error))
            await asyncio.sleep(SCHEDULE_EVERY_S)

    def _tell(self) -> None:
        status = status_at(self._now_us(), self._zone, self._state, self._windows)
        if status != self._told:
            self._told = status
            self._session.venue(status)
            resume_us = self._state.resume_us if self._state else None
            self._log("venue_status", paused=status.paused, halted=sorted(status.halted), resume_us=resume_us)
