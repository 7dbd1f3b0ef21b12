"""Owns the operator commands of ``kalshibook``: their names, options and exit codes; what they do stands elsewhere.

Exit codes: 0 done (a service that was asked to stop included), 1 failed, 2 wrong use or a wrong setting, 130
interrupted. What a command runs is imported inside it, so that ``kalshibook --help`` stays fast.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

_P = ParamSpec("_P")
_Leash = Annotated[bool, typer.Option("--leash", hidden=True, help="Stop when standard input ends.")]
_Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.", show_default="setting")]


def register(app: typer.Typer) -> None:
    """Add the operator commands to ``app``."""
    for command in (up, collect, publish, serve, exchange, import_, verify, sql, doctor, health):
        app.command(command.__name__.rstrip("_"), rich_help_panel="Operators")(command)


def _explained(command: Callable[_P, None]) -> Callable[_P, None]:
    """Turn a wrong setting into one line on stderr and exit code 2."""

    @functools.wraps(command)
    def explained(*args: _P.args, **kwargs: _P.kwargs) -> None:
        from ops.settings import SettingsError

        try:
            command(*args, **kwargs)
        except SettingsError as error:
            typer.echo(f"kalshibook: {error}", err=True)
            raise typer.Exit(2) from None

    return explained


@_explained
def up() -> None:
    """Run the whole product here, with a local exchange unless Kalshi keys are set; Ctrl-C stops it."""
    from cli.up import run
    from ops.settings import Settings

    raise typer.Exit(run(Settings.from_env(os.environ), os.environ, typer.echo))


@_explained
def collect(leash: _Leash = False) -> None:
    """Record the exchange into KALSHIBOOK_HOME until told to stop."""
    from cli import roles
    from ops.settings import Settings

    raise typer.Exit(roles.run_collector(Settings.from_env(os.environ), leash))


@_explained
def publish(
    once: Annotated[bool, typer.Option("--once", help="Publish what is due now, and end.")] = False,
    hour: Annotated[
        list[str] | None,
        typer.Option(help="Publish this hour, 2026-08-10T22 (UTC), anew where it is published; repeatable."),
    ] = None,
    from_raw: Annotated[
        list[str] | None,
        typer.Option(help="Publish this hour anew from its raw frames, as read now; repeatable."),
    ] = None,
    leash: _Leash = False,
) -> None:
    """Publish each hour to the lake once it has ended, until told to stop."""
    from cli import publishing
    from ops.settings import Settings

    hours, raw = [_hour(text) for text in hour or ()], [_hour(text, "--from-raw") for text in from_raw or ()]
    if raw and hours:
        raise typer.BadParameter("it goes with no --hour", param_hint="--from-raw")
    settings = Settings.from_env(os.environ)
    raise typer.Exit(publishing.run_publisher(settings, once=once, hours=hours, from_raw=raw, on_leash=leash))


@_explained
def serve(leash: _Leash = False) -> None:
    """Answer over HTTP from what is recorded in KALSHIBOOK_HOME."""
    from cli import roles
    from ops.settings import Settings

    raise typer.Exit(roles.run_server(Settings.from_env(os.environ), leash))


@_explained
def exchange(
    capture: Annotated[Path | None, typer.Option(help="Play the recorded frames of this folder.")] = None,
    market: Annotated[list[str] | None, typer.Option(help="Of the capture, play this market only; repeatable.")] = None,
    markets: Annotated[int, typer.Option(min=1, help="Generated markets.")] = 200,
    rate: Annotated[int, typer.Option(min=1, help="Generated messages a second, all markets together.")] = 100,
    speed: Annotated[
        float | None, typer.Option(min=0.01, help="Play a capture at this speed.", show_default="1")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of what is generated.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on; its control port lets in whoever reaches it.")] = (
        "127.0.0.1"
    ),
    ws_port: _Port = None,
    http_port: _Port = None,
    log_frames: Annotated[int, typer.Option(min=1, help="Sent frames that its log remembers.")] = 200_000,
    scenario: Annotated[Path | None, typer.Option(help="Make the faults of this file (docs/exchange.md).")] = None,
    combos: Annotated[int, typer.Option(min=0, help="Generated combinations, on top of the markets.")] = 0,
    cycle_s: Annotated[int, typer.Option(min=1, help="Life of the short-lived generated markets, seconds.")] = 900,
    ready_file: Annotated[Path | None, typer.Option(help="Write the chosen ports here, as JSON.")] = None,
    leash: _Leash = False,
) -> None:
    """Run a local Kalshi: websocket, REST and control, generated or played from a capture."""
    from cli import roles
    from ops.settings import Settings

    settings = Settings.from_env(os.environ)
    if speed is not None and (settings.rehearsal is not None or capture is None):
        why = "KALSHIBOOK_CLOCK sets the speed" if capture is not None else "it needs --capture"
        raise typer.BadParameter(why, param_hint="--speed")
    options = roles.ExchangeOptions(
        capture=capture,
        capture_tickers=tuple(market or ()),
        markets=markets,
        messages_per_s=rate,
        speed=1.0 if speed is None else speed,
        seed=seed,
        host=host,
        ws_port=settings.exchange_ws_port if ws_port is None else ws_port,
        http_port=settings.exchange_http_port if http_port is None else http_port,
        log_frames=log_frames,
        scenario=scenario,
        combos=combos,
        cycle_s=cycle_s,
        ready_file=ready_file,
    )
    raise typer.Exit(roles.run_exchange(settings, options, leash))


@_explained
def import_(
    capture: Annotated[Path, typer.Option(help="Folder of recorded frames.", exists=True, file_okay=False)],
    market: Annotated[list[str] | None, typer.Option(help="Import this market only; repeatable.")] = None,
) -> None:
    """Publish frames that were recorded elsewhere, as if they had been recorded here."""
    from cli.importing import run_import
    from ops.settings import Settings

    raise typer.Exit(run_import(Settings.from_env(os.environ), capture, tuple(market or ()), typer.echo))


@_explained
def verify(
    hour: Annotated[list[str] | None, typer.Option(help="Verify this hour, 2026-08-10T22 (UTC); repeatable.")] = None,
    day: Annotated[list[str] | None, typer.Option(help="Verify this day, 2026-08-10 (UTC); repeatable.")] = None,
    whole: Annotated[bool, typer.Option("--all", help="Verify the whole lake, as without any option.")] = False,
) -> None:
    """Prove published hours from their files, and from the journal while it is there; exit 1 on any doubt."""
    from cli.verification import run_verify
    from ops.settings import Settings

    hours, days = [_hour(text) for text in hour or ()], [_day(text) for text in day or ()]
    if whole and (hours or days):
        raise typer.BadParameter("it goes with no other", param_hint="--all")
    raise typer.Exit(run_verify(Settings.from_env(os.environ), hours, days, typer.echo))


@_explained
def sql(
    query: Annotated[str | None, typer.Argument(help="One or more statements; without it, a prompt.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print rows as JSON lines.")] = False,
) -> None:
    """Ask the published hours in SQL, by DuckDB."""
    from cli.sql import run_sql
    from ops.settings import Settings

    raise typer.Exit(run_sql(Settings.from_env(os.environ), query, json, typer.echo))


@_explained
def doctor() -> None:
    """Check that this machine can run KalshiBook; exit 1 where it cannot."""
    from cli.doctor import examine
    from ops.settings import Settings

    findings = examine(Settings.from_env(os.environ), os.environ, sys.version_info)
    for finding in findings:
        typer.echo(finding.line())
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@_explained
def health(
    role: Annotated[str | None, typer.Argument(help="up, collect, publish, serve or exchange.")] = None,
) -> None:
    """Look whether a role's process gets on, as a container's health check does; exit 1 where it does not.

    Without a role it is that of process 1, the container's own.
    """
    from cli.health import CHECKS, container_role, examine
    from ops.settings import Settings

    found = container_role() if role is None else role
    if found not in CHECKS:
        raise typer.BadParameter(f"name one of {', '.join(CHECKS)}", param_hint="ROLE")
    signs = examine(found, Settings.from_env(os.environ))
    for sign in signs:
        typer.echo(f"{'ok  ' if sign.ok else 'FAIL'}  {sign.text}")
    raise typer.Exit(0 if all(sign.ok for sign in signs) else 1)


def _hour(text: str, hint: str = "--hour") -> int:
    from cli.hours import parse_hour

    hour = parse_hour(text)
    if hour is None:
        raise typer.BadParameter(f"{text!r} is not of the form 2026-08-10T22", param_hint=hint)
    return hour


def _day(text: str) -> int:
    from cli.hours import parse_day

    first = parse_day(text)
    if first is None:
        raise typer.BadParameter(f"{text!r} is not of the form 2026-08-10", param_hint="--day")
    return first
