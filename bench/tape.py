"""What the venue says in a bench, made beforehand: the first books, then a stream of messages.

Owns both data sets: generated markets, and the recorded frames where they are there. Message bodies are kept without
their envelope, so that whoever sends them numbers them.
"""

import gzip
import heapq
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from book.ladder import Book
from book.records import HOUR_US, Level
from book.wire import encode, lifecycle
from book.wire.decode import decode
from book.wire.messages import Delta, Snapshot, Trade
from exchange.generated import Generated
from exchange.steps import Changed, Listed, Traded

DELTA, SNAPSHOT, TRADE, LIFECYCLE = range(4)
FRAME_TYPES = ("orderbook_delta", "orderbook_snapshot", "trade", "market_lifecycle_v2")
BOOK_SID, TRADE_SID, LIFECYCLE_SID = 1, 2, 3
SIDS = (BOOK_SID, BOOK_SID, TRADE_SID, LIFECYCLE_SID)
LIFECYCLE_EVERY = 1000
"""One generated message in so many is about a market's life."""
MESSAGES_PER_S = 628
"""Mean rate of the venue's subscription as recorded; gives the generated times their spacing."""
_START_US = 1_780_000_000_000_000 // (24 * HOUR_US) * (24 * HOUR_US) + HOUR_US


class Tape(msgspec.Struct):
    """A data set.

    ``books`` maps each market to its first book, in the order of subscription; ``kinds`` (a byte a message), ``bodies``
    and ``times_us`` (when it was sent, ascending) are what follows; ``last`` maps each market to its book at the end.
    """

    name: str
    books: dict[str, list[Level]]
    kinds: bytes
    bodies: list[bytes]
    times_us: list[int]
    last: dict[str, list[Level]]

    def count(self, kind: int) -> int:
        """Return how many messages of a kind the stream holds."""
        return self.kinds.count(kind)

    def save(self, path: Path) -> None:
        """Write the tape to a file."""
        path.write_bytes(msgspec.msgpack.encode(self))


def load(path: Path) -> Tape:
    """Return the tape of a file."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Tape)


def frames(tape: Tape, next_seq: dict[int, int]) -> Iterator[bytes]:
    """Yield the stream's frames, numbered a subscription from ``next_seq`` (sid -> number), which is moved on."""
    for kind, body in zip(tape.kinds, tape.bodies, strict=True):
        sid = SIDS[kind]
        seq = next_seq[sid]
        next_seq[sid] = seq + 1
        yield encode.sequenced(FRAME_TYPES[kind], sid, seq, body)


class _Writer:
    """A tape under way: true books, and what was said."""

    def __init__(self, name: str) -> None:
        self.books: dict[str, Book] = {}
        self._name = name
        self._first: dict[str, list[Level]] = {}
        self._kinds = bytearray()
        self._bodies: list[bytes] = []
        self._times_us: list[int] = []

    def __len__(self) -> int:
        return len(self._bodies)

    def open(self, ticker: str, levels: Iterable[Level]) -> None:
        """Set a market's first book."""
        self.books[ticker] = Book(levels)
        self._first[ticker] = self.books[ticker].levels()

    def say(self, kind: int, body: bytes, at_us: int) -> None:
        """Add a message."""
        self._kinds.append(kind)
        self._bodies.append(body)
        self._times_us.append(at_us)

    def tape(self) -> Tape:
        """Return what was written."""
        last = {ticker: book.levels() for ticker, book in self.books.items()}
        return Tape(self._name, self._first, bytes(self._kinds), self._bodies, self._times_us, last)


def generated(markets: int, messages: int, seed: int = 1) -> Tape:
    """Return a generated data set: ``messages`` changes, trades and lifecycle messages over ``markets`` markets."""
    source = Generated(seed, _START_US, markets=markets, messages_per_s=MESSAGES_PER_S, cycle_s=86_400)
    writer = _Writer("generated")
    ids: dict[str, str] = {}
    for step in source.steps():
        if len(writer) >= messages:
            break
        if isinstance(step, Listed):
            writer.open(step.market.ticker, step.levels)
            ids[step.market.ticker] = step.market_id
        elif isinstance(step, Changed):
            level = (step.side, step.price_e4, step.change_e2)
            writer.books[step.ticker].apply(*level)
            body = encode.delta_body(step.ticker, *level, step.ts_us, market_id=ids[step.ticker])
            writer.say(DELTA, body, step.at_us)
        elif isinstance(step, Traded):
            writer.say(TRADE, _trade(step), step.at_us)
        if len(writer) % LIFECYCLE_EVERY == LIFECYCLE_EVERY - 1:
            body = msgspec.json.encode(lifecycle.activated(next(reversed(ids))))
            writer.say(LIFECYCLE, body, step.at_us)
    return writer.tape()


def _trade(step: Traded) -> bytes:
    return encode.trade_body(
        ticker=step.ticker, trade_id=step.trade_id, yes_price_e4=step.yes_price_e4, qty_e2=step.qty_e2,
        taker_side=step.taker_side, block=step.block, ts_us=step.ts_us,
    )  # fmt: skip


_KINDS: dict[type, int] = {Delta: DELTA, Snapshot: SNAPSHOT, Trade: TRADE}


class _Envelope(msgspec.Struct, gc=False):
    msg: msgspec.Raw


class _Line(msgspec.Struct, gc=False):
    recv_ms: int
    event: msgspec.Raw


def recorded_folder() -> Path | None:
    """Return the folder with recorded frames: KALSHIBOOK_TEST_DATA, else where it stands beside the checkout."""
    named = os.environ.get("KALSHIBOOK_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder / "kalshi-gold15m" if (folder / "kalshi-gold15m").is_dir() else None


def recorded(folder: Path, most: int | None = None) -> Tape:
    """Return the recorded frames in the order of receipt, bodies as recorded, at most ``most`` of them.

    The first snapshot of each market is its first book; later ones stand in the stream as they came.
    """
    files = [_events(path) for path in sorted((folder / "events").glob("*/*.ndjson.gz"))]
    writer = _Writer("recorded")
    envelope = msgspec.json.Decoder(_Envelope).decode
    for recv_ms, event in islice(heapq.merge(*files, key=lambda row: row[0]), most):
        message: Any = decode(event)
        kind = _KINDS.get(type(message))
        if kind == SNAPSHOT and message.ticker not in writer.books:
            writer.open(message.ticker, message.levels)
            continue
        if kind is None:
            continue
        if kind == DELTA:
            writer.books[message.ticker].apply(message.side, message.price_e4, message.change_e2)
        elif kind == SNAPSHOT:
            writer.books[message.ticker] = Book(message.levels)
        writer.say(kind, bytes(envelope(event).msg), recv_ms * 1000)
    return writer.tape()


def _events(path: Path) -> Iterator[tuple[int, bytes]]:
    line = msgspec.json.Decoder(_Line).decode
    with gzip.open(path, "rb") as file:
        for text in file:
            found = line(text)
            yield found.recv_ms, bytes(found.event)
