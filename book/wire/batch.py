"""Many frames at once into columns: the collector's fast path.

Owns the vectorised reading of current-form deltas, trades and tickers. Everything else goes through decode.decode,
frame by frame, and a frame that cannot be read comes back as the FrameError that says why. Prices and sizes pass from
text to integer by exact decimal casts.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Union

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from book.errors import FrameError
from book.records import Side
from book.units import MAX_PRICE_E4, MAX_QTY_E2
from book.wire.decode import decode, exchange_time_us
from book.wire.messages import Message

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


class _TickerBody(msgspec.Struct, gc=False):
    market_ticker: str
    price_dollars: str | None = None
    yes_bid_dollars: str | None = None
    yes_ask_dollars: str | None = None
    yes_bid_size_fp: str | None = None
    yes_ask_size_fp: str | None = None
    last_trade_size_fp: str | None = None
    volume_fp: str | None = None
    open_interest_fp: str | None = None
    dollar_volume: int | None = None
    dollar_open_interest: int | None = None
    time: str | int | None = None
    ts: str | int | None = None
    ts_ms: int | None = None


class _Ticker(msgspec.Struct, gc=False, tag_field="type", tag="ticker"):
    sid: int
    msg: _TickerBody


_OTHERS = tuple(
    msgspec.defstruct(f"_{kind}", [], gc=False, tag_field="type", tag=kind)
    for kind in ("orderbook_snapshot", "market_lifecycle_v2", "event_lifecycle", "ok", "subscribed")
)
"""Frames that are read slowly, named here so that one of them does not spoil its neighbours' reading at once."""
_typed: Any = msgspec.json.Decoder(Union[_Delta, _Trade, _Ticker, *_OTHERS]).decode


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


class TradeColumns(NamedTuple):
    """Trades of a batch with a number each, as DeltaColumns; ``block`` is None where the venue did not say."""

    place: npt.NDArray[np.int64]
    sid: npt.NDArray[np.int64]
    seq: npt.NDArray[np.int64]
    ticker: list[str]
    trade_id: list[str]
    yes_price_e4: npt.NDArray[np.int64]
    qty_e2: npt.NDArray[np.int64]
    taker_side: npt.NDArray[np.int8]
    block: list[bool | None]
    ts_exch_us: npt.NDArray[np.int64]


class TickerColumns(NamedTuple):
    """Tickers of a batch, as DeltaColumns; ``values`` are prices, sizes and dollars by the names of their columns."""

    place: npt.NDArray[np.int64]
    sid: npt.NDArray[np.int64]
    ticker: list[str]
    values: dict[str, list[int | None]]
    ts_exch_us: npt.NDArray[np.int64]


class Batch(NamedTuple):
    """Deltas, trades and tickers as columns, and every other frame with its place in the batch, ascending."""

    deltas: DeltaColumns
    trades: TradeColumns
    tickers: TickerColumns
    others: list[tuple[int, Message | FrameError]]


def decode_batch(frames: Sequence[bytes], *, use_yes_price: bool = False) -> Batch:
    """Read frames in order of arrival.

    Never raises for a frame: what cannot be read stands in ``others`` as FrameError, deltas, trades and tickers of a
    legacy form as messages. Cost: about 1 us a delta and 3 us a ticker on one core.
    """
    deltas, trades, tickers = _Deltas(), _Trades(), _Tickers()
    rest: list[int] = []
    for start in range(0, len(frames), _AT_ONCE):
        messages = _typed_all(frames[start : start + _AT_ONCE])
        found = [message for message in messages if type(message) is _Delta]
        if len(found) == len(messages):
            deltas.add(np.arange(start, start + len(messages)), found)
            continue
        is_delta = np.array([type(one) is _Delta for one in messages], np.bool_)
        deltas.add(start + np.flatnonzero(is_delta), found)
        others = [(place, one) for place, one in enumerate(messages, start) if type(one) is not _Delta]
        whole = [(place, one) for place, one in others if type(one) is _Trade and _is_whole(one)]
        trades.add([place for place, _ in whole], [one for _, one in whole])
        told = [(place, one) for place, one in others if type(one) is _Ticker and _is_whole_ticker(one)]
        tickers.add([place for place, _ in told], [one for _, one in told])
        rest += sorted({place for place, _ in others}.difference(place for place, _ in (*whole, *told)))
    try:
        columns, trade_columns = deltas.columns(use_yes_price), trades.columns()
    except (pa.ArrowInvalid, FrameError, ValueError, OverflowError):
        # One value does not pass: read the batch frame by frame.
        columns, trade_columns = _Deltas().columns(use_yes_price), _Trades().columns()
        rest = sorted(set(range(len(frames))).difference(tickers.places))
    try:
        ticker_columns = tickers.columns()
    except (pa.ArrowInvalid, FrameError, ValueError, OverflowError):
        ticker_columns = _Tickers().columns()
        rest = sorted([*rest, *tickers.places])
    return Batch(
        columns, trade_columns, ticker_columns, [(place, _slowly(frames[place], use_yes_price)) for place in rest]
    )


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


def _is_whole(trade: _Trade) -> bool:
    """Say whether a trade is of the current form, with everything that one has."""
    body = trade.msg
    return bool(
        trade.seq is not None
        and body.yes_price_dollars
        and body.no_price_dollars
        and body.count_fp
        and body.taker_outcome_side
    )


def _is_whole_ticker(ticker: _Ticker) -> bool:
    """Say whether a ticker is of the current form: nothing of it may stand in a field of a legacy one."""
    body = ticker.msg
    return bool(
        body.price_dollars
        and body.yes_bid_dollars
        and body.yes_ask_dollars
        and body.volume_fp
        and body.open_interest_fp
    )


def _slowly(frame: bytes, use_yes_price: bool) -> Message | FrameError:
    try:
        return decode(frame, use_yes_price=use_yes_price)
    except FrameError as error:
        return error


class _Deltas:
    """Fields of deltas, gathered before the structs that held them are given back."""

    def __init__(self) -> None:
        self._place: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
        self._sid: list[int] = []
        self._seq: list[int] = []
        self._ticker: list[str] = []
        self._side: list[bool] = []
        self._price: list[str] = []
        self._change: list[str] = []
        self._time: list[str | int | None] = []
        self._time_ms: list[int | None] = []

    def add(self, places: npt.NDArray[np.int64], found: list[_Delta]) -> None:
        """Take deltas and their places in the batch."""
        bodies = [delta.msg for delta in found]
        self._place.append(places)
        self._sid += [delta.sid for delta in found]
        self._seq += [delta.seq for delta in found]
        self._ticker += [body.market_ticker for body in bodies]
        self._side += [body.side == "no" for body in bodies]
        self._price += [body.price_dollars for body in bodies]
        self._change += [body.delta_fp for body in bodies]
        self._time += [body.ts for body in bodies]
        self._time_ms += [body.ts_ms for body in bodies]

    def columns(self, use_yes_price: bool) -> DeltaColumns:
        """Return the columns; raises where one value does not pass."""
        price_e4, change_e2 = _prices(self._price), _sizes(self._change)
        side = np.array(self._side, np.int8)
        if use_yes_price:
            price_e4 = np.where(side == Side.NO, MAX_PRICE_E4 - price_e4, price_e4)
        return DeltaColumns(
            place=np.concatenate(self._place),
            sid=np.array(self._sid, np.int64),
            seq=np.array(self._seq, np.int64),
            ticker=self._ticker,
            side=side,
            price_e4=price_e4,
            change_e2=change_e2,
            ts_exch_us=_times(self._time, self._time_ms),
        )


class _Trades:
    """Fields of trades, gathered as those of deltas."""

    def __init__(self) -> None:
        self._place: list[int] = []
        self._found: list[_Trade] = []

    def add(self, places: list[int], found: list[_Trade]) -> None:
        """Take trades, all whole, and their places in the batch."""
        self._place += places
        self._found += found

    def columns(self) -> TradeColumns:
        """Return the columns; raises where one value does not pass."""
        bodies = [trade.msg for trade in self._found]
        yes_e4 = _prices([body.yes_price_dollars for body in bodies])
        if (yes_e4 + _prices([body.no_price_dollars for body in bodies]) != MAX_PRICE_E4).any():
            raise FrameError("prices of a trade do not add up to one dollar")
        return TradeColumns(
            place=np.array(self._place, np.int64),
            sid=np.array([trade.sid for trade in self._found], np.int64),
            seq=np.array([trade.seq for trade in self._found], np.int64),
            ticker=[body.market_ticker for body in bodies],
            trade_id=[body.trade_id for body in bodies],
            yes_price_e4=yes_e4,
            qty_e2=_sizes([body.count_fp for body in bodies]),
            taker_side=np.array([body.taker_outcome_side == "no" for body in bodies], np.int8),
            block=[body.is_block_trade for body in bodies],
            ts_exch_us=_times([body.ts for body in bodies], [body.ts_ms for body in bodies]),
        )


class _Tickers:
    """Fields of tickers, gathered as those of trades."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self._found: list[_Ticker] = []

    def add(self, places: list[int], found: list[_Ticker]) -> None:
        """Take tickers, all whole, and their places in the batch."""
        self.places += places
        self._found += found

    def columns(self) -> TickerColumns:
        """Return the columns; raises where one value does not pass."""
        bodies = [ticker.msg for ticker in self._found]
        values: dict[str, list[int | None]] = {
            "price_e4": _prices([body.price_dollars for body in bodies]).tolist(),
            "yes_bid_e4": _prices([body.yes_bid_dollars for body in bodies]).tolist(),
            "yes_bid_qty_e2": _some_sizes([body.yes_bid_size_fp for body in bodies]),
            "yes_ask_e4": _prices([body.yes_ask_dollars for body in bodies]).tolist(),
            "yes_ask_qty_e2": _some_sizes([body.yes_ask_size_fp for body in bodies]),
            "last_trade_qty_e2": _some_sizes([body.last_trade_size_fp for body in bodies]),
            "volume_e2": _sizes([body.volume_fp for body in bodies]).tolist(),
            "open_interest_e2": _sizes([body.open_interest_fp for body in bodies]).tolist(),
            "dollar_volume": _int64([body.dollar_volume for body in bodies]),
            "dollar_open_interest": _int64([body.dollar_open_interest for body in bodies]),
        }
        return TickerColumns(
            place=np.array(self.places, np.int64),
            sid=np.array([ticker.sid for ticker in self._found], np.int64),
            ticker=[body.market_ticker for body in bodies],
            values=values,
            ts_exch_us=_times([body.time or body.ts for body in bodies], [body.ts_ms for body in bodies]),
        )


def _some_sizes(texts: Sequence[str | None]) -> list[int | None]:
    """Return sizes, None where there is none."""
    sizes: list[int] = _sizes([text for text in texts if text]).tolist()
    if len(sizes) == len(texts):
        return list(sizes)
    found = iter(sizes)
    return [next(found) if text else None for text in texts]


def _int64(values: list[int | None]) -> list[int | None]:
    """Return whole numbers as they are; one that does not fit 64 bits raises OverflowError."""
    np.array([value or 0 for value in values], np.int64)
    return values


def _prices(texts: Sequence[str | None]) -> npt.NDArray[np.int64]:
    found = _scaled(texts, pa.decimal128(9, 4))
    if len(found) and (found.min() < 0 or found.max() > MAX_PRICE_E4):
        raise FrameError("a price out of range")
    return found


def _sizes(texts: Sequence[str | None]) -> npt.NDArray[np.int64]:
    found = _scaled(texts, pa.decimal128(18, 2))
    if len(found) and np.abs(found).max() > MAX_QTY_E2:
        raise FrameError("a size out of range")
    return found


def _scaled(texts: Sequence[str | None], kind: Any) -> npt.NDArray[np.int64]:
    """Cast decimal text exactly; text finer than the type's scale raises ArrowInvalid.

    The low 64 bits of a 128-bit two's complement value that fits 64 bits are that value.
    """
    cast = pa.array(texts, pa.string()).cast(kind)
    buffer = cast.buffers()[1]
    if not len(texts) or buffer is None:
        return np.empty(0, np.int64)
    return np.frombuffer(buffer, np.int64)[: 2 * len(texts) : 2].copy()


def _times(texts: list[str | int | None], millis: list[int | None]) -> npt.NDArray[np.int64]:
    """Return times in microseconds; the forms that a whole batch has are read at once, others one by one."""
    try:
        cast = pa.array(texts, pa.string()).cast(pa.timestamp("us", "UTC"))
        if cast.null_count == 0:
            return np.asarray(cast.cast(pa.int64()), np.int64)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        pass  # another form of time in this batch: read each by itself
    times = (exchange_time_us(text, ms) for text, ms in zip(texts, millis, strict=True))
    return np.fromiter((NO_TIME_US if time is None else time for time in times), np.int64, len(texts))
