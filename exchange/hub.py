"""Who gets what: the subscriptions of each market, and the frames that one change makes for all of them.

Owns the index from channel and market to subscriptions. A body is encoded once however many subscribe. Sans-IO.
"""

from collections.abc import Callable, Iterable
from typing import Any

from book.records import Level, Side
from book.units import MAX_PRICE_E4
from book.wire import encode
from book.wire.commands import COMBO_LIFECYCLE, LIFECYCLE, ORDERBOOK, TICKER, TRADE, WITH_MARKETS
from book.wire.rest import Quote, render_document
from exchange.registry import Market, Registry
from exchange.steps import Changed, Traded
from exchange.subscription import Subscription
from exchange.truth import Truth
from exchange.universe import COMBO_PREFIX


class Hub:
    """Delivers what happens to those who asked for it; ``legacy`` gives the field forms of before March 2026."""

    def __init__(self, registry: Registry, truth: Truth, now_us: Callable[[], int], *, legacy: bool) -> None:
        self._registry = registry
        self._truth = truth
        self._now_us = now_us
        self._legacy = legacy
        self._of_market: dict[str, dict[str, list[Subscription]]] = {ORDERBOOK: {}, TRADE: {}, TICKER: {}}
        self._of_all: dict[str, list[Subscription]] = {TRADE: [], TICKER: [], LIFECYCLE: [], COMBO_LIFECYCLE: []}
        self._told: dict[str, tuple[Any, ...]] = {}

    @property
    def change_no(self) -> int:
        """The number of the last change of any book."""
        return self._truth.change_no

    def watch(self, subscription: Subscription, tickers: Iterable[str] | None) -> None:
        """Send a subscription what happens to markets, None for all."""
        channel = subscription.channel
        if tickers is None:
            self.forget(subscription, ())
            if channel in self._of_all:
                self._of_all[channel].append(subscription)
        elif channel in self._of_market:
            index = self._of_market[channel]
            for ticker in tickers:
                index.setdefault(ticker, []).append(subscription)

    def forget(self, subscription: Subscription, tickers: Iterable[str]) -> None:
        """Send a subscription no more of these markets; of none, where it watched all of them."""
        everywhere = self._of_all.get(subscription.channel, [])
        if subscription in everywhere:
            everywhere.remove(subscription)
        index = self._of_market.get(subscription.channel, {})
        for ticker in tickers:
            found = index.get(ticker, [])
            if subscription in found:
                found.remove(subscription)
                if not found:
                    del index[ticker]

    def book_ports(self, ticker: str) -> list[int]:
        """Return the ports to which the next change of a market would go."""
        return [subscription.port for subscription in self.followers(ticker)]

    def send_change(self, step: Changed, but: set[int]) -> None:
        """Send a change to all who follow the book, except to the ports ``but``."""
        found = self._of_market[ORDERBOOK].get(step.ticker)
        if not found:
            return
        bodies: dict[bool, bytes] = {}
        for subscription in tuple(found):
            if step.ticker in subscription.waiting or subscription.port in but:
                continue
            yes_price = subscription.use_yes_price
            body = bodies.get(yes_price)
            if body is None:
                body = bodies[yes_price] = encode.delta_body(
                    step.ticker, step.side, step.price_e4, step.change_e2, step.ts_us,
                    market_id=self._market_id(step.ticker), use_yes_price=yes_price, legacy=self._legacy,
                )  # fmt: skip
            subscription.send_body("orderbook_delta", step.ticker, self.change_no, body)

    def followers(self, ticker: str) -> list[Subscription]:
        """Return the subscriptions to which the next change of a market would go."""
        found = self._of_market[ORDERBOOK].get(ticker, ())
        return [subscription for subscription in found if ticker not in subscription.waiting]

    def followed(self) -> list[str]:
        """Return the markets whose books somebody follows."""
        return list(self._of_market[ORDERBOOK])

    def send_book(self, ticker: str) -> None:
        """Send a market's book, unasked, to all who follow it."""
        for subscription in self.followers(ticker):
            self.send_snapshot(subscription, ticker, None)

    def send_snapshot(self, subscription: Subscription, ticker: str, command_id: int | None) -> None:
        """Send a market's book to one subscription; an unknown market has an empty one."""
        levels = self._levels(ticker)
        subscription.send(
            "orderbook_snapshot", ticker, self.change_no,
            lambda seq: encode.snapshot(
                subscription.sid, seq, ticker, levels, market_id=self._market_id(ticker), command_id=command_id,
                use_yes_price=subscription.use_yes_price, legacy=self._legacy,
            ),
        )  # fmt: skip

    def send_trade(self, step: Traded) -> None:
        """Send a trade to all who follow the market or all markets."""
        found = (*self._of_market[TRADE].get(step.ticker, ()), *self._of_all[TRADE])
        if not found:
            return
        body = encode.trade_body(
            ticker=step.ticker, trade_id=step.trade_id, yes_price_e4=step.yes_price_e4, qty_e2=step.qty_e2,
            taker_side=step.taker_side, block=step.block, ts_us=step.ts_us, legacy=self._legacy,
        )  # fmt: skip
        for subscription in found:
            subscription.send_body("trade", step.ticker, self.change_no, body)

    def send_lifecycle(self, ticker: str | None, body: dict[str, Any], kind: str = LIFECYCLE) -> None:
        """Send a lifecycle message to all who follow that channel; combos have a channel of their own."""
        encoded = render_document(body)
        name = ticker or body.get("event_ticker", "")
        channel = COMBO_LIFECYCLE if name.startswith(COMBO_PREFIX) else LIFECYCLE
        for subscription in tuple(self._of_all[channel]):
            subscription.send_body(channel if kind == LIFECYCLE else kind, ticker, self.change_no, encoded)

    def has_ticker_readers(self, ticker: str) -> bool:
        """Say whether anybody follows a market's summary line."""
        return bool(self._of_all[TICKER]) or ticker in self._of_market[TICKER]

    def send_ticker(self, ticker: str) -> None:
        """Send a market's summary line to all who follow it, where it differs from the last one sent."""
        market = self._registry.markets[ticker]
        quote = self.quote(market)
        told = (quote.yes_bid, quote.yes_ask, quote.last_price_e4, quote.volume_e2)
        if self._told.get(ticker) == told:
            return
        self._told[ticker] = told
        for subscription in (*self._of_market[TICKER].get(ticker, ()), *self._of_all[TICKER]):
            self.send_ticker_to(subscription, ticker)

    def send_ticker_to(self, subscription: Subscription, ticker: str) -> None:
        """Send a market's summary line to one subscription; nothing where the market is unknown."""
        market = self._registry.markets.get(ticker)
        if market is None:
            return
        quote, now_us = self.quote(market), self._now_us()
        bid_e4, bid_qty_e2 = quote.yes_bid or (0, 0)
        ask_e4, ask_qty_e2 = quote.yes_ask or (MAX_PRICE_E4, 0)
        frame = encode.ticker(
            subscription.sid, ticker=ticker, market_id=market.market_id, price_e4=quote.last_price_e4 or 0,
            yes_bid_e4=bid_e4, yes_ask_e4=ask_e4, yes_bid_qty_e2=bid_qty_e2, yes_ask_qty_e2=ask_qty_e2,
            last_trade_qty_e2=market.last_qty_e2, volume_e2=market.volume_e2,
            open_interest_e2=market.open_interest_e2, ts_us=now_us,
        )  # fmt: skip
        subscription.send("ticker", ticker, self.change_no, lambda _: frame)

    def quote(self, market: Market) -> Quote:
        """Return what a market's book and trades say. Cost: two passes over the levels."""
        book = self._truth.book(market.doc.ticker)
        no_bid = book.best(Side.NO) if book is not None else None
        return Quote(
            yes_bid=book.best(Side.YES) if book is not None else None,
            yes_ask=None if no_bid is None else (MAX_PRICE_E4 - no_bid[0], no_bid[1]),
            last_price_e4=market.last_price_e4,
            volume_e2=market.volume_e2,
            open_interest_e2=market.open_interest_e2,
        )

    def _levels(self, ticker: str) -> list[Level]:
        book = self._truth.book(ticker)
        return [] if book is None else book.levels()

    def _market_id(self, ticker: str) -> str:
        market = self._registry.markets.get(ticker)
        return "" if market is None else market.market_id


def is_global(channel: str) -> bool:
    """Say whether a channel takes no list of markets."""
    return channel not in WITH_MARKETS
