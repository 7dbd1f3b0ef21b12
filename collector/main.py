"""The collector as a process: settings in, a recorder until told to stop.

Owns the composition and the signals. Raises on a bug; the supervisor starts it again.
"""

import asyncio
import random
import signal
import time
from collections.abc import Callable
from typing import Any

from collector.discovery import Discovery
from collector.journal import Journal
from collector.metadata import Versions
from collector.recorder import Recorder
from collector.session import Limits
from collector.signing import Signer
from collector.venue_rest import VenueRest
from ops import logs
from ops.settings import Settings


async def collect(settings: Settings) -> None:
    """Record the venue that the settings name until SIGTERM or SIGINT; return when everything is flushed and sealed."""
    log: Callable[..., None] = logs.get("collector").info
    limits = Limits(
        silence_s=settings.silence_s,
        watchdog_s=settings.watchdog_s,
        audit_every_s=settings.audit_every_s,
        most_markets=settings.markets_per_connection,
    )
    journal = Journal(settings.home, settings.shard, seal_s=settings.seal_s, monotonic_s=time.monotonic)
    log("journal_open", last_us=journal.last_us, recovered=[str(one.hour_dir.name) for one in journal.recovered])
    rng = random.Random()
    show: Any = settings.clock.show_us  # exact integer arithmetic, on arrays as on numbers
    recorder = Recorder(journal, limits, settings.shard, show, log, queue_frames=settings.queue_frames, rng=rng)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, recorder.stop)
    signer = _signer(settings)
    rest = VenueRest(
        settings.kalshi_rest_url,
        signer,
        lambda error: log("document_unreadable", ticker=error.ticker, error=str(error)),
    )
    versions = Versions()
    try:
        async with asyncio.TaskGroup() as group:
            loading = group.create_task(_load(versions, settings, log))
            discovery = Discovery(
                rest, recorder.session, versions, recorder.now_us, log, combos=settings.combos, loaded=loading
            )
            discovering = group.create_task(discovery.run())
            await recorder.run(settings.kalshi_ws_url, signer)
            discovering.cancel()
            loading.cancel()
    finally:
        await rest.close()
    log("stopped")


async def _load(versions: Versions, settings: Settings, log: Callable[..., None]) -> None:
    await asyncio.to_thread(versions.load, settings.home, settings.shard)
    for error in versions.unreadable:
        log("metadata_unreadable", error=str(error))


def _signer(settings: Settings) -> Signer | None:
    if settings.kalshi_key_id is None:
        return None
    if settings.kalshi_private_key_path is not None:
        return Signer.from_file(settings.kalshi_key_id, settings.kalshi_private_key_path)
    return Signer(settings.kalshi_key_id, settings.kalshi_private_key_pem or "")
