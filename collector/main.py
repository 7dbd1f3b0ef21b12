"""The collector as a process: settings in, a recorder until told to stop.

Owns the composition and the signals. Raises on a bug; the supervisor starts it again.
"""

import asyncio
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from websockets.exceptions import WebSocketException

from collector import raw_archive
from collector.discovery import Discovery
from collector.disk import GIB, Disk, reserve_bytes
from collector.fill import Filler
from collector.journal import Journal
from collector.limits import Limits
from collector.metrics import Watch
from collector.raw_archive import Archive
from collector.recorder import Recorder
from collector.session import Session
from collector.signing import Signer
from collector.venue_rest import VenueRest
from collector.venue_status import StatusPoller
from collector.version_store import VersionStore
from ops import logs, metrics
from ops.settings import Settings

LOUD = frozenset(
    {
        "connection_refused_for_good",
        "disk_refused",
        "disk_unreadable",
        "handshake_refused",
        "overflow",
        "recording_stopped",
    }
)
"""Happenings that somebody should see to."""


async def collect(settings: Settings) -> None:
    """Record the venue that the settings name until SIGTERM or SIGINT; return when everything is flushed and sealed."""
    log = logs.Limited(logs.get("collector"), time.monotonic, loud=LOUD)
    journal = Journal(
        settings.home,
        settings.shard,
        seal_s=settings.seal_s,
        monotonic_s=time.monotonic,
        reserve_bytes=reserve_bytes(settings.connections * settings.markets_per_connection),
    )
    log("journal_open", last_us=journal.last_us, recovered=[str(one.hour_dir.name) for one in journal.recovered])
    watch = Watch(metrics.registry())
    recorder = _recorder(settings, journal, watch, log)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(partial(_on_loop_error, recorder.fail))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, recorder.stop)
    signer = _signer(settings)
    rest = VenueRest(
        settings.kalshi_rest_url,
        signer,
        lambda error: log("document_unreadable", ticker=error.ticker, error=str(error)),
    )
    store = VersionStore(settings.home, settings.shard, settings.lake_root)
    session, now_us = recorder.session, recorder.now_us

    async def gather() -> None:
        await asyncio.to_thread(store.gather, now_us())
        _tell_troubles(store, log)

    probes: dict[str, metrics.Probe] = {"/readyz": watch.missing, "/healthz": list}
    try:
        with metrics.shown(settings, "collect", watch.registry, probes):
            async with asyncio.TaskGroup() as group:
                loading = group.create_task(_load(store, session, now_us, log))
                discovery = Discovery(
                    rest, session, now_us, log, combos=settings.combos, loaded=loading, after_round=gather
                )
                poller = StatusPoller(rest, session, now_us, log)
                filler = Filler(rest, session, settings.home, settings.shard, now_us, log)
                asking = [
                    group.create_task(work)
                    for work in (discovery.run(), poller.run(), filler.run(), rest.learn_limits())
                ]
                await recorder.run(settings.kalshi_ws_url, signer)
                for task in (*asking, loading):
                    task.cancel()
    finally:
        await rest.close()
    log("stopped")


def _recorder(settings: Settings, journal: Journal, watch: Watch, log: logs.Limited) -> Recorder:
    limits = Limits(
        silence_s=settings.silence_s,
        watchdog_s=settings.watchdog_s,
        audit_every_s=settings.audit_every_s,
        most_markets=settings.markets_per_connection,
        connections=settings.connections,
        combos=settings.combos,
    )
    rng = random.Random()
    show: Any = settings.clock.show_us  # exact integer arithmetic, on arrays as on numbers
    return Recorder(
        journal,
        limits,
        settings.shard,
        show,
        log,
        queue_frames=settings.queue_frames,
        rng=rng,
        disk=Disk(
            journal.reserve,
            stop_bytes=int(settings.disk_stop_gib * GIB),
            resume_bytes=int(settings.disk_resume_gib * GIB),
        ),
        watch=watch,
        archive=_archive(settings, journal, log) if settings.raw_days else None,
    )


def _on_loop_error(
    fail: Callable[[BaseException], None], loop: asyncio.AbstractEventLoop, told: dict[str, Any]
) -> None:
    """Take an error that no task of ours waits for, in a callback of the socket for one: a bug, or the network's."""
    error = told.get("exception")
    if isinstance(error, Exception) and not isinstance(error, (OSError, WebSocketException)):
        fail(error)
    else:
        loop.default_exception_handler(told)


def _archive(settings: Settings, journal: Journal, log: Callable[..., None]) -> Callable[[Session, int], Archive]:
    return partial(
        raw_archive.begin,
        journal=journal,
        home=settings.home,
        shard=settings.shard,
        days=settings.raw_days,
        published=raw_archive.Published(settings.lake_root),
        log=log,
    )


async def _load(store: VersionStore, session: Session, now_us: Callable[[], int], log: Callable[..., None]) -> None:
    """Let metadata be judged once it is known which versions the log holds."""
    versions = await asyncio.to_thread(store.load, now_us())
    session.metadata.loaded(versions)
    log("metadata_loaded", records=len(versions))
    _tell_troubles(store, log)


def _tell_troubles(store: VersionStore, log: Callable[..., None]) -> None:
    for error in store.troubles:
        log("metadata_trouble", error=str(error))
    store.troubles.clear()


def _signer(settings: Settings) -> Signer | None:
    if settings.kalshi_key_id is None:
        return None
    if settings.kalshi_private_key_path is not None:
        return Signer.from_file(settings.kalshi_key_id, settings.kalshi_private_key_path)
    return Signer(settings.kalshi_key_id, settings.kalshi_private_key_pem or "")
