"""A local exchange in the test's own event loop, and a client that signs as the venue asks."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from websockets.asyncio.client import connect

from exchange.config import ExchangeConfig, Ports
from exchange.main import serve

KEY_ID = "test-key"
START_US = 1_795_564_860_000_000
"""When the clock of an exchange starts: a minute after a full quarter of an hour, whatever the machine's clock says."""


class Keys:
    """A key pair of the test run."""

    def __init__(self) -> None:
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self.private.public_key()
        self.pem = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    def headers(
        self, path: str = "/trade-api/ws/v2", *, method: str = "GET", key_id: str = KEY_ID, skew_ms: int = 0,
        salt: int | None = None, at_ms: int | None = None,
    ) -> dict[str, str]:  # fmt: skip
        """Sign a request; ``salt`` None is the venue's length."""
        stamp = str((time.time_ns() // 1_000_000 if at_ms is None else at_ms) + skew_ms)
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH if salt is None else salt)
        signature = self.private.sign(f"{stamp}{method}{path}".encode(), scheme, hashes.SHA256())
        return {
            "KALSHI-ACCESS-KEY": key_id,
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
            "KALSHI-ACCESS-TIMESTAMP": stamp,
        }


class Local:
    """A running exchange, seen from outside."""

    def __init__(self, ports: Ports, keys: Keys, http: httpx.AsyncClient) -> None:
        self.ports = ports
        self.keys = keys
        self.http = http
        self.ws_url = f"ws://127.0.0.1:{ports.ws}/trade-api/ws/v2"

    def connect(self, **headers: Any) -> connect:
        """Open a websocket; arguments go to the signature."""
        return connect(
            self.ws_url, additional_headers=self.keys.headers(**headers), proxy=None, max_size=2**24,
            ping_interval=None, compression=None, close_timeout=0.2,
        )  # fmt: skip

    async def get(self, path: str, **query: Any) -> Any:
        """Get a document of the REST or control interface; asserts that it is there."""
        response = await self.http.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    async def fault(self, **order: Any) -> Any:
        """Make a fault; returns what was done."""
        response = await self.http.post("/control/fault", json=order)
        assert response.status_code == 200, response.text
        return response.json()

    async def log(self, **query: Any) -> list[Any]:
        """Read the send log."""
        response = await self.http.get("/control/log", params=query)
        assert response.status_code == 200, response.text
        return [json.loads(line) for line in response.text.splitlines()]


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


@pytest.fixture
def running(keys: Keys) -> Callable[..., contextlib.AbstractAsyncContextManager[Local]]:
    """Return what runs an exchange for the length of a block; options are those of ExchangeConfig, and ``clock``."""

    @contextlib.asynccontextmanager
    async def run(clock: Callable[[], int] | None = None, **options: Any) -> AsyncIterator[Local]:
        began_ns = time.monotonic_ns()

        def since_start_us() -> int:
            return START_US + (time.monotonic_ns() - began_ns) // 1000

        config = ExchangeConfig(public_keys={KEY_ID: keys.pem}, **options)
        ready: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(serve(config, clock or since_start_us, ready.set_result))
        await asyncio.wait([ready, serving], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ready.result().http}", trust_env=False) as http:
                yield Local(ready.result(), keys, http)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    return run


@pytest.fixture
def capture_folder(recorded_data: Path | None) -> Path:
    """The folder of recorded frames; skips where it is absent."""
    if recorded_data is None:
        pytest.skip("no recorded frames here; set KALSHIBOOK_TEST_DATA")
    return recorded_data / "kalshi-gold15m"
