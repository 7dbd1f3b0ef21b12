"""Readers that misread: each says wrong what the venue said right, of some market or of all.

Owns what they get wrong. They take the place of the one in collector.intake.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from book.wire.batch import Batch, decode_batch
from book.wire.messages import Message, Snapshot

Reader = Callable[[Sequence[bytes]], Batch]


def swapped(ticker: str | None) -> Reader:
    """Take the sides of one market, or of all, for each other."""

    def snapshot(one: Snapshot) -> Snapshot:
        return _with_levels(one, sorted((1 - side, price, qty) for side, price, qty in one.levels))

    def read(frames: Sequence[bytes]) -> Batch:
        batch = decode_batch(frames)
        mine = np.array([ticker in (name, None) for name in batch.deltas.ticker], bool)
        side = np.where(mine, 1 - batch.deltas.side, batch.deltas.side)
        deltas = batch.deltas._replace(side=side)
        return _read(batch, deltas, lambda one: snapshot(one) if ticker in (one.ticker, None) else one)

    return read


def shifted() -> Reader:
    """Read what is added one cent too high, where there is room."""

    def read(frames: Sequence[bytes]) -> Batch:
        batch = decode_batch(frames)
        deltas = batch.deltas
        higher = np.where(deltas.change_e2 > 0, np.minimum(deltas.price_e4 + 100, 9_900), deltas.price_e4)
        return _read(batch, deltas._replace(price_e4=higher), lambda one: one)

    return read


def short() -> Reader:
    """Leave the last level of every book out."""

    def read(frames: Sequence[bytes]) -> Batch:
        batch = decode_batch(frames)
        return _read(batch, batch.deltas, lambda one: _with_levels(one, one.levels[:-1]))

    return read


def _with_levels(one: Snapshot, levels: Any) -> Snapshot:
    return Snapshot(one.sid, one.seq, one.ticker, tuple(levels), one.market_id, one.command_id)


def _read(batch: Batch, deltas: Any, snapshot: Callable[[Snapshot], Snapshot]) -> Batch:
    def of(message: Any) -> Message:
        found: Message = snapshot(message) if isinstance(message, Snapshot) else message
        return found

    return Batch(deltas, batch.trades, batch.tickers, [(place, of(message)) for place, message in batch.others])
