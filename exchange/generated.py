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
from exchange.universe import Spec, lasting, recurring

BUCKET_US = 100_000
_LARGEST_BURST = 40
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
    the next of its series each ``cycle_s``. ``messages_per_s`` is the mean over all markets of changes and trades.
    ``legacy`` keeps prices to whole cents and sizes to whole contracts.
    """

    def __init__(
        self, seed: int, start_us: int, *, markets: int, messages_per_s: int, cycle_s: int, legacy: bool = False
    ) -> None:
        self._seed = seed
        self._start_us = start_us
        self._cycle_us = cycle_s * 1_000_000
        self._messages_per_s = messages_per_s
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

    def steps(self) -> Iterator[Step]:
        """Yield everything that happens, in order of time."""
        yield from self._opening()
        while not self._messages_per_s:
            yield from self._planned(self._due[0].at_us)
        for bucket in itertools.count():
            yield from self._bucket(self._start_us + bucket * BUCKET_US)

    def _opening(self) -> Iterator[Step]:
        """List the markets that are open at the start."""
        for place in range(self._series):
            cycle = self._start_us // self._cycle_us
            yield from self._list(place, cycle, self._start_us, is_opening=True)
        for spec in lasting(self._lasting, self._seed, self._start_us, cents_only=self._legacy):
            flow = self._flow(spec, depth=12)
            self._live[flow.ticker] = flow
            yield Listed(
                self._start_us, spec.market, spec.event, spec.series, spec.market_id, flow.levels(), announce=False
            )

    def _bucket(self, from_us: int) -> Iterator[Step]:
        """Play a tenth of a second: a burst or a lull of orders, and what is planned between them."""
        rng = self._rng
        share = min(rng.gammavariate(0.4, 2.5), _LARGEST_BURST)  # mean 1: how busy this tenth is
        expected = self._messages_per_s * BUCKET_US * int(share * 1000) // 1_000_000_000
        remainder = self._messages_per_s * BUCKET_US * int(share * 1000) % 1_000_000_000
        count = expected + (rng.randrange(1_000_000_000) < remainder)
        times = sorted(from_us + rng.randrange(BUCKET_US) for _ in range(count))
        place = 0
        flow: OrderFlow | None = None
        while place < len(times):
            at_us = times[place]
            yield from self._planned(at_us)
            flow = self._chosen(flow)
            steps = flow.act(at_us) if flow is not None else []
            yield from steps
            place += max(len(steps), 1)
        yield from self._planned(from_us + BUCKET_US - 1)

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
        return OrderFlow(spec.market.ticker, spec.prices_e4, rng, is_fractional=not self._legacy, depth=depth)

    def _plan(self, at_us: int, what: str, place: int, cycle: int) -> None:
        heapq.heappush(self._due, _Due(at_us, next(self._numbers), what, place, cycle))

    def _planned(self, until_us: int) -> Iterator[Step]:
        """Do what is planned up to an instant, inclusive."""
        while self._due and self._due[0].at_us <= until_us:
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
        for what, after in (("pause", 10), ("unpause", 11), ("close", 20), ("determine", 21), ("settle", 22)):
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
            del self._running[key]

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
