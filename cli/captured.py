"""A capture read as what was received: which markets it holds and from when to when, and its frames in order.

Owns the reading of a capture for an import, and the judgement of where its recorder missed something. Decides nothing
about hours.

A file (``**/*.ndjson`` or ``.ndjson.gz``, lines ``{"recv_ms":..,"event":{frame}}``) is taken for the record of its
markets' subscriptions from its first line to its last. Recorded numbers (sid, seq) are not kept, since a file may be
cut to a few markets, but they are read: a number that goes back is a subscription begun anew; a hole is a loss where
the file's numbers follow each other but for one in a hundred, and else what was cut away.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from book.records import HOUR_US, Reason
from cli.capture_lines import SNAPSHOT, Read, is_empty_book, lines
from exchange.capture import capture_files
from exchange.errors import SourceError

DELTA, TRADE = "orderbook_delta", "trade"
BOOKS = frozenset({SNAPSHOT, DELTA})
LIVES = frozenset({"market_lifecycle_v2", "multivariate_market_lifecycle", "event_lifecycle", "event_fee_update"})
ENDINGS = frozenset({"unsubscribed", "error"})
_TERMINAL = frozenset({10, 25})
_HOLES_A_LINE = 100


class Frame(NamedTuple):
    """A frame to be recorded: when it was received (us), the venue's type, its body as recorded."""

    at_us: int
    kind: str
    body: bytes


class Cut(NamedTuple):
    """Markets whose books were known up to before ``at_us`` and no longer, and why."""

    at_us: int
    tickers: tuple[str, ...]
    reason: Reason


Happening = Frame | Cut


@dataclass
class _Part:
    """A market's book in one file: first and last frame, and the first one's kind and numbers."""

    first_us: int
    last_us: int
    kind: str
    sid: int | None
    seq: int | None
    empty_us: int | None = None
    """Since when nothing but empty books came, up to the end."""


@dataclass
class _File:
    """A file as surveyed; ``ends`` are the markets whose books are no longer known after its last line."""

    path: Path
    last_us: int = 0
    lines: Counter[int] = field(default_factory=Counter)
    holes: Counter[int] = field(default_factory=Counter)
    last: dict[int, int] = field(default_factory=dict)
    parts: dict[str, _Part] = field(default_factory=dict)
    ends: set[str] = field(default_factory=set)

    def is_whole(self, sid: int) -> bool:
        """Say whether holes in a subscription's numbers are losses."""
        return self.holes[sid] * _HOLES_A_LINE <= self.lines[sid]


class Captured:
    """A capture folder, surveyed. ``tickers`` are the markets to take, all where empty.

    A folder named for one of the ``markets`` holds that market alone, and is not read where that is not to be taken.
    Raises SourceError for a folder without frames, a line that cannot be read, a market that is not there, and one
    whose book stands in two files at once. Cost: every file is read once here and once in ``happenings``.
    """

    def __init__(self, folder: Path, tickers: Collection[str] = (), markets: Collection[str] = ()) -> None:
        self._wanted = frozenset(tickers)
        others = frozenset(markets) - self._wanted if tickers else frozenset()
        self.first_us: dict[str, int] = {}
        """When each market's first frame was received."""
        self.closed_us: dict[str, int] = {}
        """Of markets whose frames end with empty books: when the first of those came."""
        self.hours: set[int] = set()
        """The hours in which frames were received."""
        self.frames = 0
        self.left_out: Counter[str] = Counter()
        """Lines that ``happenings`` left out, by what they were."""
        self._files = [self._survey(path) for path in capture_files(folder) if path.parent.name not in others]
        if not self.first_us and not self._wanted:
            raise SourceError(str(folder), "there is no frame of a market in it")
        for ticker in sorted(self._wanted - self.first_us.keys()):
            raise SourceError(str(folder), f"it has no frame of {ticker}")
        for ticker in self.first_us:
            self._link(ticker)

    def happenings(self) -> Iterator[Happening]:
        """Yield frames in the order of their times, and where books ceased to be known."""
        self.left_out.clear()
        files = [self._of_file(file, number) for number, file in enumerate(self._files)]
        return (row[3] for row in heapq.merge(*files, key=lambda row: row[:3]))

    def _takes(self, ticker: str | None) -> bool:
        return ticker is None or not self._wanted or ticker in self._wanted

    def _survey(self, path: Path) -> _File:
        file = _File(path)
        for line in lines(path):
            file.last_us = line.at_us
            if line.sid is not None and line.seq is not None:
                file.lines[line.sid] += 1
                file.holes[line.sid] += line.seq > file.last.get(line.sid, line.seq) + 1
                file.last[line.sid] = line.seq
            if line.ticker is None or not self._takes(line.ticker):
                continue
            self.frames += 1
            self.hours.add(line.at_us // HOUR_US)
            self.first_us[line.ticker] = min(self.first_us.get(line.ticker, line.at_us), line.at_us)
            if line.kind in BOOKS:
                part = file.parts.setdefault(
                    line.ticker, _Part(line.at_us, line.at_us, line.kind or "", line.sid, line.seq)
                )
                part.last_us = line.at_us
                part.empty_us = (part.empty_us or line.at_us) if is_empty_book(line) else None
        return file

    def _link(self, ticker: str) -> None:
        """Put a market's files in order and note where one does not go on with what the one before it held."""
        files = sorted((one for one in self._files if ticker in one.parts), key=lambda one: one.parts[ticker].first_us)
        for before, after in pairwise(files):
            part = after.parts[ticker]
            if part.first_us < before.parts[ticker].last_us:
                raise SourceError(str(after.path), f"the book of {ticker} stands in {before.path} at the same time")
            last = before.last.get(part.sid) if part.sid is not None else None
            if part.kind != DELTA or part.seq is None or last is None or part.seq <= last:
                before.ends.add(ticker)
        if files:
            files[-1].ends.add(ticker)
            empty_us = files[-1].parts[ticker].empty_us
            if empty_us is not None:
                self.closed_us[ticker] = empty_us

    def _of_file(self, file: _File, number: int) -> Iterator[tuple[int, int, int, Happening]]:
        """Yield a file's happenings with what they are merged by: time, file, place."""
        place = 0
        heard_us = 0
        known = _Known(file)
        for line in lines(file.path):
            cut = known.judge(line, heard_us)
            if cut is not None and cut.tickers:
                yield cut.at_us, number, place, cut._replace(at_us=min(heard_us + 1, line.at_us))
            place += 1
            heard_us = line.at_us
            why = self._why_not(line, known)
            if why is not None:
                self.left_out[why] += 1
                continue
            if line.kind in BOOKS and line.ticker is not None:
                known.take(line.sid, line.ticker)
            yield line.at_us, number, place, Frame(line.at_us, line.kind or "", line.body)
        if file.ends:
            cut = Cut(file.last_us + 1, tuple(sorted(file.ends)), Reason.SHUTDOWN)
            yield file.last_us, number, place + 1, cut

    def _why_not(self, line: Read, known: "_Known") -> str | None:
        if line.kind not in BOOKS and line.kind != TRADE and line.kind not in LIVES:
            return line.kind or "unreadable"
        if line.kind in BOOKS and line.ticker is None:
            return "unreadable"
        if self._wanted and (line.ticker is None or line.ticker not in self._wanted):
            return "of another market"
        return "received twice" if known.repeated else None


class _Known:
    """What a file's lines so far say of its subscriptions."""

    def __init__(self, file: _File) -> None:
        self._file = file
        self._last: dict[int, int] = {}
        self._tickers: dict[int | None, set[str]] = {}
        self.repeated = False
        """Whether the line last judged has the number of the one before it."""

    def take(self, sid: int | None, ticker: str) -> None:
        """Note that a book is known through a subscription."""
        self._tickers.setdefault(sid, set()).add(ticker)

    def judge(self, line: Read, heard_us: int) -> Cut | None:
        """Say which books a line shows to be unknown since the line before it."""
        reason: Reason | None = None
        self.repeated = False
        if line.kind is None:  # it may have been of any of them
            tickers = tuple(sorted({name for names in self._tickers.values() for name in names}))
            self._tickers.clear()
            return Cut(heard_us, tickers, Reason.UNREPRESENTABLE)
        if line.kind in BOOKS and line.ticker is None:
            reason = Reason.UNREPRESENTABLE
        if line.kind in ENDINGS and (line.kind != "error" or line.code in _TERMINAL):
            reason = Reason.CHANNEL_ERROR
        if line.sid is not None and line.seq is not None:
            last = self._last.get(line.sid)
            if last is not None:
                self.repeated = line.seq == last
                if line.seq < last:
                    reason = reason or Reason.DISCONNECT
                elif line.seq > last + 1 and self._file.is_whole(line.sid):
                    reason = reason or Reason.SEQ_GAP
            self._last[line.sid] = line.seq
        if reason is None:
            return None
        return Cut(heard_us, tuple(sorted(self._tickers.pop(line.sid, ()))), reason)
