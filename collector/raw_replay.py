"""Frames of the archive taken in once more, by the reader and the session of now: the rows of an hour.

Owns what each entry does. Sends nothing and decides nothing by time or chance: what was decided then is told by the
archive.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from book.records import Reason
from book.wire.commands import decode_command
from collector.clock import Stamper
from collector.conns import ConnNumbers
from collector.limits import Limits
from collector.links import Item, Link, Role, Slot
from collector.raw import mark_of
from collector.raw_state import dump, new_asks, restore
from collector.session import Session
from collector.taken import Taken
from lake.journal.flush import ConnMark
from lake.raw.entries import Entry, Turn
from lake.raw.hours import SESSION

TAKE_EVERY = 1 << 20
"""Frames after which rows are handed on."""

State = tuple[Mapping[str, Any], Sequence[pa.Table]]


class Crash(NamedTuple):
    """What the next process found of one that was killed: the last flush, and the conns that were up at it."""

    flush: int
    conns: Mapping[int, ConnMark]


class Replay:
    """Take the entries of one process in one hour in; ``state`` is the session's at its beginning."""

    def __init__(self, shard: int, state: State) -> None:
        limits = Limits(silence_s=state[0]["silence_s"])
        self._session = Session(Stamper(0, 0), ConnNumbers(shard), random.Random(0), limits)
        restore(self._session, *state)
        self._turns: list[tuple[int, Turn]] = []
        self._frames = 0
        self._at_us = 0

    def state(self) -> State:
        """Return the session's state, for the hour after."""
        return dump(self._session)

    def marks(self) -> dict[int, ConnMark]:
        """Return the mark of every living conn."""
        conns = (conn for link in self._session.links.values() for conn in link.conns.values() if conn.up)
        return {conn.id: ConnMark(conn.frame_us, conn.tracker.last, 1, conn.apart) for conn in conns}

    def play(self, entries: Iterable[Entry]) -> Iterator[Taken]:
        """Take entries in, in order; yield what comes of them in parts. Raises KeyError where one is of no known form.

        Cost: that of recording, without the socket.
        """
        for entry in entries:
            if isinstance(entry.body, Turn):
                self._turn(entry.link, entry.body)
            elif isinstance(entry.body, dict) and entry.body.get("at") == "forgotten":
                yield self._take()  # no row may wait of what is forgotten
                self._forget(entry.body["tickers"])
            elif isinstance(entry.body, dict):
                self._event(entry.link, entry.body)
            if self._frames >= TAKE_EVERY or self._conn_forgotten(entry):
                yield self._take()
        yield self._take()

    def crash(self, crash: Crash) -> Taken:
        """Return the closes of what was open when the process was killed, as its successor wrote them."""
        spans = self._session.spans
        for link in self._session.links.values():
            for conn in link.conns.values():
                mark = crash.conns.get(conn.id)
                if mark is not None and conn.up:
                    spans.end_conn(conn, mark.last_frame_us, mark.last_frame_us + 1, mark.last_seq, Reason.CRASH)
                    conn.up = False
                    self._session.intake.ended.append(conn)
        return self._take()

    def _conn_forgotten(self, entry: Entry) -> bool:
        """Say whether the recording forgot a conn here: with the flush after its end."""
        flushed = isinstance(entry.body, dict) and entry.body.get("at") == "flush"
        return flushed and bool(self._session.intake.ended)

    def _take(self) -> Taken:
        self._frames = 0
        return self._session.take()._replace(at_us=self._at_us)

    def _turn(self, link_id: int, turn: Turn) -> None:
        self._turns.append((link_id, turn))
        if turn.following:
            return
        turns, self._turns = self._turns, []
        items: list[Item] = [(0, 0, b"")] * sum(len(one.items) for _, one in turns)
        mono_ns, stamps = np.zeros((2, len(items)), np.int64)
        for link, one in turns:
            # The readings between the first and the last say nothing: a part holds no silence.
            mono_ns[one.places] = one.last_ns
            mono_ns[one.places[0]] = one.first_ns
            stamps[one.places] = one.stamps
            for place, item in zip(one.places.tolist(), one.items, strict=True):
                items[place] = (link, int(mono_ns[place]), mark_of(item))
        self._session.part(items, mono_ns, stamps)
        self._frames += len(items)
        self._at_us = int(stamps[-1])

    def _event(self, link_id: int, event: Mapping[str, Any]) -> None:
        if event["at"] in {"state", "flush"}:
            return
        if event["at"] == "opened":
            slot = Slot(event["number"], Role(event["role"]))
            link = Link(link_id, event["port"], new_asks(), event["ns"], event["us"], slot=slot)
            self._session.links[link_id] = link
        elif link_id == SESSION:
            self._of_session(event)
        else:
            self._of_link(self._session.links[link_id], event)

    def _forget(self, tickers: Iterable[str]) -> None:
        """Forget markets, but for those whose books this reader knows."""
        spans = self._session.spans
        known = [ticker for ticker in tickers if ticker in spans.numbers]
        spans.forget([ticker for ticker in known if not spans.state[spans.numbers[ticker]]["live"]])

    def _of_link(self, link: Link, event: Mapping[str, Any]) -> None:
        match event["at"]:
            case "ended":
                self._session.end_link(link, Reason(event["reason"]), event["us"])
                self._at_us = event["us"]
            case "sent":
                link.asks.told(decode_command(event["command"]), event["ns"])
            case "expired":
                if event["command"] in link.asks.sent:  # else this reader has found its answer
                    link.asks.expire(event["command"], link.heard_ns)
            case "wanted":
                link.asks.want(event["tickers"])
            case "dropped":
                for ticker in event["tickers"]:
                    link.asks.drop(ticker)
            case other:
                raise KeyError(other)

    def _of_session(self, event: Mapping[str, Any]) -> None:
        spans = self._session.spans
        match event["at"]:
            case "stepped":
                spans.clock_step(event["us"])
                spans.given_up.clear()
            case "timed":
                spans.want(event["ticker"], event["us"])
            case "over":
                spans.determined(spans.market(event["ticker"]), event["us"])
            case other:
                raise KeyError(other)


def until_flush(entries: Iterable[Entry], flush: int, *, ended: bool) -> Iterator[Entry]:
    """Yield entries up to the last that a flush acknowledged; what came after it was never in the log.

    What follows the last flush of an hour that its process ``ended`` was acknowledged with the next hour's first.
    """
    waiting: list[Entry] = []
    for entry in entries:
        waiting.append(entry)
        if isinstance(entry.body, dict) and entry.body.get("at") == "flush":
            if entry.body["n"] > flush:
                return
            yield from waiting
            waiting = []
    if ended:
        yield from waiting
