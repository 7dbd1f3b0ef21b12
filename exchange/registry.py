"""What the venue lists: markets, events and series, their state and their trades.

Owns the documents that REST shows and the figures that trades move. Holds no book.
"""

import msgspec

from book.wire.rest import EventDoc, MarketDoc, SeriesDoc, TradeDoc
from exchange.steps import Listed, Milestone, Traded
from exchange.tape import Tape


class Market:
    """A listed market: its document and the figures that trades move. ``number`` counts listings from 1."""

    __slots__ = (
        "doc",
        "last_price_e4",
        "last_qty_e2",
        "market_id",
        "number",
        "open_interest_e2",
        "series_ticker",
        "volume_e2",
    )

    def __init__(self, doc: MarketDoc, series_ticker: str, market_id: str, number: int) -> None:
        self.doc = doc
        self.series_ticker = series_ticker
        self.market_id = market_id
        self.number = number
        self.last_price_e4: int | None = None
        self.last_qty_e2 = 0
        self.volume_e2 = 0
        self.open_interest_e2 = 0


class Registry:
    """Markets, events and series in the order of their listing, and the last ``trades_kept`` trades."""

    def __init__(self, trades_kept: int) -> None:
        self.markets: dict[str, Market] = {}
        self.events: dict[str, EventDoc] = {}
        self.series: dict[str, SeriesDoc] = {}
        self.event_us: dict[str, int] = {}
        self.series_us: dict[str, int] = {}
        """When an event, or a series, last changed by the clock shown."""
        self._of_event: dict[str, list[Market]] = {}
        self.tape = Tape(trades_kept)

    def list_market(self, step: Listed) -> bool:
        """List a market with its event and series; return whether the event is new."""
        doc = step.market
        market = Market(doc, step.series.ticker, step.market_id, len(self.markets) + 1)
        self.markets[doc.ticker] = market
        is_new = doc.event_ticker not in self.events
        if is_new or self.events[doc.event_ticker] != step.event:
            self.event_us[doc.event_ticker] = step.at_us
        self.events[doc.event_ticker] = step.event
        self.series_us.setdefault(step.series.ticker, step.at_us)
        self.series.setdefault(step.series.ticker, step.series)
        self._of_event.setdefault(doc.event_ticker, []).append(market)
        return is_new

    def index_of(self, ticker: str) -> int:
        """Return a market's part of the exchange; an unknown market's is 0."""
        market = self.markets.get(ticker)
        return 0 if market is None else int(market.doc.raw.get("exchange_index", 0))

    def of_event(self, event_ticker: str) -> list[Market]:
        """Return the markets of an event in the order of their listing."""
        return self._of_event.get(event_ticker, [])

    def milestone(self, step: Milestone) -> None:
        """Carry out a change of a market's state."""
        market = self.markets[step.ticker]
        given = {
            "status": step.status,
            "close_us": step.close_us,
            "result": step.result,
            "settlement_value_e4": step.settlement_value_e4,
            "settlement_us": step.settlement_us,
            "yes_sub_title": step.yes_sub_title,
            "price_level_structure": step.price_level_structure,
            "price_ranges": step.price_ranges,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        market.doc = msgspec.structs.replace(market.doc, updated_us=step.at_us, **changes)

    def trade(self, step: Traded) -> None:
        """Count a trade; a contract that changes hands is taken to be a new one."""
        market = self.markets[step.ticker]
        market.last_price_e4, market.last_qty_e2 = step.yes_price_e4, step.qty_e2
        market.volume_e2 += step.qty_e2
        market.open_interest_e2 += step.qty_e2
        doc = TradeDoc(
            ticker=step.ticker, trade_id=step.trade_id, yes_price_e4=step.yes_price_e4, qty_e2=step.qty_e2,
            taker_side=step.taker_side, block=step.block, created_us=step.ts_us,
        )  # fmt: skip
        self.tape.add(doc)
