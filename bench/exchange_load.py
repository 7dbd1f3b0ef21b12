"""The local exchange under load: what share of a core it takes, and how late it sends by its own schedule.

Owns the exchange's process and receivers that only count, on another core. 12,000 markets on fourteen connections:
twelve of books, one of trades and tickers, one of lifecycles; 5,000 messages a second, then 20,000 for ten seconds.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from websockets.asyncio.client import connect

from bench import machine

MARKETS, CONNECTIONS = 12_000, 12
STEADY, BURST = 5_000, 20_000
STEADY_S, BURST_S = 30.0, 10.0
_KEY_ID = "bench"
_WARM_S = 6.0
_SAMPLE = 40_000


class Receivers:
    """Connections that count what they get."""

    def __init__(self, url: str, key: rsa.RSAPrivateKey) -> None:
        self._url = url
        self._key = key
        self.frames = 0

    async def run(self, params: dict[str, Any]) -> None:
        """Subscribe, and count until cancelled."""
        async with connect(
            self._url, additional_headers=self._headers(), proxy=None, compression=None, ping_interval=None,
            max_size=1 << 26, max_queue=None,
        ) as client:  # fmt: skip
            await client.send(json.dumps({"id": 1, "cmd": "subscribe", "params": params}))
            while True:
                await client.recv(decode=False)
                self.frames += 1

    def _headers(self) -> dict[str, str]:
        stamp = str(time.time_ns() // 1_000_000)
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        signed = self._key.sign(f"{stamp}GET/trade-api/ws/v2".encode(), scheme, hashes.SHA256())
        return {
            "KALSHI-ACCESS-KEY": _KEY_ID,
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signed).decode(),
            "KALSHI-ACCESS-TIMESTAMP": stamp,
        }


def run() -> None:
    """Print the figures of a steady stretch and of a burst."""
    print(machine.describe())
    print(machine.load())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "public.pem"
        pem.write_bytes(public)
        command = [sys.executable, "-m", "exchange", "--public-key", f"{_KEY_ID}={pem}"]
        command += ["--markets", str(MARKETS), "--rate", str(STEADY)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                told = json.loads(process.stdout.readline())
                os.sched_setaffinity(process.pid, {0})
                os.sched_setaffinity(0, set(range(1, os.cpu_count() or 1)) or {0})
                asyncio.run(_measure(process.pid, told, key))
            finally:
                process.terminate()


async def _measure(pid: int, told: dict[str, str], key: rsa.RSAPrivateKey) -> None:
    receivers = Receivers(told["ws_url"], key)
    async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
        tickers = await _tickers(http, told["rest_url"])
        tasks = [
            asyncio.ensure_future(receivers.run(params))
            for params in (
                *(
                    {"channels": ["orderbook_delta"], "market_tickers": tickers[i::CONNECTIONS]}
                    for i in range(CONNECTIONS)
                ),
                {"channels": ["trade", "ticker"]},
                {"channels": ["market_lifecycle_v2", "multivariate_market_lifecycle"]},
            )
        ]
        await asyncio.sleep(_WARM_S)
        control = told["control_url"]
        await _stretch(f"{STEADY:,} a second", STEADY_S, pid, http, control, receivers)
        order = {"kind": "burst", "messages_per_s": BURST, "seconds": BURST_S + 1}
        (await http.post(f"{control}/fault", json=order)).raise_for_status()
        await asyncio.sleep(1)
        await _stretch(f"{BURST:,} a second", BURST_S, pid, http, control, receivers)
        for task in tasks:
            assert not task.done(), "a receiver lost its connection"
            task.cancel()


async def _tickers(http: httpx.AsyncClient, rest_url: str) -> list[str]:
    found: list[str] = []
    cursor = ""
    while not found or cursor:
        page = (await http.get(f"{rest_url}/markets", params={"limit": 1000, "cursor": cursor})).json()
        found += [market["ticker"] for market in page["markets"]]
        cursor = page["cursor"]
    return found


async def _stretch(
    name: str, seconds: float, pid: int, http: httpx.AsyncClient, control: str, receivers: Receivers
) -> None:
    before = (await http.get(f"{control}/state")).json()["steps"], receivers.frames, _cpu_s(pid), time.monotonic()
    await asyncio.sleep(seconds)
    state = (await http.get(f"{control}/state")).json()
    passed_s = time.monotonic() - before[3]
    share = (_cpu_s(pid) - before[2]) / passed_s
    frames = receivers.frames - before[1]
    query = {"after": max(state["frames"] - _SAMPLE, 0), "limit": _SAMPLE, "type": "orderbook_delta"}
    late_ms = sorted(_late_ms(line) for line in (await http.get(f"{control}/log", params=query)).text.splitlines())
    print(
        f"{name:16} {(state['steps'] - before[0]) / passed_s:,.0f} messages/s, {frames / passed_s:,.0f} frames/s; "
        f"{share:.0%} of a core; sent late p50 {late_ms[len(late_ms) // 2]:.1f} ms, "
        f"p99 {late_ms[len(late_ms) * 99 // 100]:.1f} ms; {_memory_mib(pid)} MiB; refused {state['refused']}"
    )


def _late_ms(line: str) -> float:
    row = json.loads(line)
    due = datetime.fromisoformat(json.loads(row["frame"])["msg"]["ts"]).timestamp()
    return (int(row["sent_us"]) / 1e6 - due) * 1e3


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mib(pid: int) -> int:
    line = next(row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) >> 10
