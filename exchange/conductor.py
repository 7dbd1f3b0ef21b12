"""Plays a scenario: its faults at their times, its storms out of their seeds.

Owns the waiting between them, by the machine's clock. A fault that meets nobody is logged, and the scenario goes on.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import Iterator

from exchange.errors import RefusedError
from exchange.injector import Injector
from exchange.orders import Order
from exchange.scenario import Planned, Scenario, Storm

_log = logging.getLogger(__name__)


async def play_scenario(scenario: Scenario, injector: Injector) -> None:
    """Play a scenario to its end, or until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        for planned in scenario.planned:
            tasks.create_task(_play(_times(planned), injector))
        for storm in scenario.storms:
            tasks.create_task(_play(storm_times(storm), injector))


async def _play(times: Iterator[tuple[float, Order]], injector: Injector) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for at_s, order in times:
        await asyncio.sleep(max(began_s + at_s - loop.time(), 0))
        try:
            injector.order(order)
        except RefusedError as error:
            _log.warning("a fault of the scenario, %s, is not made: %s", order.kind, error)


def _times(planned: Planned) -> Iterator[tuple[float, Order]]:
    numbers = itertools.count() if planned.times is None else range(planned.times)
    for number in numbers:
        yield planned.at_s + number * (planned.every_s or 0.0), planned.order
        if planned.every_s is None:
            return


def storm_times(storm: Storm) -> Iterator[tuple[float, Order]]:
    """Yield when each fault of a storm is made, in seconds after the start, and the fault."""
    rng = random.Random(storm.seed)
    at_s = storm.from_s
    while True:
        at_s += rng.expovariate(1 / storm.mean_s)
        if storm.to_s is not None and at_s >= storm.to_s:
            return
        yield at_s, rng.choice(storm.faults)
