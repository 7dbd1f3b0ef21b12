"""The whole collector against a local exchange: what was sent is in the log, once, and every bug ends it loudly."""

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from book.errors import CollectorError
from book.records import Kind
from collector import discovery, main
from collector.connection import Queue
from collector.journal import Journal
from collector.main import collect
from collector.session import Session
from lake import paths
from lake.journal.flush import ConnMark
from lake.journal.reader import Hour

BOOKS, TRADES, LIVES = "orderbook_delta", "trade", "market_lifecycle_v2"


class Log:
    """Everything that a journal holds, as a reader finds it."""

    def __init__(self, home: Path) -> None:
        self.hours = []
        for number in paths.hours(home, 0):
            hour = Hour(paths.hour_dir(home, 0, number), 0, number)
            hour.poll()
            self.hours.append(hour)
        self.conns: dict[int, ConnMark] = {conn: mark for hour in self.hours for conn, mark in hour.conns.items()}

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [row for hour in self.hours for row in hour.table(table).to_pylist()]


async def until(reached: Callable[[], bool], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not reached():
            await asyncio.sleep(0.01)


def flushes(home: Path) -> int:
    return sum(hour.flushes for hour in Log(home).hours)


def seldom(reached: Callable[[], bool]) -> Callable[[], bool]:
    """Return the same question, asked at most ten times a second."""
    asked = 0

    def check() -> bool:
        nonlocal asked
        asked += 1
        return asked % 10 == 0 and reached()

    return check


def recorded(home: Path, least: int) -> Callable[[], bool]:
    """Return whether the log holds that many changes."""
    return seldom(lambda: sum(hour.table("orderbook").num_rows for hour in Log(home).hours) >= least)


def known_through(home: Path, conn_number: int, markets: int) -> Callable[[], bool]:
    """Return whether the log holds first books of that many markets, and a hundred changes, on its nth book conn."""

    def known() -> bool:
        rows = Log(home).rows("orderbook")
        conns = sorted({row["conn"] for row in rows})
        if len(conns) < conn_number:
            return False
        kinds = [(row["kind"], row["ticker"]) for row in rows if row["conn"] == conns[conn_number - 1]]
        changes = sum(kind == Kind.DELTA for kind, _ in kinds)
        return changes >= 100 and len({ticker for kind, ticker in kinds if kind == Kind.SNAPSHOT}) == markets

    return seldom(known)


def test_told_to_stop_everything_acknowledged_is_there_once_and_the_books_are_closed(
    venue: Any, tmp_path: Path
) -> None:
    sent: list[dict[str, Any]] = []

    async def scenario() -> None:
        async with venue(markets=12, messages_per_s=1500, seed=5) as exchange:
            collecting = asyncio.create_task(collect(exchange.settings(tmp_path, seal_s=0.3, audit_every_s=1.0)))
            await until(recorded(tmp_path, 1200))
            await until(lambda: len({row["ticker"] for row in Log(tmp_path).rows("audits")}) == 12)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(collecting, 60)
            sent.extend(await exchange.log())

    asyncio.run(scenario())
    log = Log(tmp_path)
    books, trades = log.rows("orderbook"), log.rows("trades")

    last_seq = {row["conn"]: log.conns[row["conn"]].last_seq for row in (*books, *trades)}
    assert not any(mark.up for mark in log.conns.values())
    (conn,) = {row["conn"] for row in books}
    changes = Counter((row["seq"], row["ticker"]) for row in books if row["kind"] in (Kind.DELTA, Kind.ORPHAN))
    deltas = [frame for frame in sent if frame["type"] == "orderbook_delta" and frame["seq"] <= last_seq[conn]]
    assert len(deltas) > 200
    assert changes == Counter((frame["seq"], frame["ticker"]) for frame in deltas)

    (trade_conn,) = {row["conn"] for row in trades}
    told = [frame["seq"] for frame in sent if frame["type"] == "trade" and frame["seq"] <= last_seq[trade_conn]]
    assert [row["seq"] for row in trades] == told
    assert trade_conn != conn

    closed = [(row["ticker"], row["reason"]) for row in books if row["kind"] == Kind.CLOSE]
    opened = {row["ticker"] for row in books if row["kind"] == Kind.SNAPSHOT}
    assert Counter(ticker for ticker, reason in closed if reason == "shutdown") == Counter(opened)
    audits = log.rows("audits")
    assert {row["ticker"] for row in audits} == opened
    assert all(row["equal"] for row in audits)
    assert {row["ticker"] for row in log.rows("markets")} >= opened
    segments = [path for hour in log.hours for path in hour.dir.iterdir() if path.suffix == ".arrow"]
    assert all(path.with_name(f"{path.name}.json").exists() for path in segments)
    assert len(segments) > 3

    again = Journal(tmp_path, 0, seal_s=1.0, monotonic_s=lambda: 0.0)
    assert again.close_crashed(log.hours[-1].hour) == 0
    assert again.last_conn == max(log.conns)
    again.close()


def test_a_reset_is_a_gap_and_recording_goes_on(venue: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with venue(markets=5, messages_per_s=500) as exchange:
            collecting = asyncio.create_task(collect(exchange.settings(tmp_path)))
            await until(known_through(tmp_path, 1, 5))
            await exchange.fault(kind="reset")
            await until(known_through(tmp_path, 2, 5))
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.wait_for(collecting, 60)

    asyncio.run(scenario())
    books = Log(tmp_path).rows("orderbook")
    conns = sorted({row["conn"] for row in books})
    assert len(conns) == 2
    reasons = Counter((row["conn"], row["reason"]) for row in books if row["kind"] == Kind.CLOSE)
    assert reasons == {(conns[0], "disconnect"): 5, (conns[1], "shutdown"): 5}


@pytest.mark.parametrize("when", ["at once", "while it cannot connect", "while it lists"])
def test_told_to_stop_early_it_stops(tmp_path: Path, venue: Any, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with venue(markets=3, messages_per_s=10) as exchange:
            settings = exchange.settings(tmp_path)
            if when == "while it cannot connect":
                settings = msgspec.structs.replace(settings, kalshi_key_id="wrong")
            if when == "while it lists":

                async def for_ever(*_: Any, **__: Any) -> None:
                    await asyncio.sleep(60)

                monkeypatch.setattr(discovery.Discovery, "_list_all", for_ever)
            collecting = asyncio.create_task(collect(settings))
            if when == "at once":
                await asyncio.sleep(0)
            else:
                await until(lambda: flushes(tmp_path) >= 1)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(collecting, 60)

    asyncio.run(scenario())
    assert not any(mark.up for mark in Log(tmp_path).conns.values())


def ends_with(venue: Any, home: Path, error: type[BaseException], text: str) -> None:
    """Let a collector run until it fails, and check how."""

    async def scenario() -> None:
        async with venue(markets=3, messages_per_s=100) as exchange:
            with pytest.raises(ExceptionGroup) as raised:
                await asyncio.wait_for(collect(exchange.settings(home)), 60)
            assert raised.group_contains(error, match=text)

    asyncio.run(scenario())


def test_a_bug_in_the_session_ends_the_process(venue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Session, "tick", broken)
    ends_with(venue, tmp_path, RuntimeError, "a bug")


def test_a_bug_in_discovery_ends_the_process(venue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(discovery.Discovery, "_record", broken)
    ends_with(venue, tmp_path, RuntimeError, "a bug")


def test_a_disk_that_takes_nothing_more_ends_the_process(
    venue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = Journal.write, 0

    def full(self: Journal, *args: Any) -> None:
        nonlocal count
        count += 1
        if count > 5:
            raise OSError(28, "No space left on device")
        real(self, *args)

    monkeypatch.setattr(Journal, "write", full)
    ends_with(venue, tmp_path, OSError, "No space left")
    assert Log(tmp_path).hours


def test_a_home_in_use_is_refused_before_anything_is_asked(venue: Any, tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0, seal_s=1.0, monotonic_s=lambda: 0.0)

    async def scenario() -> None:
        async with venue(markets=3, messages_per_s=1) as exchange:
            with pytest.raises(CollectorError, match="another process"):
                await collect(exchange.settings(tmp_path))

    asyncio.run(scenario())
    journal.close()


def test_the_key_may_come_from_a_file_or_from_the_environment(venue: Any, tmp_path: Path, key_pair: Any) -> None:
    path = tmp_path / "key.pem"
    path.write_text(key_pair[0])

    async def scenario() -> None:
        async with venue(markets=1, messages_per_s=1) as exchange:
            settings = exchange.settings(tmp_path)
            from_text = main._signer(settings)
            from_file = main._signer(type(settings)(kalshi_key_id="k", kalshi_private_key_path=path))
            assert from_text is not None
            assert from_file is not None
            assert main._signer(type(settings)()) is None

    asyncio.run(scenario())


def test_its_port_says_when_everything_stands_and_what_is_missing(venue: Any, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    told: list[tuple[int, list[str]]] = []
    pages: list[str] = []

    async def scenario() -> None:
        async with venue(markets=5, messages_per_s=300) as exchange:
            collecting = asyncio.create_task(collect(exchange.settings(tmp_path, metrics_port=port)))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:

                async def ready() -> bool:
                    try:
                        answer = await http.get("/readyz")
                    except httpx.TransportError:
                        return False
                    told.append((answer.status_code, answer.json()["missing"]))
                    return answer.status_code == 200

                async with asyncio.timeout(60):
                    while not await ready():
                        await asyncio.sleep(0.05)
                assert (await http.get("/healthz")).status_code == 200
                await asyncio.sleep(1.1)
                pages.append((await http.get("/metrics")).text)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(collecting, 60)

    asyncio.run(scenario())
    assert all(missing for status, missing in told if status == 503)
    assert told[-1] == (200, [])
    figures = dict(line.rsplit(" ", 1) for line in pages[0].splitlines() if not line.startswith("#"))
    assert float(figures["kalshibook_live_markets"]) == 5
    assert float(figures["kalshibook_connections_subscribed"]) == 3
    assert float(figures['kalshibook_messages_total{type="delta"}']) > 0
    assert float(figures["kalshibook_socket_to_durable_seconds_count"]) > 100
    assert float(figures["kalshibook_message_lag_seconds_count"]) > 0


def test_an_error_in_a_callback_of_the_socket_ends_the_process(
    venue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop would log it and close the connection, as though the network had."""

    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Queue, "put", broken)
    ends_with(venue, tmp_path, RuntimeError, "a bug")
