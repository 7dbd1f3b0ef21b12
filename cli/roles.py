"""Owns how a process of each role is composed: settings, clock, keys and logs are made here and passed in."""

import asyncio
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import typer
import uvloop

from cli import leash
from ops import keys, logs
from ops.settings import Settings, SettingsError


class ExchangeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``kalshibook exchange`` was told; ports of 0 take a free one.

    It has no keys but its own and its control port asks for none: ``host`` is this machine alone unless told otherwise.
    """

    capture: Path | None
    capture_tickers: tuple[str, ...]
    markets: int
    messages_per_s: int
    speed: float
    seed: int
    host: str
    ws_port: int
    http_port: int
    log_frames: int
    scenario: Path | None
    combos: int
    cycle_s: int
    ready_file: Path | None


class ExchangeReady(msgspec.Struct, frozen=True):
    """What a local exchange announces once it listens: its addresses, and the key that it accepts."""

    ws_url: str
    rest_url: str
    ws_port: int
    http_port: int
    key_id: str
    private_key_path: str

    def environ(self) -> dict[str, str]:
        """Return the settings that make a collector record this exchange."""
        return {
            "KALSHI_WS_URL": self.ws_url,
            "KALSHI_REST_URL": self.rest_url,
            "KALSHI_API_KEY_ID": self.key_id,
            "KALSHI_PRIVATE_KEY_PATH": self.private_key_path,
        }


def run_collector(settings: Settings, on_leash: bool) -> int:
    """Run a collector until SIGTERM or SIGINT; return the exit code."""
    if keys.kalshi_key(settings) is None:
        remedy = "a collector signs with it; set it and KALSHI_PRIVATE_KEY_PATH, or run kalshibook up without both"
        raise SettingsError("KALSHI_API_KEY_ID", "", remedy)
    from collector.main import collect

    return _run("collect", collect(settings), on_leash, (SettingsError,))


def run_server(settings: Settings, on_leash: bool) -> int:
    """Run the HTTP server until SIGTERM or SIGINT; return the exit code."""
    if settings.api_key is None:
        remedy = "the server asks callers for it; set it to a long random word"
        raise SettingsError("KALSHIBOOK_API_KEY", "", remedy)
    from server.main import run

    logs.configure("serve")
    if on_leash:
        leash.hold()
    run(settings)
    return 0


def run_exchange(settings: Settings, options: ExchangeOptions, on_leash: bool) -> int:
    """Run a local exchange until SIGTERM or SIGINT; return the exit code."""
    from exchange.config import GENERATED, ExchangeConfig, Ports
    from exchange.errors import ConfigError, ScenarioError, SourceError
    from exchange.main import serve

    pair = keys.exchange_keys(settings.home)
    clock = settings.clock
    config = ExchangeConfig(
        host=options.host,
        ws_port=options.ws_port,
        http_port=options.http_port,
        public_keys={pair.key_id: pair.public_pem},
        source=GENERATED if options.capture is None else str(options.capture),
        capture_tickers=options.capture_tickers,
        rehearsal=settings.rehearsal is not None,
        seed=options.seed,
        markets=options.markets,
        messages_per_s=options.messages_per_s,
        speed=options.speed,
        log_frames=options.log_frames,
        scenario=options.scenario,
        combos=options.combos,
        cycle_s=options.cycle_s,
    )

    def announce(ports: Ports) -> None:
        ready = ExchangeReady(
            ws_url=f"ws://127.0.0.1:{ports.ws}/trade-api/ws/v2",
            rest_url=f"http://127.0.0.1:{ports.http}/trade-api/v2",
            ws_port=ports.ws,
            http_port=ports.http,
            key_id=pair.key_id,
            private_key_path=str(pair.private_key_path),
        )
        for name, value in ready.environ().items():
            typer.echo(f"{name}={value}")
        if options.ready_file is not None:
            draft = options.ready_file.with_name(f"{options.ready_file.name}.draft")
            draft.write_bytes(msgspec.json.encode(ready))
            draft.replace(options.ready_file)

    return _run("exchange", serve(config, clock.now_us, announce), on_leash, (ConfigError, ScenarioError, SourceError))


def _run(role: str, work: Coroutine[Any, Any, None], on_leash: bool, refusals: tuple[type[Exception], ...] = ()) -> int:
    """Run ``work`` until it returns, or until SIGTERM or SIGINT where it does not take those itself.

    An error of ``refusals`` says that it was told what it cannot do: one line, and exit code 2.
    """
    logs.configure(role)
    log = logs.get(__name__)
    if on_leash:
        leash.hold()
    try:
        # uvloop reads a saturated socket for so long that the collector's queue overflows (docs/performance.md)
        run = asyncio.run if role == "collect" else uvloop.run
        run(_until_asked(work))
    except refusals as error:
        typer.echo(f"kalshibook: {error}", err=True)
        return 2
    except Exception:  # the outermost loop: a bug ends the process, with its traceback in the log
        log.exception("crashed")
        return 1
    return 0


async def _until_asked(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    asked = asyncio.Event()

    def ask() -> None:
        asked.set()
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ask)
    try:
        await task
    except asyncio.CancelledError:
        if not asked.is_set():
            raise
