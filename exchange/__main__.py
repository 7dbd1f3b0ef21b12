"""Runs the local exchange by itself, on the machine's clock: ``python -m exchange --public-key ID=FILE``.

Prints one line of JSON with its addresses when it is ready. Stops on SIGINT or SIGTERM.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from exchange.config import GENERATED, ExchangeConfig, Ports
from exchange.errors import ConfigError, ScenarioError, SourceError
from exchange.main import serve


def config_of(arguments: list[str]) -> ExchangeConfig:
    """Read the command line. Raises ConfigError for a key that is not ID=FILE or a file that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m exchange", description="A local Kalshi, for tests and rehearsals.")
    parser.add_argument("--public-key", action="append", default=[], metavar="ID=FILE", help="let this key in")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--ws-port", type=int, default=0)
    parser.add_argument("--http-port", type=int, default=0)
    parser.add_argument("--capture", metavar="DIR", help="play a recording instead of generating")
    parser.add_argument("--market", action="append", default=[], help="of the recording, play this market only")
    parser.add_argument("--speed", type=float, default=1.0, help="pace of the recording")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markets", type=int, default=200)
    parser.add_argument("--rate", type=int, default=100, help="generated messages a second")
    parser.add_argument("--log-frames", type=int, default=200_000)
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="make the faults of this file (docs/exchange.md)")
    parser.add_argument("--combos", type=int, default=0, help="combinations, on top of the markets")
    parser.add_argument("--cycle-s", type=int, default=900, help="the life of the short-lived markets")
    parser.add_argument("--max-connections", type=int, help="refuse more with 429")
    parser.add_argument("--max-markets", type=int, help="of one subscription; more is error 26")
    parser.add_argument("--max-commands", type=int, help="a second, of one subscription; more is error 27")
    parser.add_argument("--read-tokens", type=int, help="REST budget a second, 10 a request; more is 429")
    given = parser.parse_args(arguments)
    return ExchangeConfig(
        public_keys=dict(_key(text) for text in given.public_key),
        host=given.host,
        ws_port=given.ws_port,
        http_port=given.http_port,
        source=given.capture or GENERATED,
        capture_tickers=tuple(given.market),
        speed=given.speed,
        seed=given.seed,
        markets=given.markets,
        messages_per_s=given.rate,
        log_frames=given.log_frames,
        scenario=given.scenario,
        combos=given.combos,
        cycle_s=given.cycle_s,
        max_connections=given.max_connections,
        max_markets=given.max_markets,
        max_commands_per_s=given.max_commands,
        read_tokens_per_s=given.read_tokens,
    )


def _key(text: str) -> tuple[str, str]:
    key_id, separator, path = text.partition("=")
    if not separator:
        raise ConfigError("public_keys", f"{text} is not ID=FILE")
    try:
        return key_id, Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("public_keys", f"{path} cannot be read ({error.strerror})") from error


async def _run(config: ExchangeConfig) -> None:
    def say(ports: Ports) -> None:
        line = {
            "ws_url": f"ws://{config.host}:{ports.ws}/trade-api/ws/v2",
            "rest_url": f"http://{config.host}:{ports.http}/trade-api/v2",
            "control_url": f"http://{config.host}:{ports.http}/control",
        }
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()

    serving = asyncio.ensure_future(serve(config, lambda: time.time_ns() // 1000, say))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):  # asked to stop, and stopped
        await serving


def main() -> int:
    """Run until stopped; return the exit code."""
    try:
        uvloop.run(_run(config_of(sys.argv[1:])))
    except (ConfigError, ScenarioError, SourceError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
