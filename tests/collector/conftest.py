"""A local exchange in the test's own event loop, for the tests that need a venue on sockets."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from exchange.config import ExchangeConfig, Ports
from exchange.main import serve
from ops.settings import Settings

KEY_ID = "test-key"
EVENTLESS_S = 4_000_000_000
"""A life of markets that begins at the Unix epoch and has its pause in 2033: none opens, pauses or ends in a test."""


class LocalVenue:
    """A running exchange, seen from outside; ``private_pem`` is the key that it lets in."""

    def __init__(self, ports: Ports, private_pem: str, http: httpx.AsyncClient) -> None:
        self.ws_url = f"ws://127.0.0.1:{ports.ws}/trade-api/ws/v2"
        self.rest_url = f"http://127.0.0.1:{ports.http}/trade-api/v2"
        self.private_pem = private_pem
        self._http = http

    def settings(self, home: Path, **more: Any) -> Settings:
        """Return what makes a collector record this exchange under ``home``."""
        return Settings(
            kalshi_key_id=KEY_ID,
            kalshi_private_key_pem=self.private_pem,
            kalshi_ws_url=self.ws_url,
            kalshi_rest_url=self.rest_url,
            home=home,
            **more,
        )

    async def fault(self, **order: Any) -> None:
        response = await self._http.post("/control/fault", json=order)
        assert response.status_code == 200, response.text

    async def log(self, **query: Any) -> list[dict[str, Any]]:
        """Return what was sent, in order."""
        response = await self._http.get("/control/log", params={"limit": 1_000_000, **query})
        assert response.status_code == 200, response.text
        return [json.loads(line) for line in response.text.splitlines()]


@pytest.fixture(scope="session")
def key_pair() -> tuple[str, str]:
    """A private key and its public one, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.private_bytes(serialization.Encoding.PEM, *form).decode(), public.decode()


@pytest.fixture
def venue(key_pair: tuple[str, str]) -> Callable[..., AbstractAsyncContextManager[LocalVenue]]:
    """Return what runs an exchange for the length of a block; options are those of ExchangeConfig."""

    @contextlib.asynccontextmanager
    async def run(**options: Any) -> AsyncIterator[LocalVenue]:
        config = ExchangeConfig(public_keys={KEY_ID: key_pair[1]}, **{"cycle_s": EVENTLESS_S} | options)
        ready: asyncio.Future[Ports] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(serve(config, lambda: time.time_ns() // 1000, ready.set_result))
        await asyncio.wait([ready, serving], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        try:
            base = f"http://127.0.0.1:{ready.result().http}"
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as http:
                yield LocalVenue(ready.result(), key_pair[0], http)
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    return run
