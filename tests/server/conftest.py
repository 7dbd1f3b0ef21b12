"""A small log of every kind of stretch, written by the product's own writers, and a client to ask about it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.types import ASGIApp

from lake.journal.flush import Lapse
from lake.publishing.publish import publish_hours
from server.app import ServerSettings, create_app
from server.instants import iso
from tests.query.conftest import Journal

KEY = "kb-0123456789abcdef0123456789abcdef"
SECOND = 1_000_000
HOUR = 3600 * SECOND
T0 = 496_000 * HOUR
"""2026-08-01T16:00:00Z"""
NOW = T0 + 600 * SECOND
CONN = (T0 // 1000 << 10) + 1024
TRADES_CONN = CONN + 1024
GOLD, OVER, UNHEARD, EMPTY, DROPPED = "KXGOLD-26AUG01-A", "KXOVER-26AUG01-B", "KXNONE-26AUG01-C", "KXVOID-D", "KXDROP-E"

PAST = "KXPAST-26AUG01-F"
FIRST_PUBLISHED, CORRECTED = T0 + 100 * SECOND, T0 + 400 * SECOND

YES, NO = 0, 1
RECORD = {
    "ticker": GOLD,
    "event_ticker": "KXGOLD-26AUG01",
    "status": "active",
    "title": "Gold above 4,000?",
    "rules_primary": "If gold is above 4,000, YES.",
    "rules_secondary": "Else NO.",
    "strike_type": "greater",
    "floor_strike": 4000.25,
}
"""What the venue said of GOLD."""


def at(second: float) -> int:
    """Return an instant, in microseconds, by its distance from T0."""
    return T0 + int(second * SECOND)


def text(second: float) -> str:
    """Return an instant as the server writes it."""
    return iso(at(second))


def write_log(home: Path) -> None:
    """Write ten minutes of five markets: known, lost, known again; over; never heard; empty; no longer followed."""
    log = Journal(home)
    log.row(
        "markets",
        ticker=GOLD,
        valid_from=at(-3600),
        event_ticker="KXGOLD-26AUG01",
        series_ticker="KXGOLD",
        title="Gold above 4,000?",
        status="active",
        category="Commodities",
        open_time=at(0),
        close_time=at(7200),
        record=json.dumps(RECORD),
    )
    log.market(OVER, at(-60), open_time=at(0), close_time=at(100), status="finalized", result="yes")
    log.market(UNHEARD, at(-30), open_time=at(0), close_time=at(7200))
    log.snapshot(GOLD, at(10), CONN, 1, [(YES, 4500, 12_000), (YES, 910, 5537), (NO, 5405, 100), (NO, 1, 1)])
    log.delta(GOLD, at(11), CONN, 2, YES, 4500, -2000, at(10.5))
    log.delta(GOLD, at(12), CONN, 3, YES, 4501, 50, at(11.5))
    log.snapshot(OVER, at(13), CONN, 4, [(YES, 9900, 100)])
    log.snapshot(EMPTY, at(14), CONN, 5, [])
    log.snapshot(DROPPED, at(15), CONN, 6, [(NO, 100, 100)])
    log.close(DROPPED, at(16), CONN, 6, "unsubscribed")
    log.audit(GOLD, at(17), CONN, 7)
    log.close(GOLD, at(20), CONN, 7, "seq_gap")
    log.orphan(GOLD, at(21), CONN, 9, YES, 4500, 300)
    log.snapshot(GOLD, at(30), CONN, 10, [(YES, 4600, 700)])
    log.close(OVER, at(100), CONN, 11, "market_closed")
    for n in range(5):
        log.trade(GOLD, at(40 + n), TRADES_CONN, n + 1, f"trade-{n}", yes_price_e4=4550 + n, qty_e2=100 * n + 37)
    log.trade(GOLD, at(46), TRADES_CONN, 6, "trade-5", taker_side=NO, block=True, ts_exch=None)
    log.feed("trades", TRADES_CONN, at(5))
    log.lapses = [Lapse("trades", TRADES_CONN, at(60), at(62), "seq_gap")]
    log.trade(GOLD, at(47), TRADES_CONN, 7, "trade-6", taker_side=None, block=None)
    log.silence(CONN, at(200), at(210))
    log.heard(CONN, NOW - SECOND, 12)
    log.heard(TRADES_CONN, NOW - SECOND, 7)
    log.flush()


def write_published(home: Path) -> None:
    """Publish the hour before T0 with one market, another recorder's, and correct it later.

    At 16 minutes into that hour the book of PAST is one level of 100.5 contracts; the correction finds that it was not
    known any more from 15 minutes on, which a close said that was logged in the next hour.
    """
    hour, conn = T0 // HOUR - 1, CONN - 3600 * 1024 * 1000 + 1
    log = Journal(home, shard=1)
    log.snapshot(PAST, at(-3000), conn, 1, [(YES, 4500, 10_000)])
    log.delta(PAST, at(-2700), conn, 2, YES, 4500, 50, at(-2700))
    log.heard(conn, at(0), 2)
    log.flush()
    publish_hours(home / "lake", home, [hour], now_us=lambda: FIRST_PUBLISHED)
    log.close(PAST, at(-2760), conn, 1, "audit_mismatch")
    log.flush(hour + 1, up=())
    publish_hours(home / "lake", home, [hour], now_us=lambda: CORRECTED, reason="late")


def settings(home: Path, **more: Any) -> ServerSettings:
    """Return settings under which the log's clock stands at NOW."""
    given = {"public_url": "http://books.test", "host": "127.0.0.1", "port": 8000, "now_us": lambda: NOW, **more}
    return ServerSettings(home=home, lake=home / "lake", api_key=KEY, **given)


def ask(app: ASGIApp, method: str, path: str, *, key: str | None = KEY, **more: Any) -> httpx.Response:
    """Send one request to an application in this process, with the key unless told otherwise."""
    headers = ({"X-API-Key": key} if key else {}) | more.pop("headers", {})

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://books.test") as client:
            return await client.request(method, path, headers=headers, **more)

    return asyncio.run(send())


class Client:
    """Asks one application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def get(self, path: str, **more: Any) -> httpx.Response:
        return ask(self.app, "GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return ask(self.app, "POST", path, **({"json": body} if body is not None else {}), **more)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_log(folder)
    return folder


@pytest.fixture(scope="session")
def client(home: Path) -> Client:
    return Client(create_app(settings(home)))


@pytest.fixture(scope="session")
def published_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_log(folder)
    write_published(folder)
    return folder


@pytest.fixture(scope="session")
def published(published_home: Path) -> Client:
    return Client(create_app(settings(published_home)))
