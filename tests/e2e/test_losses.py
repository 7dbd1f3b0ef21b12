"""Frames cut out between the venue and a real collector, by seed: every loss stands among the gaps that are told."""

import asyncio
import json
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.e2e.oracle import micros
from tests.e2e.stack import Stack, running, until

APART_S = 0.5
"""Machine seconds from one loss to the next: long enough that each is a gap of its own."""
QUIET_S = 0.03
"""So long nothing came on a subscription before a loss: what came last has then been stamped before it."""
KINDS = ("orderbook_delta",) * 6 + ("orderbook_snapshot", "trade", "trade", "ok")
CHANNELS = {"trade": "trades"}


@dataclass
class Loss:
    """A frame that was cut out, and the time shown then."""

    kind: str
    ticker: str | None
    cut_us: int


@dataclass
class Cutter:
    """A proxy of the venue's websocket on its own thread, which leaves frames out until there are ``most`` losses."""

    stack: Stack
    most: int
    seed: int
    losses: list[Loss] = field(default_factory=list)
    url: str = ""
    cutting: bool = False

    def __enter__(self) -> "Cutter":
        self._rng, self._cut_s = random.Random(self.seed), 0.0
        self._wanted = self._rng.choice(KINDS)
        self._wanted_s = time.monotonic()
        self._upstream = self.stack.env["KALSHI_WS_URL"]
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._ready.wait(10)
        self.stack.env["KALSHI_WS_URL"] = self.url
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()

    async def _run(self) -> None:
        self._stop = asyncio.Event()
        server: Server
        async with serve(self._pass_on, "127.0.0.1", 0, compression=None, close_timeout=1) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            self.url = f"ws://127.0.0.1:{port}/{self._upstream.split('/', 3)[3]}"
            self._ready.set()
            await self._stop.wait()

    async def _pass_on(self, client: ServerConnection) -> None:
        assert client.request is not None
        named = {name: value for name, value in client.request.headers.raw_items() if name.startswith("KALSHI")}
        async with connect(self._upstream, additional_headers=named, compression=None, max_size=None) as venue:
            up = asyncio.create_task(self._up(client, venue))
            last_s: dict[int, float] = {}
            try:
                async for frame in venue:
                    if not self._cuts(frame, last_s):
                        await client.send(frame)
            except ConnectionClosed:
                pass
            finally:
                up.cancel()

    async def _up(self, client: ServerConnection, venue: Any) -> None:
        try:
            async for command in client:
                await venue.send(command)
        except ConnectionClosed:
            pass
        await venue.close()

    def _cuts(self, frame: str | bytes, last_s: dict[int, float]) -> bool:
        """Say whether a frame is left out: one of the kind that is due, with a number, after a quiet moment."""
        message, now_s = json.loads(frame), time.monotonic()
        sid = message.get("sid", 0)
        before_s = last_s.get(sid)
        if self.cutting and len(self.losses) < self.most and now_s - self._cut_s > APART_S and "seq" in message:
            late = now_s - self._wanted_s > 4 * APART_S and message["type"] == "orderbook_delta"
            due = message["type"] == self._wanted or late
            if due and before_s is not None and now_s - before_s > QUIET_S:
                ticker = message.get("msg", {}).get("market_ticker")
                self.losses.append(Loss(message["type"], ticker, self.stack.shown_now_us()))
                self._cut_s = self._wanted_s = now_s
                self._wanted = self._rng.choice(KINDS)
                return True
        last_s[sid] = now_s
        return False


def gaps(stack: Stack, channel: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    question: dict[str, Any] = {"channel": channel, "limit": 10_000}
    while True:
        page = stack.http.get("/v1/gaps", params=question).raise_for_status().json()
        rows += page["data"]
        if not page["has_more"]:
            return rows
        question["cursor"] = page["next_cursor"]


def untold(stack: Stack, losses: list[Loss]) -> list[Loss]:
    """Return the losses that no gap of their own tells: of the market or the feed, from before the loss on."""
    told = {channel: gaps(stack, channel) for channel in ("orderbook", "trades")}
    missing = []
    for loss in losses:
        channel = CHANNELS.get(loss.kind, "orderbook")
        found = [
            gap
            for gap in told[channel]
            if gap["reason"] == "seq_gap"
            and (channel == "trades" or loss.ticker in (None, gap["market_ticker"]))
            and micros(gap["from"]) <= loss.cut_us <= micros(gap["to"] or "2100-01-01T00:00:00.000000Z")
        ]
        if not found:
            missing.append(loss)
    return missing


@pytest.mark.parametrize(
    ("most", "within_s"), [(12, 60), pytest.param(1000, 1200, marks=pytest.mark.fault)], ids=("twelve", "thousand")
)
def test_every_frame_that_is_cut_out_is_told_as_a_gap(
    tmp_path: Path, figures: list[str], most: int, within_s: float
) -> None:
    with running(tmp_path, KALSHIBOOK_AUDIT_EVERY_S="3") as stack:
        stack.start_exchange("--markets", "12", "--rate", "60")
        with Cutter(stack, most, 7) as cutter:
            stack.start_server()
            stack.start_collector()
            until(lambda: len(stack.said("subscribed")) >= 3, 30)
            time.sleep(1.5)
            cutter.cutting = True
            until(lambda: len(cutter.losses) == most, within_s)
            time.sleep(2)
            assert stack.stop("collect") == 0
        assert untold(stack, cutter.losses) == []
        kinds = {kind: sum(one.kind == kind for one in cutter.losses) for kind in set(KINDS)}
        figures.append(f"losses: {len(cutter.losses)} frames cut, all told; {kinds}")
