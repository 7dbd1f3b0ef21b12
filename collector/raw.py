"""The tap: what the session takes in and what is decided outside the frames, as entries of the archive of raw frames.

Owns what is noted, in which order and in which hour. Never changes what it sees, and writes nothing
(collector.raw_archive does).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from book.records import HOUR_US, Reason
from book.wire.commands import Command, encode_command
from collector.links import Ended, Item, Mark, Payload
from lake.raw import entries
from lake.raw.entries import Turn
from lake.raw.hours import SESSION

BLOCK_BYTES = 1 << 20
"""A block is begun anew from here on."""

Ints = npt.NDArray[np.int64]
Dump = Callable[[], tuple[dict[str, Any], list[pa.Table]]]
"""Gives the session's state: an event's fields and tables (collector.raw_state)."""


class Part(NamedTuple):
    """Entries of one link and hour: a block to be written; its stamps in microseconds, 0 where it has none."""

    hour: int
    link: int
    plain: bytes
    first_us: int
    last_us: int


class Batch(NamedTuple):
    """What is to be written in one go; ``ended`` are the hours that nothing follows of."""

    parts: list[Part]
    ended: list[int]


class _Buffer:
    """A link's entries that are not handed over yet."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.first_us = self.last_us = 0


class Tap:
    """Note what one process's session takes in. Its calls are made in the session's own order, before the effect.

    ``start_us`` is the first stamp of the process, ``start`` what it found: see docs/format.md. Hours begin with the
    session's state, as ``dump`` gives it, so that each can be read without those before it.
    """

    def __init__(self, dump: Dump, start_us: int, start: dict[str, Any]) -> None:
        self.start_us = start_us
        self._dump = dump
        self._number = 0
        self._flush = int(start["flush"]) + bool(start["crashed"])
        self._hour = -1
        self._links: set[int] = set()
        self._buffers: dict[int, _Buffer] = {}
        self._parts: list[Part] = []
        self._ended: list[int] = []
        self._begin(start_us // HOUR_US, start)

    def opened(self, link_id: int, **fields: Any) -> None:
        """Note a connection that stands."""
        self._event("opened", link_id, **fields)

    def part(self, items: Sequence[Item], mono_ns: Ints, stamps: Ints) -> None:
        """Note what arrived, of any links, in order and without a silence; no Ended is among it."""
        self._at(int(stamps[0]))
        of = np.array([item[0] for item in items], np.int64)
        links = list(dict.fromkeys(of.tolist()))
        for following, link_id in zip(range(len(links) - 1, -1, -1), links, strict=True):
            places = np.flatnonzero(of == link_id)
            payloads = [_told(items[place][2]) for place in places.tolist()]
            first_ns, last_ns = int(mono_ns[places[0]]), int(mono_ns[places[-1]])
            turn = Turn(first_ns, last_ns, following, places, stamps[places], payloads)
            self._put(link_id, entries.encode_turn(self._next(), turn), int(turn.stamps[0]), int(turn.stamps[-1]))

    def ended(self, link_id: int, reason: Reason, ts_us: int) -> None:
        """Note the end of a link, with the reason that its spans are closed with."""
        self._at(ts_us)
        self._event("ended", link_id, reason=reason.value, us=ts_us)

    def sent(self, link_id: int, command: Command, now_ns: int) -> None:
        """Note a command: what the venue answers refers to it."""
        self._event("sent", link_id, command=encode_command(command).decode(), ns=now_ns)

    def expired(self, link_id: int, command_id: int) -> None:
        """Note that a command was given up."""
        self._event("expired", link_id, command=command_id)

    def wanted(self, link_id: int, tickers: Iterable[str]) -> None:
        """Note markets whose books are wanted on a link from now on."""
        self._event("wanted", link_id, tickers=list(tickers))

    def dropped(self, link_id: int, tickers: Iterable[str]) -> None:
        """Note markets that are wanted on a link no longer."""
        self._event("dropped", link_id, tickers=list(tickers))

    def stepped(self, last_us: int) -> None:
        """Note that the clock stepped after a stamp."""
        self._at(last_us + 1)
        self._event("stepped", SESSION, us=last_us)

    def timed(self, ticker: str, close_us: int) -> None:
        """Note when a market is to close, as the listing says."""
        self._event("timed", SESSION, ticker=ticker, us=close_us)

    def over(self, ticker: str, ts_us: int) -> None:
        """Note that a market was found to be over without a message that says so."""
        self._at(ts_us)
        self._event("over", SESSION, ticker=ticker, us=ts_us)

    def forgotten(self, tickers: Iterable[str]) -> None:
        """Note markets that are over and whose numbers others get."""
        self._event("forgotten", SESSION, tickers=list(tickers))

    def begun(self) -> Batch:
        """Take how the process began: to be written before the journal is."""
        self._spill()
        parts, self._parts = self._parts, []
        return Batch(parts, [])

    def take(self, hour: int, flush: int, *, stopping: bool = False) -> Batch:
        """Take what was noted since the last call: flush ``flush``, of this hour, will acknowledge what came of it.

        With ``stopping`` it is the last one.
        """
        self._at(hour * HOUR_US)
        self._event("flush", SESSION, n=flush)
        self._flush = flush
        if stopping:
            self._end()
        self._spill()
        batch = Batch(self._parts, self._ended)
        self._parts, self._ended = [], []
        return batch

    def _at(self, ts_us: int) -> None:
        if ts_us // HOUR_US > self._hour:
            self._end()
            self._begin(ts_us // HOUR_US, None)

    def _begin(self, hour: int, start: dict[str, Any] | None) -> None:
        self._hour = hour
        self._links = {SESSION}
        state, tables = self._dump()
        self._event("state", SESSION, hour=hour, start=start, flush=self._flush, **state)
        for table in tables:
            self._put(SESSION, entries.encode_table(self._next(), table), 0, 0)

    def _end(self) -> None:
        self._event("end", SESSION, links=sorted(self._links))
        self._spill()
        self._ended.append(self._hour)

    def _event(self, name: str, link: int, **fields: Any) -> None:
        self._put(link, entries.encode_event(self._next(), {"at": name, **fields}), 0, 0)

    def _next(self) -> int:
        self._number += 1
        return self._number - 1

    def _put(self, link: int, data: bytes, first_us: int, last_us: int) -> None:
        buffer = self._buffers.get(link)
        if buffer is None:
            buffer = self._buffers[link] = _Buffer()
            self._links.add(link)
        buffer.parts.append(data)
        buffer.size += len(data)
        buffer.first_us = buffer.first_us or first_us
        buffer.last_us = last_us or buffer.last_us
        if buffer.size >= BLOCK_BYTES:
            self._close(link)

    def _close(self, link: int) -> None:
        buffer = self._buffers.pop(link)
        plain = b"".join(buffer.parts)
        self._parts.append(Part(self._hour, link, plain, buffer.first_us, buffer.last_us))

    def _spill(self) -> None:
        for link in list(self._buffers):
            self._close(link)


def _told(payload: Payload) -> bytes | str:
    """Return what arrived as the archive has it."""
    if isinstance(payload, Ended):
        raise TypeError("the end of a link is no part")
    return payload if isinstance(payload, bytes) else payload.value


def mark_of(item: bytes | str) -> bytes | Mark:
    """Return an item of the archive as a link's queue had it."""
    return item if isinstance(item, bytes) else Mark(item)
