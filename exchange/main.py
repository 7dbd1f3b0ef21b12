"""Runs the local exchange: venue, source, websocket port and HTTP port in one event loop.

Owns the putting together, and the order of starting and stopping. Decides nothing else.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from exchange.account import Account
from exchange.asgi import Router
from exchange.auth import Verifier
from exchange.capture import Capture
from exchange.conductor import play_scenario
from exchange.config import GENERATED, ExchangeConfig, Ports
from exchange.control import ControlInterface
from exchange.generated import Generated
from exchange.injector import Injector
from exchange.player import Player
from exchange.rest import RestInterface
from exchange.scenario import Scenario, read_scenario
from exchange.source import Recorded, Source
from exchange.timeline import Timeline
from exchange.venue import Venue
from exchange.web import bound, serve_http
from exchange.ws import WsServer


async def serve(
    config: ExchangeConfig, now_us: Callable[[], int], ready: Callable[[Ports], None] | None = None
) -> None:
    """Run an exchange until cancelled.

    ``now_us`` is the clock on which the source plays and by which sent frames are stamped, in microseconds; handshakes
    and waiting go by the machine's. ``ready`` is called once, when both ports are listened on and the first markets
    are listed. Raises ConfigError, SourceError or ScenarioError before
    that.
    """
    config = config.checked()
    scenario = Scenario() if config.scenario is None else read_scenario(config.scenario)
    verifier = Verifier(config.public_keys, lambda: time.time_ns() // 1_000_000, round(config.clock_tolerance_s * 1000))
    venue = Venue(config, make_source(config, now_us()), now_us, time.time_ns, time.monotonic)
    player = Player(venue.source, venue.play, now_us, time.monotonic)
    player.prime()
    ws = WsServer(venue, verifier, config)
    router = Router()
    RestInterface(venue, verifier, config.read_tokens_per_s).register(router)
    Account(venue).register(router)
    with bound(config.host, config.http_port) as listener:
        async with ws.listening() as ws_port, asyncio.TaskGroup() as tasks:
            injector = Injector(venue, ws, tasks)
            ControlInterface(venue, ws, injector, lambda: player.is_done).register(router)
            tasks.create_task(serve_http(router, listener))
            tasks.create_task(player.run())
            tasks.create_task(play_scenario(scenario, injector))
            if ready is not None:
                ready(Ports(ws_port, listener.getsockname()[1]))


def make_source(config: ExchangeConfig, now_us: int) -> Source:
    """Return the source that a configuration names, beginning at ``now_us``.

    Raises SourceError for a capture that cannot be played.
    """
    if config.source == GENERATED:
        return Generated(
            config.seed,
            now_us,
            markets=config.markets,
            messages_per_s=config.messages_per_s,
            cycle_s=config.cycle_s,
            combos=config.combos,
            legacy=config.legacy,
        )
    capture = Capture(Path(config.source), config.capture_tickers)
    if config.rehearsal:
        return Recorded(capture.steps(Timeline()))
    start_us = now_us + round(config.lead_s * 1_000_000)
    return Recorded(capture.steps(Timeline(capture.first_us, start_us, round(config.speed * 1000))))
