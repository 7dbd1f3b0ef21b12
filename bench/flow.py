"""An hour of changes as columns: many markets of uneven activity, no level ever below zero.

Owns two ways to make one: at once by arithmetic, millions in seconds, and by the local exchange's order flow, whose
books are more like the venue's. The same seed gives the same hour.
"""

from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from book.ladder import Book
from book.records import HOUR_US, Level
from exchange.generated import Generated
from exchange.steps import Changed, Listed

Ints = NDArray[np.int64]

RUNGS = 99
"""Prices a side: whole cents."""
_ACTIVITY = 1.1
"""The market of rank r acts in proportion to r ** -_ACTIVITY."""
_BUCKET_US = 100_000
_EMPTIED = 0.35
"""The share of changes that empty a level."""


class Flow(NamedTuple):
    """An hour's changes in order of receipt, each column of shape (n,), and the books before and after them.

    ``market`` is a number from 0; ``ts_us`` is when it was received, ``exch_us`` when it was made.
    """

    tickers: list[str]
    first: list[tuple[Level, ...]]
    market: Ints
    ts_us: Ints
    exch_us: Ints
    side: Ints
    price_e4: Ints
    change_e2: Ints
    last: list[tuple[Level, ...]]


def hour(markets: int, changes: int, from_us: int, *, span_us: int = HOUR_US, seed: int = 1) -> Flow:
    """Return ``changes`` changes over ``markets`` markets in [from_us, from_us + span_us).

    Cost: about 0.5 us and 150 bytes a change.
    """
    rng = np.random.default_rng(seed)
    ts_us = _times(rng, changes, from_us, span_us)
    exch_us = (ts_us - rng.lognormal(10.0, 0.8, changes).astype(np.int64)) // 1000 * 1000
    shares = np.arange(1, markets + 1) ** -_ACTIVITY
    market = rng.choice(markets, changes, p=shares / shares.sum())
    side = rng.integers(0, 2, changes)
    middle = rng.integers(5, 95, markets)
    away = np.minimum(rng.geometric(0.18, changes), RUNGS)
    best = np.where(side == 0, middle[market], 100 - middle[market])
    rung = (best - away) % RUNGS
    slot = (market * 2 + side) * RUNGS + rung
    first = np.where(rng.random(markets * 2 * RUNGS) < 0.4, _sizes(rng, markets * 2 * RUNGS), 0)
    change_e2, last = _changes(rng, slot, first)
    tickers = [f"KXFLOW-{number:05d}" for number in range(markets)]
    price_e4 = (rung + 1) * 100
    return Flow(
        tickers, _books(first, markets), market, ts_us, exch_us, side, price_e4, change_e2, _books(last, markets)
    )


def generated(markets: int, changes_per_s: int, from_us: int, *, span_us: int = HOUR_US, seed: int = 1) -> Flow:
    """Return what the local exchange's markets do in [from_us, from_us + span_us): as many changes, on average.

    Cost: about 10 us a change.
    """
    messages_per_s = changes_per_s * 107 // 100  # one in fifteen or so is a trade
    source = Generated(seed, from_us, markets=markets, messages_per_s=messages_per_s, cycle_s=30 * 86_400)
    books: dict[str, Book] = {}
    numbers: dict[str, int] = {}
    first: list[tuple[Level, ...]] = []
    rows = array("q")
    for step in source.steps():
        if step.at_us >= from_us + span_us:
            break
        if isinstance(step, Listed):
            numbers[step.market.ticker] = len(first)
            first.append(tuple(step.levels))
            books[step.market.ticker] = Book(step.levels)
        elif isinstance(step, Changed):
            level = (step.side, step.price_e4, step.change_e2)
            books[step.ticker].apply(*level)
            rows.extend((numbers[step.ticker], step.at_us, step.ts_us, *level))
    market, ts_us, exch_us, side, price_e4, change_e2 = np.ascontiguousarray(np.array(rows).reshape(-1, 6).T)
    last = [tuple(book.levels()) for book in books.values()]
    return Flow(list(numbers), first, market, ts_us, exch_us, side, price_e4, change_e2, last)


def _times(rng: np.random.Generator, count: int, from_us: int, span_us: int) -> Ints:
    """Return stamps in bursts and lulls: each tenth of a second has its own rate."""
    buckets = max(span_us // _BUCKET_US, 1)
    rates = rng.gamma(0.4, 2.5, buckets) + 1e-9
    bucket = np.repeat(np.arange(buckets), rng.multinomial(count, rates / rates.sum()))
    width_us = min(_BUCKET_US, span_us)
    found: Ints = np.sort(from_us + bucket * width_us + rng.integers(0, width_us, count))
    return found


def _sizes(rng: np.random.Generator, count: int) -> Ints:
    """Return sizes in 1/100 contract: mostly whole contracts, one in six not."""
    whole = 100 * np.maximum(rng.lognormal(4.0, 1.5, count).astype(np.int64), 1)
    return np.where(rng.random(count) < 1 / 6, whole + rng.integers(1, 100, count), whole)


def _changes(rng: np.random.Generator, slot: Ints, first: Ints) -> tuple[Ints, Ints]:
    """Return the signed change of each row and the size of each slot after all of them."""
    order = np.argsort(slot, kind="stable")
    of_slot = slot[order]
    begins = np.append(True, of_slot[1:] != of_slot[:-1])
    size = np.where(rng.random(len(slot)) < _EMPTIED, 0, _sizes(rng, len(slot)))
    before = np.empty_like(size)
    while True:
        before[0] = 0
        before[1:] = size[:-1]
        before[begins] = first[of_slot[begins]]
        same = np.flatnonzero(size == before)
        if not len(same):
            break
        size[same] += 100 * rng.integers(1, 50, len(same))
    change = np.empty_like(size)
    change[order] = size - before
    last = first.copy()
    ends = np.append(begins[1:], True)
    last[of_slot[ends]] = size[ends]
    return change, last


def _books(sizes: Ints, markets: int) -> list[tuple[Level, ...]]:
    found: list[tuple[Level, ...]] = []
    for book in sizes.reshape(markets, 2, RUNGS):
        side, rung = np.nonzero(book)
        found.append(tuple(zip(side.tolist(), ((rung + 1) * 100).tolist(), book[side, rung].tolist(), strict=True)))
    return found
