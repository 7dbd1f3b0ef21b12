"""The generated source: deterministic, never crossed, never negative, every trade covered by a change, whole lives."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.ladder import Book
from exchange.generated import Generated
from exchange.steps import BookSet, Changed, Listed, Milestone, Step, Traded
from exchange.universe import STRUCTURES, combos, grid, lasting

START_US = 1_795_564_800_000_000 + 123_456


def source(
    seed: int = 1, markets: int = 30, rate: int = 1_000, cycle_s: int = 20, *, legacy: bool = False
) -> Iterator[Step]:
    return Generated(seed, START_US, markets=markets, messages_per_s=rate, cycle_s=cycle_s, legacy=legacy).steps()


def until(steps: Iterator[Step], seconds: int) -> list[Step]:
    return list(itertools.takewhile(lambda step: step.at_us < START_US + seconds * 1_000_000, steps))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**9))
def test_books_stay_whole_and_trades_agree_with_changes(seed: int) -> None:
    books: dict[str, Book] = {}
    prices: dict[str, frozenset[int]] = {}
    open_now: set[str] = set()
    last_us = START_US
    taken: Counter[tuple[str, int, int]] = Counter()
    for step in until(source(seed), 45):
        assert step.at_us >= last_us
        last_us = step.at_us
        if isinstance(step, Listed):
            ticker = step.market.ticker
            assert ticker not in books
            books[ticker] = Book(step.levels)
            prices[ticker] = frozenset(grid(step.market.price_level_structure or ""))
            if step.market.status == "active":
                open_now.add(ticker)
            continue
        ticker = step.ticker
        if isinstance(step, Changed):
            assert ticker in open_now
            assert step.price_e4 in prices[ticker]
            assert step.change_e2
            books[ticker].apply(step.side, step.price_e4, step.change_e2)  # raises where it would be negative
            taken[ticker, step.side, step.price_e4] = -step.change_e2
        elif isinstance(step, Traded):
            assert ticker in open_now
            maker = 1 - step.taker_side
            maker_price_e4 = 10_000 - step.yes_price_e4 if maker else step.yes_price_e4
            if not step.block:
                assert taken.pop((ticker, maker, maker_price_e4)) == step.qty_e2
        elif isinstance(step, BookSet):
            books[ticker] = Book(step.levels)
        elif isinstance(step, Milestone) and step.status is not None:
            (open_now.add if step.status == "active" else open_now.discard)(ticker)
        best = [books[ticker].best(side) for side in (0, 1)]
        if best[0] is not None and best[1] is not None:
            assert best[0][0] + best[1][0] < 10_000, ticker


def test_the_same_seed_gives_the_same_steps_and_another_does_not() -> None:
    first, again, other = (list(itertools.islice(source(seed), 20_000)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_a_short_life_from_listing_to_settlement() -> None:
    steps = until(source(cycle_s=20), 160)
    lives: defaultdict[str, list[str]] = defaultdict(list)
    cancelled: dict[str, list[Changed]] = {}
    for step in steps:
        if isinstance(step, Milestone):
            kind = step.message["event_type"] if step.message else ""
            lives[step.ticker].append(f"{step.status}:{kind}")
            if kind == "activated":
                cancelled[step.ticker] = [
                    one
                    for one in steps
                    if isinstance(one, Changed) and (one.ticker, one.at_us) == (step.ticker, step.at_us)
                ]
        elif isinstance(step, BookSet):
            lives[step.ticker].append("empty")
        elif isinstance(step, Listed) and step.announce:
            assert (step.market.status, step.levels) == ("initialized", ())
            lives[step.market.ticker].append("listed")
    whole = [life for life in lives.values() if life[0] == "listed" and life[-1].startswith("finalized")]
    assert whole
    assert cancelled
    for ticker, changes in cancelled.items():  # what rested goes, level by level: nothing is left of what was there
        before = [
            one for one in steps if isinstance(one, Changed) and one.ticker == ticker and one.at_us < changes[0].at_us
        ]
        listed = next(one for one in steps if isinstance(one, Listed) and one.market.ticker == ticker)
        book = Book(listed.levels)
        for one in before + changes:
            book.apply(one.side, one.price_e4, one.change_e2)
        assert book.levels() == []
    for life in whole:
        early = ["None:close_date_updated"] if "None:close_date_updated" in life else []
        assert life == [
            "listed", "active:", "None:metadata_updated", "inactive:deactivated", "active:activated", *early, "closed:",
            "empty", "determined:determined", "finalized:settled",
        ]  # fmt: skip
    assert any("None:close_date_updated" in life for life in lives.values())
    tickers = [step.market.ticker for step in steps if isinstance(step, Listed)]
    assert len(tickers) == len(set(tickers))


def test_pace_bursts_fractions_and_uneven_activity() -> None:
    steps = until(source(markets=200, rate=1_000, cycle_s=900), 60)
    flow = [step for step in steps if isinstance(step, Changed | Traded)]
    assert 0.7 * 60_000 < len(flow) < 1.3 * 60_000
    tenths = Counter((step.at_us - START_US) // 100_000 for step in flow)
    assert max(tenths.values()) > 4 * len(flow) / 600, "bursts"
    activity = sorted(Counter(step.ticker for step in flow).values(), reverse=True)
    assert activity[0] > 20 * activity[len(activity) // 2]
    changes = [step for step in flow if isinstance(step, Changed)]
    fractional = sum(step.change_e2 % 100 != 0 for step in changes) / len(changes)
    assert 0.05 < fractional < 0.4
    assert any(step.price_e4 % 100 for step in changes), "prices finer than a cent"
    trades = [step for step in flow if isinstance(step, Traded)]
    assert 0.02 < len(trades) / len(flow) < 0.3
    assert len({trade.trade_id for trade in trades}) == len(trades)
    assert {trade.block for trade in trades} == {True, False}


def test_legacy_keeps_to_whole_cents_and_contracts() -> None:
    for step in until(source(legacy=True), 20):
        if isinstance(step, Changed):
            assert step.price_e4 % 100 == step.change_e2 % 100 == 0
        elif isinstance(step, Listed):
            assert all(price % 100 == qty % 100 == 0 for _, price, qty in step.levels)


@pytest.mark.parametrize("markets", [1, 200, 12_000])
def test_as_many_markets_as_asked_for_each_with_a_name_of_its_own(markets: int) -> None:
    opening = list(itertools.takewhile(lambda s: isinstance(s, Listed), source(markets=markets, rate=1)))
    tickers = [step.market.ticker for step in opening if isinstance(step, Listed)]
    assert len(tickers) == len(set(tickers)) == markets
    assert len({step.market_id for step in opening if isinstance(step, Listed)}) == markets


def test_grids() -> None:
    for name in STRUCTURES:
        prices = grid(name)
        assert all(0 < price < 10_000 for price in prices)
        assert [10_000 - price for price in reversed(prices)] == list(prices), "both sides quote the same prices"
    assert (len(grid("linear_cent")), len(grid("deci_cent"))) == (99, 999)
    specs = [*lasting(200, 1, START_US), *combos(1, 1, START_US)]
    structures = {spec.market.price_level_structure for spec in specs}
    assert structures == set(STRUCTURES)


def test_no_step_is_made_ahead_of_its_time() -> None:
    fast, slow = (Generated(3, START_US, markets=20, messages_per_s=500, cycle_s=10) for _ in range(2))
    whole = fast.advance(START_US + 30_000_000, 10**9)
    parts: list[Step] = []
    now_us = START_US
    while now_us <= START_US + 30_000_000:
        found = slow.advance(now_us, 100)
        assert all(step.at_us <= now_us for step in found)
        parts += found
        if len(found) < 100:
            next_us = slow.next_us()
            assert next_us > now_us
            now_us = next_us
    assert parts == whole[: len(parts)]
    assert len(whole) - len(parts) < 10


def test_another_rate_for_a_while() -> None:
    generated = Generated(3, START_US, markets=20, messages_per_s=100, cycle_s=900)
    generated.advance(START_US + 1_000_000, 10**9)
    generated.set_rate(5_000, START_US + 6_000_000)
    busy = len(generated.advance(START_US + 6_000_000, 10**9))
    calm = len(generated.advance(START_US + 11_000_000, 10**9))
    assert 20_000 < busy < 30_000
    assert calm < 1_500


def test_a_halted_part_does_not_trade_and_the_rest_does() -> None:
    generated = Generated(3, START_US, markets=60, messages_per_s=2_000, cycle_s=900)
    listed = [step for step in generated.advance(START_US, 10**9) if isinstance(step, Listed)]
    index = {step.market.ticker: step.market.raw["exchange_index"] for step in listed}
    generated.halt(frozenset({2}))
    flow = [s for s in generated.advance(START_US + 5_000_000, 10**9) if isinstance(s, Changed | Traded)]
    assert {index[step.ticker] for step in flow} == {0, 3}
    generated.halt(frozenset())
    flow = [s for s in generated.advance(START_US + 10_000_000, 10**9) if isinstance(s, Changed | Traded)]
    assert {index[step.ticker] for step in flow} == {0, 2, 3}


def test_combos_trade_too_and_are_named_as_the_venues() -> None:
    generated = Generated(3, START_US, markets=5, combos=40, messages_per_s=2_000, cycle_s=900)
    steps = generated.advance(START_US + 10_000_000, 10**9)
    combos = {s.market.ticker for s in steps if isinstance(s, Listed) and s.market.ticker.startswith("KXMVE")}
    assert len(combos) == 40
    assert combos & {step.ticker for step in steps if isinstance(step, Changed)}
