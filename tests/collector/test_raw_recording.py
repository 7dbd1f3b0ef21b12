"""The archive of raw frames of a whole recorder before the local exchange."""

import asyncio
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli.rebuilding import rebuild_of
from collector import raw_archive
from collector.journal import Journal
from collector.limits import Limits
from collector.recorder import Recorder
from collector.signing import Signer
from lake import durable, paths
from lake.journal.reader import Hour
from lake.publishing.publish import publish_hours, publish_rebuilt
from lake.publishing.shelf import Shelf
from lake.raw.hours import read_hour

MARKETS = 6


def _record(venue: Any, home: Path, flushes: int = 25) -> tuple[Recorder, list[dict[str, Any]]]:
    """Record some flushes of an exchange's markets."""
    told: list[dict[str, Any]] = []
    journal = Journal(home, 0, seal_s=9.0, monotonic_s=time.monotonic)

    def log(event: str, **fields: Any) -> None:
        told.append({"event": event, **fields})

    archive = partial(
        raw_archive.begin, journal=journal, home=home, shard=0, days=7, published=lambda _: False, log=log
    )
    limits = Limits(audit_every_s=1.0)
    recorder = Recorder(
        journal, limits, 0, lambda stamps: stamps, log, queue_frames=100_000, rng=random.Random(1), archive=archive
    )

    async def scenario() -> None:
        async with venue(markets=MARKETS, messages_per_s=400) as exchange:
            documents = (await exchange._http.get("/trade-api/v2/markets?status=open&limit=1000")).json()["markets"]
            running = asyncio.create_task(recorder.run(exchange.ws_url, Signer("test-key", exchange.private_pem)))
            for document in documents[:MARKETS]:
                recorder.session.list_market(document["ticker"], None, None)
            async with asyncio.timeout(20):
                while journal.next_flush < flushes:
                    await asyncio.sleep(0.01)
            recorder.stop()
            await asyncio.wait_for(running, 10)

    asyncio.run(scenario())
    return recorder, told


def test_what_a_recorder_wrote_is_rebuilt_as_it_is(venue: Any, tmp_path: Path) -> None:
    home, lake = tmp_path / "home", tmp_path / "lake"
    _, told = _record(venue, home)
    assert [one for one in told if one["event"] == "raw_given_up"] == []
    hours = paths.hours(home, 0)
    now_us = paths.hour_start_us(hours[-1] + 2)
    assert publish_hours(lake, home, hours, now_us=lambda: now_us) is not None
    shelf = Shelf(lake)
    shelf.refresh()
    for hour in hours:
        assert all(found.ended for found in read_hour(home, 0, hour))
        assert publish_rebuilt(lake, home, [hour], rebuild_of(lake, home, shelf), now_us=lambda: now_us) is None
    assert paths.rebuilt_numbers(home)


@pytest.mark.parametrize("failing_from", [0, 40])
def test_a_disk_that_refuses_raw_frames_stops_no_recording(
    venue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_from: int
) -> None:
    write_all, writes = durable.write_all, iter(range(1 << 30))

    def refused(fd: int, data: bytes) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().suffix == ".raw" and next(writes) >= failing_from:
            raise OSError(28, "no space left on device")
        write_all(fd, data)

    monkeypatch.setattr(durable, "write_all", refused)
    _, told = _record(venue, tmp_path)
    assert [one["error"] for one in told if one["event"] == "raw_given_up"]
    (hour, *_) = paths.hours(tmp_path, 0)
    log = Hour(paths.hour_dir(tmp_path, 0, hour), 0, hour)
    log.poll()
    assert len(set(log.table("orderbook")["ticker"].to_pylist())) == MARKETS
