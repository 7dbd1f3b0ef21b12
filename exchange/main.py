"""Runs the local exchange: venue, source, websocket port and HTTP port in one event loop.

Owns the putting together, and the order of starting and stopping. Decides nothing else.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from exchange.asgi import Router
from exchange.auth import Verifier
from exchange.capture import Capture
from exchange.config import GENERATED, ExchangeConfig, Ports
from exchange.control import ControlInterface
from exchange.generated import Generated
from exchange.player import Player
from exchange.rest import RestInterface
from exchange.steps import Step
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
    are listed. Raises ConfigError or SourceError before that.
    """
    config = config.checked()
    verifier = Verifier(config.public_keys, lambda: time.time_ns() // 1_000_000, round(config.clock_tolerance_s * 1000))
    venue = Venue(config, now_us, time.time_ns, time.monotonic)
    player = Player(source_steps(config, now_us()), venue.apply, venue.settle, now_us, time.monotonic)
    player.prime()
    ws = WsServer(venue, verifier, config)
    router = Router()
    RestInterface(venue, verifier).register(router)
    ControlInterface(venue, ws, lambda: player.is_done).register(router)
    with bound(config.host, config.http_port) as listener:
        async with ws.listening() as ws_port, asyncio.TaskGroup() as tasks:
            tasks.create_task(serve_http(router, listener))
            tasks.create_task(player.run())
            if ready is not None:
                ready(Ports(ws_port, listener.getsockname()[1]))


def source_steps(config: ExchangeConfig, now_us: int) -> Iterator[Step]:
    """Return the steps of the source that a configuration names, beginning at ``now_us``.

    Raises SourceError for a capture that cannot be played.
    """
    if config.source == GENERATED:
        return Generated(
            config.seed,
            now_us,
            markets=config.markets,
            messages_per_s=config.messages_per_s,
            cycle_s=config.cycle_s,
            legacy=config.legacy,
        ).steps()
    capture = Capture(Path(config.source), config.capture_tickers)
    if config.rehearsal:
        return capture.steps(Timeline())
    start_us = now_us + round(config.lead_s * 1_000_000)
    return capture.steps(Timeline(capture.first_us, start_us, round(config.speed * 1000)))
