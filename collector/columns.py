"""Columns of a batch, cut by subscription and turned into rows or messages.

Owns the picking only: what a message does is for the intake.
"""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from book.wire.batch import NO_TIME_US, DeltaColumns, TickerColumns, TradeColumns
from book.wire.messages import Delta, Lifecycle, Ticker, Trade
from book.wire.rest import TradeDoc

Ints = npt.NDArray[np.int64]
Value = TypeVar("Value")


def picked(values: list[Value], chosen: Ints) -> list[Value]:
    """Return the values at some places, ascending, at least one."""
    first, n = int(chosen[0]), len(chosen)
    if int(chosen[-1]) - first == n - 1:
        return values[first : first + n]
    return [values[i] for i in chosen.tolist()]


def trade_rows(trades: TradeColumns, chosen: Ints, conn: int, ts_us: Ints) -> dict[str, Any]:
    """Return the rows of some trades as TableRows.add_all takes them; ``ts_us`` are the stamps of the whole batch."""
    n = len(chosen)
    return {
        "count": n,
        "ticker": picked(trades.ticker, chosen),
        "trade_id": picked(trades.trade_id, chosen),
        "ts_recv": ts_us[trades.place[chosen]].tolist(),
        "ts_exch": [_or_none(time) for time in trades.ts_exch_us[chosen].tolist()],
        "conn": [conn] * n,
        "seq": trades.seq[chosen].tolist(),
        "yes_price_e4": trades.yes_price_e4[chosen].tolist(),
        "qty_e2": trades.qty_e2[chosen].tolist(),
        "taker_side": trades.taker_side[chosen].tolist(),
        "block": picked(trades.block, chosen),
        "source": ["ws"] * n,
    }


def trade_row(trade: Trade, conn: int, ts_us: int) -> dict[str, Any]:
    """Return one trade's row as TableRows.add takes it."""
    return {
        "ticker": trade.ticker,
        "trade_id": trade.trade_id,
        "ts_recv": ts_us,
        "ts_exch": trade.ts_exch_us,
        "conn": conn,
        "seq": trade.seq,
        "yes_price_e4": trade.yes_price_e4,
        "qty_e2": trade.qty_e2,
        "taker_side": trade.taker_side,
        "block": trade.block,
        "source": "ws",
    }


def learned_row(trade: TradeDoc, conn: int, ts_us: int) -> dict[str, Any]:
    """Return the row of a trade that was learned over REST; ``conn`` is the subscription that missed it."""
    return {
        "ticker": trade.ticker,
        "trade_id": trade.trade_id,
        "ts_recv": ts_us,
        "ts_exch": trade.created_us,
        "conn": conn,
        "seq": None,
        "yes_price_e4": trade.yes_price_e4,
        "qty_e2": trade.qty_e2,
        "taker_side": trade.taker_side,
        "block": trade.block,
        "source": "rest",
    }


def ticker_rows(tickers: TickerColumns, chosen: Ints, conn: int, ts_us: Ints) -> dict[str, Any]:
    """Return the rows of some tickers as TableRows.add_all takes them; ``ts_us`` are the stamps of the whole batch."""
    n = len(chosen)
    return {
        "count": n,
        "ticker": picked(tickers.ticker, chosen),
        "ts_recv": ts_us[tickers.place[chosen]].tolist(),
        "ts_exch": [_or_none(time) for time in tickers.ts_exch_us[chosen].tolist()],
        "conn": [conn] * n,
    } | {name: picked(values, chosen) for name, values in tickers.values.items()}


def ticker_row(ticker: Ticker, conn: int, ts_us: int) -> dict[str, Any]:
    """Return one ticker's row as TableRows.add takes it."""
    return {
        "ticker": ticker.ticker,
        "ts_recv": ts_us,
        "ts_exch": ticker.ts_exch_us,
        "conn": conn,
        "price_e4": ticker.price_e4,
        "yes_bid_e4": ticker.yes_bid_e4,
        "yes_bid_qty_e2": ticker.yes_bid_qty_e2,
        "yes_ask_e4": ticker.yes_ask_e4,
        "yes_ask_qty_e2": ticker.yes_ask_qty_e2,
        "last_trade_qty_e2": ticker.last_trade_qty_e2,
        "volume_e2": ticker.volume_e2,
        "open_interest_e2": ticker.open_interest_e2,
        "dollar_volume": ticker.dollar_volume,
        "dollar_open_interest": ticker.dollar_open_interest,
    }


def lifecycle_row(message: Lifecycle, conn: int, ts_us: int) -> dict[str, Any]:
    """Return the row of a lifecycle message as TableRows.add takes it."""
    return {
        "ticker": message.ticker,
        "event_ticker": message.event_ticker,
        "ts_recv": ts_us,
        "conn": conn,
        "seq": message.seq,
        "channel_type": message.channel_type,
        "event_type": message.event_type,
        "open_time": message.open_us,
        "close_time": message.close_us,
        "determination_time": message.determination_us,
        "settled_time": message.settled_us,
        "result": message.result,
        "settlement_value_e4": message.settlement_value_e4,
        "is_deactivated": message.is_deactivated,
        "message": message.text,
    }


def delta_message(deltas: DeltaColumns, i: int) -> Delta:
    """Return one delta as a message."""
    return Delta(
        sid=int(deltas.sid[i]),
        seq=int(deltas.seq[i]),
        ticker=deltas.ticker[i],
        side=int(deltas.side[i]),
        price_e4=int(deltas.price_e4[i]),
        change_e2=int(deltas.change_e2[i]),
        ts_exch_us=_or_none(int(deltas.ts_exch_us[i])),
    )


def trade_message(trades: TradeColumns, i: int) -> Trade:
    """Return one trade as a message."""
    return Trade(
        sid=int(trades.sid[i]),
        seq=int(trades.seq[i]),
        ticker=trades.ticker[i],
        trade_id=trades.trade_id[i],
        yes_price_e4=int(trades.yes_price_e4[i]),
        qty_e2=int(trades.qty_e2[i]),
        taker_side=int(trades.taker_side[i]),
        block=trades.block[i],
        ts_exch_us=_or_none(int(trades.ts_exch_us[i])),
    )


def _or_none(time_us: int) -> int | None:
    return None if time_us == NO_TIME_US else time_us
