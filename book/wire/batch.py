"""Many frames at once into columns: the collector's fast path.

Owns the vectorised reading of current-form deltas, and a short way for current-form trades. Everything else goes
through decode.decode, frame by frame, and a frame that cannot be read comes back as the FrameError that says why.
Prices and sizes pass from text to integer by exact decimal casts.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Union

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from book.errors import FrameError, UnrepresentableError
from book.records import Side
from book.units import MAX_PRICE_E4, MAX_QTY_E2, parse_price_e4, parse_qty_e2
from book.wire.decode import decode, exchange_time_us
from book.wire.messages import Message, Trade

NO_TIME_US = -(2**63)
"""Stands in a column of times where the venue sent none."""
_AT_ONCE = 1024
"""Frames decoded before their fields are gathered: more at once fall out of the processor's cache."""


class _Body(msgspec.Struct, gc=False):
    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: Literal["yes", "no"]
    ts: str | int | None = None
    ts_ms: int | None = None


class _Delta(msgspec.Struct, gc=False, tag_field="type", tag="orderbook_delta"):
    sid: int
    seq: int
    msg: _Body


class _TradeBody(msgspec.Struct, gc=False):
    market_ticker: str
    trade_id: str
    yes_price_dollars: str | None = None
    no_price_dollars: str | None = None
    count_fp: str | None = None
    taker_outcome_side: Literal["yes", "no"] | None = None
    is_block_trade: bool | None = None
    ts: str | int | None = None
    ts_ms: int | None = None


class _Trade(msgspec.Struct, gc=False, tag_field="type", tag="trade"):
    sid: int
    msg: _TradeBody
    seq: int | None = None


_OTHERS = tuple(
    msgspec.defstruct(f"_{kind}", [], gc=False, tag_field="type", tag=kind)
    for kind in ("orderbook_snapshot", "ticker", "market_lifecycle_v2", "event_lifecycle", "ok", "subscribed")
)
"""Frames that are read slowly, named here so that one of them does not spoil its neighbours' reading at once."""
_typed: Any = msgspec.json.Decoder(Union[_Delta, _Trade, *_OTHERS]).decode
_price_e4 = lru_cache(maxsize=20_000)(parse_price_e4)


class DeltaColumns(NamedTuple):
    """Deltas of a batch, each array of shape (n,); ``place`` is that of the frame in the batch, ascending."""

    place: npt.NDArray[np.int64]
    sid: npt.NDArray[np.int64]
    seq: npt.NDArray[np.int64]
    ticker: list[str]
    side: npt.NDArray[np.int8]
    price_e4: npt.NDArray[np.int64]
    change_e2: npt.NDArray[np.int64]
    ts_exch_us: npt.NDArray[np.int64]


class Batch(NamedTuple):
    """Deltas as columns, and every other frame with its place in the batch, ascending."""

    deltas: DeltaColumns
    others: list[tuple[int, Message | FrameError]]


def decode_batch(frames: Sequence[bytes], *, use_yes_price: bool = False) -> Batch:
    """Read frames in order of arrival.

    Never raises for a frame: what cannot be read stands in ``others`` as FrameError, deltas of a legacy form as
    messages. Cost: under 1 us a delta on one core.
    """
    fields = _Fields()
    rest: list[tuple[int, Any]] = []
    for start in range(0, len(frames), _AT_ONCE):
        messages = _typed_all(frames[start : start + _AT_ONCE])
        deltas = [message for message in messages if type(message) is _Delta]
        if len(deltas) == len(messages):
            fields.add(range(start, start + len(messages)), deltas)
        else:
            fields.add([place for place, one in enumerate(messages, start) if type(one) is _Delta], deltas)
            rest += [(place, one) for place, one in enumerate(messages, start) if type(one) is not _Delta]
    try:
        columns = fields.columns(use_yes_price)
    except (pa.ArrowInvalid, FrameError, ValueError, OverflowError):
        columns = _Fields().columns(use_yes_price)  # one value does not pass: read the batch frame by frame
        rest = [(place, None) for place in range(len(frames))]
    return Batch(columns, [(place, _other(frames[place], message, use_yes_price)) for place, message in rest])


def _typed_all(frames: Sequence[bytes]) -> list[Any]:
    """Return the frames as typed structs, None for those that are none."""
    try:
        return list(map(_typed, frames))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [_typed_or_none(frame) for frame in frames]


def _typed_or_none(frame: bytes) -> Any:
    try:
        return _typed(frame)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _other(frame: bytes, message: Any, use_yes_price: bool) -> Message | FrameError:
    """Return what is no delta: a current-form trade the short way, the rest as decode.decode reads it."""
    if type(message) is _Trade:
        try:
            trade = _trade(message)
        except (FrameError, UnrepresentableError, ValueError):
            trade = None
        if trade is not None:
            return trade
    return _slowly(frame, use_yes_price)


def _trade(found: _Trade) -> Trade | None:
    """Return a trade of the current form, None where a field of it is missing or two disagree; raises as its parts."""
    body = found.msg
    if not body.yes_price_dollars or not body.count_fp or body.taker_outcome_side is None:
        return None
    yes_e4 = _price_e4(body.yes_price_dollars)
    if not body.no_price_dollars or yes_e4 + _price_e4(body.no_price_dollars) != MAX_PRICE_E4:
        return None
    return Trade(
        sid=found.sid,
        seq=found.seq,
        ticker=body.market_ticker,
        trade_id=body.trade_id,
        yes_price_e4=yes_e4,
        qty_e2=parse_qty_e2(body.count_fp),
        taker_side=int(body.taker_outcome_side == "no"),
        block=body.is_block_trade,
        ts_exch_us=exchange_time_us(body.ts, body.ts_ms),
    )


def _slowly(frame: bytes, use_yes_price: bool) -> Message | FrameError:
    try:
        return decode(frame, use_yes_price=use_yes_price)
    except FrameError as error:
        return error


class _Fields:
    """Fields of deltas, gathered before the structs that held them are given back."""

    def __init__(self) -> None:
        self._place: list[int] = []
        self._sid: list[int] = []
        self._seq: list[int] = []
        self._ticker: list[str] = []
        self._side: list[str] = []
        self._price: list[str] = []
        self._change: list[str] = []
        self._time: list[str | int | None] = []
        self._time_ms: list[int | None] = []

    def add(self, places: Iterable[int], found: list[_Delta]) -> None:
        """Take deltas and their places in the batch."""
        bodies = [delta.msg for delta in found]
        self._place += places
        self._sid += [delta.sid for delta in found]
        self._seq += [delta.seq for delta in found]
        self._ticker += [body.market_ticker for body in bodies]
        self._side += [body.side for body in bodies]
        self._price += [body.price_dollars for body in bodies]
        self._change += [body.delta_fp for body in bodies]
        self._time += [body.ts for body in bodies]
        self._time_ms += [body.ts_ms for body in bodies]

    def columns(self, use_yes_price: bool) -> DeltaColumns:
        """Return the columns; raises where one value does not pass."""
        price_e4 = _scaled(self._price, pa.decimal128(9, 4))
        change_e2 = _scaled(self._change, pa.decimal128(18, 2))
        if len(price_e4) and (
            price_e4.min() < 0 or price_e4.max() > MAX_PRICE_E4 or np.abs(change_e2).max() > MAX_QTY_E2
        ):
            raise FrameError("a price or size out of range")
        side = np.array([text == "no" for text in self._side], np.int8)
        if use_yes_price:
            price_e4 = np.where(side == Side.NO, MAX_PRICE_E4 - price_e4, price_e4)
        return DeltaColumns(
            place=np.array(self._place, np.int64),
            sid=np.array(self._sid, np.int64),
            seq=np.array(self._seq, np.int64),
            ticker=self._ticker,
            side=side,
            price_e4=price_e4,
            change_e2=change_e2,
            ts_exch_us=_times(self._time, self._time_ms),
        )


def _scaled(texts: list[str], kind: Any) -> npt.NDArray[np.int64]:
    """Cast decimal text exactly; text finer than the type's scale raises ArrowInvalid.

    The low 64 bits of a 128-bit two's complement value that fits 64 bits are that value.
    """
    cast = pa.array(texts, pa.string()).cast(kind)
    buffer = cast.buffers()[1]
    if not len(texts) or buffer is None:
        return np.empty(0, np.int64)
    return np.frombuffer(buffer, np.int64)[: 2 * len(texts) : 2].copy()


def _times(texts: list[str | int | None], millis: list[int | None]) -> npt.NDArray[np.int64]:
    try:
        cast = pa.array(texts, pa.string()).cast(pa.timestamp("us", "UTC"))
        if cast.null_count == 0:
            return np.asarray(cast.cast(pa.int64()), np.int64)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        pass  # another form of time in this batch: read each by itself
    times = (exchange_time_us(text, ms) for text, ms in zip(texts, millis, strict=True))
    return np.fromiter((NO_TIME_US if time is None else time for time in times), np.int64, len(texts))
