"""The markets of the generated source: series, events, tickers, price grids and documents.

Owns what exists and how it is named; what happens in a market is order flow. Everything follows from the seed and the
time of the start.
"""

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from book.units import MAX_PRICE_E4, price_text
from book.wire.rest import EventDoc, MarketDoc, SeriesDoc

STRUCTURES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "linear_cent": ((0, 10_000, 100),),
    "deci_cent": ((0, 10_000, 10),),
    "tapered_deci_cent": ((0, 1_000, 10), (1_000, 9_000, 100), (9_000, 10_000, 10)),
    "center_deci_edge_centi_cent": ((0, 100, 1), (100, 9_900, 10), (9_900, 10_000, 1)),
}
"""Price bands as start, end and step, in 1/10,000 dollar."""

COMBO_PREFIX = "KXMVE"
"""What the series of combos begin with; nothing else does."""
EXCHANGE_INDEXES = ("Default", "Combos", "Crypto & Commodities", "Tennis/Baseball/Basketball")
"""The parts of the exchange by their index; each can stop alone."""
_INDEX_OF_CATEGORY = {"Combos": 1, "Crypto": 2, "Sports": 3}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000
_MARKETS_AN_EVENT = 10
_EVENT_INDEX_LIMIT = 36

_LASTING = (
    ("KXBTCD", "Bitcoin price", "Crypto", "tapered_deci_cent", 94_000),
    ("KXHIGHNY", "Highest temperature in New York", "Climate and Weather", "linear_cent", 40),
    ("KXINX", "S&P 500 close", "Financials", "linear_cent", 6_700),
    ("KXETHD", "Ethereum price", "Crypto", "deci_cent", 3_000),
    ("KXFEDDECISION", "Fed decision", "Economics", "linear_cent", 300),
    ("KXMLBTOTAL", "Total runs", "Sports", "linear_cent", 5),
    ("KXGDP", "GDP growth", "Economics", "deci_cent", 1),
    ("KXNFLWINS", "Wins in the season", "Sports", "linear_cent", 4),
)
_RECURRING = (
    ("KXBTC15M", "BTC", "tapered_deci_cent"),
    ("KXETH15M", "ETH", "deci_cent"),
    ("KXGOLD15M", "Gold", "linear_cent"),
    ("KXSOL15M", "SOL", "linear_cent"),
)


class Spec(msgspec.Struct, frozen=True):
    """A market to be listed: its documents and its id; ``prices_e4`` are the prices that may be quoted."""

    market: MarketDoc
    event: EventDoc
    series: SeriesDoc
    market_id: str
    prices_e4: tuple[int, ...]


def grid(structure: str) -> tuple[int, ...]:
    """Return the prices of a structure, ascending, 0 and one dollar left out; the same for both sides."""
    prices = {p for start, end, step in STRUCTURES[structure] for p in range(start, end + 1, step)}
    return tuple(sorted(prices - {0, MAX_PRICE_E4}))


def price_ranges(structure: str) -> tuple[dict[str, str], ...]:
    """Return the bands of a structure as the venue writes them."""
    return tuple(
        {"start": price_text(start), "end": price_text(end), "step": price_text(step)}
        for start, end, step in STRUCTURES[structure]
    )


_GRIDS = {name: grid(name) for name in STRUCTURES}


def lasting(count: int, seed: int, start_us: int, *, cents_only: bool = False) -> Iterator[Spec]:
    """Yield ``count`` markets that stay open for days, ten an event, over all series in turn."""
    day = _EPOCH + timedelta(microseconds=start_us)
    for number in range(count):
        event_number, place = divmod(number, _MARKETS_AN_EVENT)
        name, title, category, structure, base = _LASTING[event_number % len(_LASTING)]
        round_number = event_number // len(_LASTING)
        close = day + timedelta(days=2 + round_number)
        event_ticker = f"{name}-{_date(close)}{_suffix(round_number)}"
        strike = base + base // 20 * place + place
        event = EventDoc(
            event_ticker=event_ticker, series_ticker=name, title=title, sub_title=f"On {close:%b} {close.day}",
            category=category, mutually_exclusive=False, strike_us=_us(close),
            raw={"collateral_return_type": "", "exchange_index": _INDEX_OF_CATEGORY.get(category, 0)},
        )  # fmt: skip
        yield _spec(
            f"{event_ticker}-T{strike}.5", event, title, "linear_cent" if cents_only else structure,
            f"{strike}.5", seed, start_us - _DAY_US, start_us - _DAY_US, _us(close), f"Above {strike}.5",
        )  # fmt: skip


def combos(count: int, seed: int, start_us: int) -> Iterator[Spec]:
    """Yield ``count`` combinations of the day's games, each an event of its own, that stay open for two days."""
    close = _EPOCH + timedelta(microseconds=start_us, days=2)
    for number in range(count):
        rng = random.Random(f"{seed}/combo/{number}")
        event_ticker = f"{COMBO_PREFIX}SPORTSMULTIGAME-S2026{rng.getrandbits(44):011X}"
        event = EventDoc(
            event_ticker=event_ticker, series_ticker=f"{COMBO_PREFIX}SPORTSMULTIGAME", title="Combo", sub_title="",
            category="Combos", mutually_exclusive=False, strike_us=_us(close),
            raw={"collateral_return_type": "", "exchange_index": _INDEX_OF_CATEGORY["Combos"]},
        )  # fmt: skip
        spec = _spec(
            f"{event_ticker}-{rng.getrandbits(44):011X}", event, "Combo", "center_deci_edge_centi_cent", "0", seed,
            start_us - _DAY_US, start_us - _DAY_US, _us(close), "yes A, yes B",
        )  # fmt: skip
        legs = [{"event_ticker": f"KXNFLGAME-{n}", "market_ticker": f"KXNFLGAME-{n}-A", "side": "yes"} for n in (1, 2)]
        raw = spec.market.raw | {"mve_collection_ticker": event.series_ticker, "mve_selected_legs": legs}
        market = msgspec.structs.replace(spec.market, strike_type=None, floor_strike=None, raw=raw)
        yield msgspec.structs.replace(spec, market=market)


def recurring(
    number: int, cycle: int, seed: int, listed_us: int, open_us: int, close_us: int, *, cents_only: bool = False
) -> Spec:
    """Return one short-lived market of the ``number``-th recurring series: its ``cycle``-th."""
    name, thing, structure = _RECURRING[number % len(_RECURRING)]
    close = _EPOCH + timedelta(microseconds=close_us)
    seconds = f"{close:%S}" if close.second else ""
    event_ticker = f"{name}-{_date(close)}{close:%H%M}{seconds}{_suffix(number // len(_RECURRING))}"
    strike = f"{1000 + cycle % 1000}.25"
    event = EventDoc(
        event_ticker=event_ticker, series_ticker=name, title=f"{thing} 15 min", sub_title=f"Ends at {close:%H:%M:%S}",
        category="Crypto", mutually_exclusive=False, strike_us=close_us,
        raw={"collateral_return_type": "", "exchange_index": _INDEX_OF_CATEGORY["Crypto"]},
    )  # fmt: skip
    return _spec(
        f"{event_ticker}-{close:%M}", event, f"{thing} price up in next 15 mins?",
        "linear_cent" if cents_only else structure, strike, seed, listed_us, open_us, close_us, f"Above {strike}",
    )  # fmt: skip


def _spec(
    ticker: str, event: EventDoc, title: str, structure: str, strike: str, seed: int, listed_us: int, open_us: int,
    close_us: int, sub_title: str,
) -> Spec:  # fmt: skip
    market = MarketDoc(
        ticker=ticker, event_ticker=event.event_ticker, title=title, yes_sub_title=sub_title, no_sub_title=sub_title,
        status="active", created_us=listed_us, open_us=open_us, close_us=close_us,
        expected_expiration_us=close_us + 300_000_000, latest_expiration_us=close_us + 7 * _DAY_US,
        price_level_structure=structure, price_ranges=price_ranges(structure), strike_type="greater",
        floor_strike=strike,
        rules_primary=f"If the figure is above {strike}, the market resolves to Yes.", updated_us=listed_us,
        raw={
            "market_type": "binary", "settlement_timer_seconds": 1, "notional_value_dollars": price_text(MAX_PRICE_E4),
            "can_close_early": True, "expiration_value": "", "exchange_index": event.raw["exchange_index"],
            "settlement_bounds_type": "default",
        },
    )  # fmt: skip
    series = SeriesDoc(
        ticker=event.series_ticker, title=event.title, category=event.category, frequency="custom",
        raw={"tags": [], "fee_type": "quadratic", "fee_multiplier": 1},
    )  # fmt: skip
    market_id = uuid.UUID(int=random.Random(f"{seed}/{ticker}").getrandbits(128), version=4)
    return Spec(market, event, series, str(market_id), _GRIDS[structure])


def _date(moment: datetime) -> str:
    return f"{moment:%y%b%d}".upper()


def _suffix(number: int) -> str:
    """Return what tells apart events that would share a name: nothing, then B, C ... and 2B ..."""
    if not number:
        return ""
    return f"-{number}" if number >= _EVENT_INDEX_LIMIT else f"-{chr(ord('A') + number % 26)}{number // 26 or ''}"


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
