"""A recording as a source: files of received frames, merged by time, with the markets' own metadata around them.

Owns the reading of a capture folder: ``**/*.ndjson`` or ``.ndjson.gz`` with lines ``{"recv_ms":..,"event":{frame}}``,
one market's frames or many, and ``metadata/*.json`` as answered by ``GET /events/{ticker}``. Recorded numbers (sid,
seq) are dropped; content and times are kept.
"""

import gzip
import heapq
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from book.errors import FrameError
from book.wire import lifecycle
from book.wire.decode import decode
from book.wire.messages import Delta, Lifecycle, Message, Snapshot, Trade
from book.wire.rest import EventDoc, MarketDoc, SeriesDoc, decode_event, decode_market, parse_document
from exchange.errors import SourceError
from exchange.steps import BookSet, Changed, Listed, Milestone, Step, Traded
from exchange.timeline import Timeline

_log = logging.getLogger(__name__)
_UNSETTLED = {"status": "active", "result": "", "settlement_value_e4": None, "settlement_us": None}
_ONE_DOLLAR_E4 = 10_000


class _Line(msgspec.Struct, gc=False):
    recv_ms: int
    event: msgspec.Raw


class _Market(NamedTuple):
    """What the capture says of a market: when its first frame came, its id, its final documents."""

    first_us: int
    market_id: str
    doc: MarketDoc
    event: EventDoc
    has_metadata: bool


class Capture:
    """A capture folder. ``tickers`` are the markets to play, all where empty.

    Raises SourceError for a folder without frames, a file that cannot be read, a market that is not there.
    """

    def __init__(self, folder: Path, tickers: tuple[str, ...] = ()) -> None:
        metadata = capture_metadata(folder)
        self._wanted = frozenset(tickers)
        self._files = [path for path in capture_files(folder) if self._may_hold_wanted(path, metadata)]
        if not self._files:
            raise SourceError(str(folder), "there is no *.ndjson or *.ndjson.gz to be played in it")
        self._markets = self._survey(metadata)
        for ticker in sorted(self._wanted - self._markets.keys()):
            raise SourceError(str(folder), f"it has no frame of {ticker}")
        self.skipped = 0
        """Lines left out: of markets not asked for, of kinds that are derived here, or not to be read."""

    @property
    def first_us(self) -> int:
        """When the first frame was received."""
        return min(market.first_us for market in self._markets.values())

    def steps(self, timeline: Timeline) -> Iterator[Step]:
        """Yield everything that happens, in order of the clock's time: listings, frames, closes, results."""
        frames = [self._frames(path, number, timeline) for number, path in enumerate(self._files)]
        plan = ((step.at_us, -1, number, step) for number, step in enumerate(self._plan(timeline)))
        return (row[3] for row in heapq.merge(plan, *frames))

    def _survey(self, metadata: dict[str, tuple[MarketDoc, EventDoc]]) -> dict[str, _Market]:
        """Find each market's first frame and id. Cost: files of one market are read to their first frame only."""
        found: dict[str, _Market] = {}
        for path in self._files:
            is_of_one = path.parent.name in metadata
            for recv_ms, message in _messages(path):
                ticker = getattr(message, "ticker", None)
                if ticker is None or (self._wanted and ticker not in self._wanted):
                    continue
                market_id = getattr(message, "market_id", "")
                known = found.get(ticker)
                if known is None or recv_ms * 1000 < known.first_us or (market_id and not known.market_id):
                    doc, event = metadata.get(ticker) or _unknown(ticker)
                    first_us = min(recv_ms * 1000, known.first_us if known else recv_ms * 1000)
                    found[ticker] = _Market(first_us, market_id, doc, event, ticker in metadata)
                if is_of_one and found[ticker].market_id:
                    break
        return found

    def _plan(self, timeline: Timeline) -> list[Step]:
        """Return what the metadata says will happen, in order."""
        steps: list[Step] = []
        for ticker, market in self._markets.items():
            doc = _moved(market.doc, timeline)
            first_us = timeline.at(market.first_us)
            listed_us = min(first_us, doc.open_us if doc.open_us is not None else first_us)
            event = msgspec.structs.replace(market.event, strike_us=timeline.maybe(market.event.strike_us))
            steps.append(
                Listed(
                    at_us=listed_us,
                    market=msgspec.structs.replace(doc, updated_us=listed_us, **_UNSETTLED),
                    event=event,
                    series=SeriesDoc(ticker=event.series_ticker, title=event.title, category=event.category),
                    market_id=market.market_id,
                )
            )
            if market.has_metadata:
                steps.extend(_ending(ticker, doc))
        return sorted(steps, key=lambda step: step.at_us)

    def _frames(self, path: Path, number: int, timeline: Timeline) -> Iterator[tuple[int, int, int, Step]]:
        """Yield a file's steps with what they are merged by: time, file, line."""
        for line, (recv_ms, message) in enumerate(_messages(path)):
            step = self._step(timeline.at(recv_ms * 1000), message, timeline)
            if step is None:
                self.skipped += 1
            else:
                yield step.at_us, number, line, step

    def _may_hold_wanted(self, path: Path, metadata: dict[str, tuple[MarketDoc, EventDoc]]) -> bool:
        """Say whether a file is to be read: a folder named for a market holds that market alone."""
        return not self._wanted or path.parent.name not in metadata or path.parent.name in self._wanted

    def _step(self, at_us: int, message: Message | FrameError, timeline: Timeline) -> Step | None:
        ticker = getattr(message, "ticker", None)
        if ticker is None or ticker not in self._markets:
            return None
        if isinstance(message, Delta):
            ts_us = at_us if message.ts_exch_us is None else timeline.at(message.ts_exch_us)
            return Changed(at_us, ticker, message.side, message.price_e4, message.change_e2, ts_us)
        if isinstance(message, Snapshot):
            return BookSet(at_us, ticker, message.levels)
        if isinstance(message, Trade):
            if message.taker_side is None:
                _log.warning("trade %s of %s is left out: it names no taker", message.trade_id, ticker)
                return None
            ts_us = at_us if message.ts_exch_us is None else timeline.at(message.ts_exch_us)
            return Traded(
                at_us, ticker, message.trade_id, message.yes_price_e4, message.qty_e2, message.taker_side,
                message.block, ts_us,
            )  # fmt: skip
        if isinstance(message, Lifecycle) and not self._markets[ticker].has_metadata:
            return Milestone(at_us, ticker, message=message.fields)
        return None


def capture_files(folder: Path) -> list[Path]:
    """Return the files of a capture folder that hold frames, by name."""
    return sorted(path for path in folder.rglob("*.ndjson*") if path.name.endswith((".ndjson", ".ndjson.gz")))


def _messages(path: Path) -> Iterator[tuple[int, Message | FrameError]]:
    """Yield the time and the message of each line; a frame that cannot be read comes as the error that says why."""
    lines = msgspec.json.Decoder(_Line)
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for number, text in enumerate(file, 1):
            try:
                line = lines.decode(text)
            except msgspec.DecodeError as error:
                raise SourceError(f"{path}:{number}", str(error)) from error
            try:
                yield line.recv_ms, decode(bytes(line.event))
            except FrameError as error:
                _log.warning("%s:%d is left out: %s", path, number, error)
                yield line.recv_ms, error


def capture_metadata(folder: Path) -> dict[str, tuple[MarketDoc, EventDoc]]:
    """Return the markets that a capture folder has documents of, each with its event.

    Raises SourceError for a document that cannot be read.
    """
    found: dict[str, tuple[MarketDoc, EventDoc]] = {}
    for path in sorted((folder / "metadata").glob("*.json")):
        try:
            document: dict[str, Any] = parse_document(path.read_bytes())
            body = document.get("response", document)
            event = decode_event(body["event"])
            for row in body.get("markets") or body["event"].get("markets") or ():
                market = decode_market(row)
                found[market.ticker] = (market, event)
        except (FrameError, KeyError, TypeError) as error:
            raise SourceError(str(path), str(error)) from error
    return found


def _unknown(ticker: str) -> tuple[MarketDoc, EventDoc]:
    """Return documents for a market without metadata: its names are read off its ticker."""
    event_ticker = ticker.rpartition("-")[0] or ticker
    series_ticker = ticker.partition("-")[0]
    market = MarketDoc(
        ticker=ticker, event_ticker=event_ticker, title=ticker, price_level_structure="linear_cent",
        price_ranges=({"start": "0.0000", "end": "1.0000", "step": "0.0100"},),
    )  # fmt: skip
    return market, EventDoc(event_ticker=event_ticker, series_ticker=series_ticker, title=event_ticker)


def _moved(doc: MarketDoc, timeline: Timeline) -> MarketDoc:
    names = ("created_us", "open_us", "close_us", "expected_expiration_us", "latest_expiration_us", "settlement_us")
    moved = {name: timeline.maybe(getattr(doc, name)) for name in names}
    raw = {name: value for name, value in doc.raw.items() if name not in {"expiration_value", "expiration_time"}}
    return msgspec.structs.replace(doc, raw=raw | {"expiration_value": ""}, **moved)


def _ending(ticker: str, doc: MarketDoc) -> Iterator[Milestone]:
    """Yield the close, of which the venue says nothing, and the result."""
    if doc.close_us is not None:
        yield Milestone(doc.close_us, ticker, status="closed")
    if doc.settlement_us is None or not doc.result:
        return
    value_e4 = doc.settlement_value_e4
    if value_e4 is None:
        value_e4 = _ONE_DOLLAR_E4 if doc.result == "yes" else 0
    at_us = doc.settlement_us
    yield Milestone(
        at_us, ticker, status="determined", result=doc.result, settlement_value_e4=value_e4,
        message=lifecycle.determined(ticker, doc.result, value_e4, at_us),
    )  # fmt: skip
    yield Milestone(at_us, ticker, status="finalized", settlement_us=at_us, message=lifecycle.settled(ticker, at_us))
