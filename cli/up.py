"""Owns ``kalshibook up``: which children run, with which settings, and what it tells the person who started it."""

import asyncio
import contextlib
import fcntl
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from cli.greeting import find_book, lines_to_try
from cli.roles import ExchangeReady
from cli.supervisor import ChildSpec, Supervisor
from ops import keys
from ops.settings import Settings, SettingsError

Say = Callable[[str], None]
_REMIND_S = 30.0


def run(settings: Settings, environ: Mapping[str, str], say: Say) -> int:
    """Run the product until SIGINT or SIGTERM; return the exit code. Raises SettingsError before anything starts."""
    if settings.kalshi_key_id is None and environ.get("KALSHI_WS_URL"):
        remedy = "without KALSHI_API_KEY_ID the local exchange is recorded; set a key, or unset this"
        raise SettingsError("KALSHI_WS_URL", settings.kalshi_ws_url, remedy)
    keys.kalshi_key(settings)
    settings.home.mkdir(parents=True, exist_ok=True)
    with _alone(settings.home):
        require_free_ports(settings)
        key = settings.api_key or keys.api_key(settings.home)
        return asyncio.run(_Up(settings, environ, key, say).run())


def child_spec(role: str, environ: Mapping[str, str], *options: str) -> ChildSpec:
    """Return the child that runs ``role`` by this Python, on a leash. ``-P`` keeps the working folder from imports."""
    return ChildSpec(role, (sys.executable, "-P", "-m", "cli", role, "--leash", *options), environ)


def require_free_ports(settings: Settings) -> None:
    """Raise SettingsError for the first port that cannot be listened on, metrics' too; 0, which is any, can be."""
    ports = [("KALSHIBOOK_PORT", settings.host, settings.port)]
    if settings.kalshi_key_id is None:
        ports.append(("KALSHIBOOK_EXCHANGE_WS_PORT", "127.0.0.1", settings.exchange_ws_port))
        ports.append(("KALSHIBOOK_EXCHANGE_HTTP_PORT", "127.0.0.1", settings.exchange_http_port))
    own = [port for role in ("collect", "serve", "publish") if (port := settings.metrics_port_of(role)) is not None]
    ports += [("KALSHIBOOK_METRICS_PORT", settings.metrics_host, port) for port in own]
    for variable, host, port in ports:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                remedy = f"nothing can listen on {host} there ({error.strerror}); set it to a free port"
                raise SettingsError(variable, str(port), remedy) from None


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the lock of ``home``: two of these would record over each other."""
    with (home / "up.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            remedy = f"kalshibook up runs there already (process {lock.read().strip()}); stop it or take another folder"
            raise SettingsError("KALSHIBOOK_HOME", str(home), remedy) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


class _Up:
    """One run of ``up``."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], api_key: str, say: Say) -> None:
        self._settings = settings
        self._environ = {**environ, "KALSHIBOOK_API_KEY": api_key}
        self._api_key = api_key
        self._say = say
        self._rng = random.Random()

    async def run(self) -> int:
        """Bring everything up, greet, and wait to be stopped; return the exit code."""
        asked = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, asked.set)
        supervisor = Supervisor(self._settings.home / "logs", self._say, self._rng)
        stopping = asyncio.create_task(asked.wait())
        greeting = asyncio.create_task(self._bring_up(supervisor))
        ends: set[asyncio.Future[Any]] = {stopping, supervisor.refused}
        try:
            await asyncio.wait({*ends, greeting}, return_when=asyncio.FIRST_COMPLETED)
            if greeting.done():
                greeting.result()
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            greeting.cancel()
            stopping.cancel()
            await self._stop(supervisor)
        if supervisor.refused.done():
            self._say(supervisor.refused.result())
            return 1
        return 0

    async def _stop(self, supervisor: Supervisor) -> None:
        self._say("stopping ...")
        killed = await supervisor.stop(first=("collect",))  # it writes down what it has while the exchange still speaks
        self._say(f"stopped; had to kill {', '.join(killed)}" if killed else "stopped")

    async def _bring_up(self, supervisor: Supervisor) -> None:
        environ = self._environ
        if self._settings.kalshi_key_id is None:
            self._say("no Kalshi key is set: recording a local exchange with generated markets")
            ready = await self._start_exchange(supervisor)
            environ = {**environ, **ready.environ()}
        else:
            self._say(f"recording {self._settings.kalshi_ws_url}")
        supervisor.start(child_spec("collect", environ))
        supervisor.start(child_spec("publish", self._environ))
        supervisor.start(child_spec("serve", self._environ))
        self._say(f"started; logs are in {self._settings.home / 'logs'}; waiting for the first book ...")
        await self._greet()

    async def _start_exchange(self, supervisor: Supervisor) -> ExchangeReady:
        file = self._settings.home / "exchange-ready.json"
        file.unlink(missing_ok=True)
        supervisor.start(child_spec("exchange", self._environ, "--ready-file", str(file)))
        while not file.exists():  # noqa: ASYNC110 - a file of another process has no event to wait for
            await asyncio.sleep(0.05)
        ready = msgspec.json.decode(file.read_bytes(), type=ExchangeReady)
        ports = ("--ws-port", str(ready.ws_port), "--http-port", str(ready.http_port))
        supervisor.replace(child_spec("exchange", self._environ, *ports))  # the collector knows these ports by now
        return ready

    async def _greet(self) -> None:
        loop = asyncio.get_running_loop()
        headers = {"Authorization": f"Bearer {self._api_key}"}
        local = msgspec.structs.replace(self._settings, public_url=None).url
        remind_s = loop.time() + _REMIND_S
        async with httpx.AsyncClient(base_url=local, headers=headers, trust_env=False, timeout=10) as client:
            while (book := await find_book(client, self._rng)) is None:
                if loop.time() > remind_s:
                    self._say(f"still waiting for the first book; logs are in {self._settings.home / 'logs'}")
                    remind_s += _REMIND_S
                await asyncio.sleep(0.25)
        for line in lines_to_try(self._settings.url, self._api_key, book, self._settings.lake_root):
            self._say(line)
