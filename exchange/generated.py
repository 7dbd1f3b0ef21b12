"""A market day out of a seed, as a source: many markets of uneven activity, bursts, and whole lives.

Owns the schedule: which market acts when, and when short-lived markets are listed, opened, paused, closed and settled.
The same seed and start give the same steps. Endless.
"""

import heapq
import itertools
import random
from collections.abc import Iterator

import msgspec

from book.wire import lifecycle
from exchange.order_flow import OrderFlow
from exchange.steps import BookSet, Changed, Listed, Milestone, Step
from exchange.universe import Spec, combos, lasting, recurring

BUCKET_US = 100_000
_LARGEST_BURST = 40
_EVEN_RATE = 2_500
_EARLY_EVERY, _EARLY_TWENTIETH = 5, 18
"""Each fifth of a series closes early, at this twentieth of its life."""
_ONE_DOLLAR_E4 = 10_000


class _Due(msgspec.Struct, frozen=True, order=True):
    """Something planned; ``number`` keeps what is planned for one instant in its order."""

    at_us: int
    number: int
    what: str
    place: int
    cycle: int


class Generated:
    """A generated source.

    ``markets`` are open at the start (``start_us``); about one in fifty, at least one, is short-lived and followed by
    the next of its series each ``cycle_s``. ``messages_per_s`` is the mean over all markets of changes and trades;
    ``combos`` come on top of ``markets``.
    ``legacy`` keeps prices to whole cents and sizes to whole contracts.
    """

    def __init__(
        self, seed: int, start_us: int, *, markets: int, messages_per_s: int, cycle_s: int, combos: int = 0,
        legacy: bool = False,
    ) -> None:  # fmt: skip
        self._seed = seed
        self._start_us = start_us
        self._cycle_us = cycle_s * 1_000_000
        self._messages_per_s = messages_per_s
        self._combos = combos
        self._legacy = legacy
        self._rng = random.Random(f"{seed}/flow")
        self._series = min(max(markets // 50, 1), 16)
        self._lasting = max(markets - self._series, 0)
        self._due: list[_Due] = []
        self._numbers = itertools.count()
        self._live: dict[str, OrderFlow] = {}
        self._running: dict[int, tuple[Spec, OrderFlow]] = {}
        self._ranking: list[OrderFlow] | None = None
        self._weights: list[float] = []
        self._flows: dict[str, OrderFlow] = {}
        self._halted: frozenset[int] = frozenset()
        self._is_open = False
        self._bucket_us = start_us
        self._times: list[int] = []
        self._burst = (0, 0)
        self._last: OrderFlow | None = None

    def steps(self) -> Iterator[Step]:
        """Yield everything that happens, in order of time."""
        while True:
            yield from self.advance(self.next_us(), 1)

    def next_us(self) -> int:
        """Return the instant at which something may happen next."""
        if not self._is_open:
            return self._start_us
        next_us = self._times[-1] if self._times else self._bucket_us
        return min(next_us, self._due[0].at_us) if self._due else next_us

    def advance(self, until_us: int, most: int) -> list[Step]:
        """Return what happens up to an instant, inclusive, in order; about ``most`` steps, the rest comes next time.

        Fewer than ``most`` says that nothing else happens up to then.
        """
        steps: list[Step] = []
        if not self._is_open and until_us >= self._start_us:
            self._is_open = True
            steps += self._opening()
        while len(steps) < most and self.next_us() <= until_us:
            if self._due and self._due[0].at_us == self.next_us():
                steps += self._planned()
            elif self._times:
                steps += self._act(self._times[-1])
            else:
                self._fill_bucket()
        return steps

    def set_rate(self, messages_per_s: int, until_us: int) -> None:
        """Let the mean of changes and trades be another until an instant; from the next tenth of a second on."""
        self._burst = (messages_per_s, until_us)

    def halt(self, indexes: frozenset[int]) -> None:
        """Let nobody trade in the markets of these parts of the exchange, and in all others again."""
        self._halted = indexes

    def clear(self, ticker: str) -> None:
        """Cancel every order of a market."""
        if ticker in self._flows:
            self._flows[ticker].clear()

    def trade(self, ticker: str, *, is_on: bool) -> None:
        """Let a market trade, or not."""
        self._leave(ticker)
        if is_on and ticker in self._flows:
            self._enter(self._flows[ticker])

    def reprice(self, ticker: str, prices_e4: tuple[int, ...]) -> None:
        """Let later orders of a market be quoted on another grid; what rests stays."""
        if ticker in self._flows:
            self._flows[ticker].reprice(prices_e4)

    def _opening(self) -> Iterator[Step]:
        """List the markets that are open at the start."""
        for place in range(self._series):
            cycle = self._start_us // self._cycle_us
            yield from self._list(place, cycle, self._start_us, is_opening=True)
        for spec in self._lasting_specs():
            flow = self._flow(spec, depth=12)
            self._live[flow.ticker] = flow
            yield Listed(
                self._start_us, spec.market, spec.event, spec.series, spec.market_id, flow.levels(), announce=False
            )

    def _lasting_specs(self) -> Iterator[Spec]:
        yield from lasting(self._lasting, self._seed, self._start_us, cents_only=self._legacy)
        yield from combos(self._combos, self._seed, self._start_us)

    def _rate_now(self) -> int:
        rate, until_us = self._burst
        return rate if self._bucket_us < until_us else self._messages_per_s

    def _fill_bucket(self) -> None:
        """Draw when the orders of the next tenth of a second come: a burst or a lull."""
        rng, from_us = self._rng, self._bucket_us
        rate = self._rate_now()
        if rate:
            # mean 1: how busy this tenth is; the more there is to do, the more it evens out
            shape = max(0.4, rate / _EVEN_RATE)
            share = min(rng.gammavariate(shape, 1 / shape), _LARGEST_BURST)
            expected, remainder = divmod(rate * BUCKET_US * int(share * 1000), 1_000_000_000)
            count = expected + (rng.randrange(1_000_000_000) < remainder)
            self._times = sorted((from_us + int(rng.random() * BUCKET_US) for _ in range(count)), reverse=True)
        self._bucket_us += BUCKET_US

    def _act(self, at_us: int) -> list[Step]:
        """Let one market act; its steps take the places of as many orders of this tenth."""
        flow = self._last = self._chosen(self._last)
        steps = flow.act(at_us) if flow is not None and flow.exchange_index not in self._halted else []
        del self._times[-max(len(steps), 1) :]
        return steps

    def _chosen(self, last: OrderFlow | None) -> OrderFlow | None:
        """Return the market that acts next: often the same again, else by rank, the first most often."""
        if self._ranking is None:
            self._ranking = list(self._live.values())
            shares = (1.0 / rank**0.8 for rank in range(1, len(self._ranking) + 1))
            self._weights = list(itertools.accumulate(shares))
            last = None
        if not self._ranking:
            return None
        if last is not None and self._rng.random() < 0.3:
            return last
        return self._rng.choices(self._ranking, cum_weights=self._weights)[0]

    def _flow(self, spec: Spec, depth: int) -> OrderFlow:
        rng = random.Random(f"{self._seed}/{spec.market.ticker}")
        flow = self._flows[spec.market.ticker] = OrderFlow(
            spec.market.ticker, spec.prices_e4, rng, is_fractional=not self._legacy, depth=depth,
            exchange_index=spec.market.raw["exchange_index"],
        )  # fmt: skip
        return flow

    def _plan(self, at_us: int, what: str, place: int, cycle: int) -> None:
        heapq.heappush(self._due, _Due(at_us, next(self._numbers), what, place, cycle))

    def _planned(self) -> Iterator[Step]:
        """Do what is planned next."""
        due = heapq.heappop(self._due)
        if due.what == "list":
            yield from self._list(due.place, due.cycle, due.at_us, is_opening=False)
        else:
            yield from self._turn(due)

    def _list(self, place: int, cycle: int, at_us: int, *, is_opening: bool) -> Iterator[Step]:
        """List a short-lived market, half a life before it opens unless it is open at the start, and plan its life."""
        open_us = cycle * self._cycle_us
        close_us = open_us + self._cycle_us
        spec = recurring(place, cycle, self._seed, at_us, open_us, close_us, cents_only=self._legacy)
        flow = self._flow(spec, depth=12 if is_opening else 0)
        status = "active" if is_opening else "initialized"
        market = msgspec.structs.replace(spec.market, status=status)
        self._running[self._key(place, cycle)] = (spec, flow)
        yield Listed(at_us, market, spec.event, spec.series, spec.market_id, flow.levels(), announce=not is_opening)
        if is_opening:
            self._enter(flow)
        else:
            self._plan(open_us, "open", place, cycle)
        twentieth_us = self._cycle_us // 20
        turns = {"target": 1, "pause": 10, "unpause": 11, "close": 20, "determine": 21, "settle": 22}
        if cycle % _EARLY_EVERY == 0:
            turns |= {"hasten": 14, "close": _EARLY_TWENTIETH}
        for what, after in turns.items():
            if open_us + after * twentieth_us > at_us:
                self._plan(open_us + after * twentieth_us, what, place, cycle)
        self._plan(max(open_us + 10 * twentieth_us, at_us), "list", place, cycle + 1)

    def _turn(self, due: _Due) -> Iterator[Step]:
        """Carry out one turn in a short-lived market's life."""
        key = self._key(due.place, due.cycle)
        spec, flow = self._running[key]
        ticker, at_us = spec.market.ticker, due.at_us
        if due.what == "open":
            self._enter(flow)
            yield Milestone(at_us, ticker, status="active")
        elif due.what in {"target", "hasten"}:
            yield self._news(due, spec)
        elif due.what == "pause":
            self._leave(ticker)
            yield Milestone(at_us, ticker, status="inactive", message=lifecycle.deactivated(ticker))
        elif due.what == "unpause":
            self._enter(flow)
            resting = flow.levels()
            flow.clear()
            yield Milestone(at_us, ticker, status="active", message=lifecycle.activated(ticker))
            for side, price_e4, qty_e2 in resting:  # the venue cancels every resting order
                yield Changed(at_us, ticker, side, price_e4, -qty_e2, at_us)
        elif due.what == "close":
            self._leave(ticker)
            flow.clear()
            yield Milestone(at_us, ticker, status="closed")
            yield BookSet(at_us, ticker)
        else:
            yield self._result(due.what, ticker, at_us)
        if due.what == "settle":
            del self._running[key], self._flows[ticker]

    def _news(self, due: _Due, spec: Spec) -> Milestone:
        """Return what the venue makes known of a running market: its strike, or that it closes early."""
        ticker, at_us = spec.market.ticker, due.at_us
        if due.what == "hasten":
            close_us = due.cycle * self._cycle_us + _EARLY_TWENTIETH * (self._cycle_us // 20)
            message = lifecycle.close_date_updated(ticker, close_us)
            return Milestone(at_us, ticker, message=message, close_us=close_us)
        strike = spec.market.floor_strike or "0"
        title = f"Price to beat: ${strike}"
        message = lifecycle.metadata_updated(ticker, floor_strike=strike, yes_sub_title=title)
        return Milestone(at_us, ticker, message=message, yes_sub_title=title)

    def _result(self, what: str, ticker: str, at_us: int) -> Milestone:
        if what == "settle":
            return Milestone(
                at_us, ticker, status="finalized", settlement_us=at_us, message=lifecycle.settled(ticker, at_us)
            )
        result = random.Random(f"{self._seed}/{ticker}/result").choice(("yes", "no"))
        value_e4 = _ONE_DOLLAR_E4 if result == "yes" else 0
        return Milestone(
            at_us, ticker, status="determined", result=result, settlement_value_e4=value_e4,
            message=lifecycle.determined(ticker, result, value_e4, at_us),
        )  # fmt: skip

    def _enter(self, flow: OrderFlow) -> None:
        """Let a market act; the short-lived ones rank first."""
        self._live = {flow.ticker: flow} | self._live
        self._ranking = None

    def _leave(self, ticker: str) -> None:
        self._live.pop(ticker, None)
        self._ranking = None

    def _key(self, place: int, cycle: int) -> int:
        return cycle * self._series + place
