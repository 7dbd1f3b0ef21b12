"""Metadata of a venue whose markets open, pause, close and are paid out, recorded over sockets."""

import asyncio
import os
import signal
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from book.records import HOUR_US
from book.wire.lasting import comparable, lasting_fields
from collector.main import collect
from lake import paths
from lake.journal.reader import Hour

MERGED = {"created": "initialized", "deactivated": "inactive", "activated": "active", "settled": "finalized"}


class Log:
    """Everything that a journal holds, as a reader finds it."""

    def __init__(self, home: Path) -> None:
        self.hours = [Hour(paths.hour_dir(home, 0, number), 0, number) for number in paths.hours(home, 0)]
        for hour in self.hours:
            hour.poll()

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [row for hour in self.hours for row in hour.table(table).to_pylist()]


def stamps(hour: Any, table: str, column: str) -> list[int]:
    found: list[int] = hour.table(table)[column].cast("int64").to_pylist()
    return found


def test_every_version_counts_from_when_it_was_learned_and_none_knows_better(venue: Any, tmp_path: Path) -> None:
    def paid_out() -> int:
        return sum(row["event_type"] == "settled" for row in Log(tmp_path).rows("lifecycle"))

    async def scenario() -> None:
        async with venue(markets=6, messages_per_s=20, cycle_s=2) as exchange:
            collecting = asyncio.create_task(collect(exchange.settings(tmp_path, raw_days=0)))
            async with asyncio.timeout(60):
                while not (tmp_path / "journal").exists() or paid_out() < 3:
                    await asyncio.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(collecting, 60)

    asyncio.run(scenario())
    log = Log(tmp_path)
    lives: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    told = []
    for hour in log.hours:
        for table in ("markets", "events", "series"):
            assert {stamp // HOUR_US for stamp in stamps(hour, table, "valid_from")} <= {hour.hour}
        at = zip(stamps(hour, "markets", "valid_from"), hour.table("markets").to_pylist(), strict=True)
        for stamp, row in at:
            lives[row["ticker"]].append((stamp, row))
        told += list(zip(stamps(hour, "lifecycle", "ts_recv"), hour.table("lifecycle").to_pylist(), strict=True))

    for life in lives.values():
        assert [stamp for stamp, _ in life] == sorted({stamp for stamp, _ in life})
        records = [comparable(lasting_fields(msgspec.json.decode(row["record"]))) for _, row in life]
        said = list(zip(records, (row["determined_time"] for _, row in life), strict=True))
        assert all(one != other for one, other in pairwise(said))

    checked = 0
    for stamp, message in told:
        life = lives.get(message["ticker"], [])
        then = [row for at, row in life if at <= stamp]
        if message["event_type"] == "determined":
            assert then[-1]["result"] == message["result"]
            assert then[-1]["determined_time"] == message["determination_time"]
            assert {row["result"] for at, row in life if at < stamp} <= {None}
            checked += 1
        elif message["event_type"] in MERGED and then:
            assert then[-1]["status"] == MERGED[message["event_type"]]
            checked += 1
    assert checked >= 10
    assert {row["source"] for life in lives.values() for _, row in life} == {"rest", "lifecycle"}
