"""Tests of cli.commands and of the installed command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = ("up", "collect", "publish", "serve", "exchange", "import", "verify", "sql", "doctor", "health")
MORE = {"import": ("--capture", "."), "health": ("serve",)}
"""What a command does not do without."""


def run(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("KALSHI", "PORT"))}
    clean |= {"COLUMNS": "200", "NO_COLOR": "1"} | environ
    return subprocess.run(argv, env=clean, capture_output=True, text=True, timeout=60, check=False)


def cli(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "cli", *argv, **environ)


def test_the_installed_command_and_the_module_offer_the_same() -> None:
    installed = run(str(Path(sys.executable).with_name("kalshibook")), "--help")
    module = cli("--help")

    assert installed.returncode == module.returncode == 0
    for name in COMMANDS:
        assert f" {name} " in installed.stdout
        assert f" {name} " in module.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_setting_is_one_line_and_exit_2(name: str) -> None:
    done = cli(name, *MORE.get(name, ()), KALSHIBOOK_SHARD="many")

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("kalshibook: KALSHIBOOK_SHARD='many' cannot be used: ")
    assert done.stdout == ""


def test_serve_without_a_key_refuses(tmp_path: Path) -> None:
    done = cli("serve", KALSHIBOOK_HOME=str(tmp_path))

    assert done.returncode == 2
    assert done.stderr.startswith("kalshibook: KALSHIBOOK_API_KEY='' cannot be used")


def test_collect_without_a_key_refuses(tmp_path: Path) -> None:
    done = cli("collect", KALSHIBOOK_HOME=str(tmp_path))

    assert done.returncode == 2
    assert done.stderr.startswith("kalshibook: KALSHI_API_KEY_ID='' cannot be used")


def test_speed_needs_a_capture_and_no_clock(tmp_path: Path) -> None:
    alone = cli("exchange", "--speed", "2", KALSHIBOOK_HOME=str(tmp_path))
    clocked = cli(
        "exchange", "--speed", "2", "--capture", str(tmp_path),
        KALSHIBOOK_HOME=str(tmp_path), KALSHIBOOK_CLOCK="2026-08-10T22:00:00Z@20@0",
    )  # fmt: skip

    assert (alone.returncode, clocked.returncode) == (2, 2)
    assert "--capture" in alone.stderr
    assert "KALSHIBOOK_CLOCK" in clocked.stderr


def test_doctor_says_what_it_looked_at_and_fails_where_something_is_wrong(tmp_path: Path) -> None:
    good = cli("doctor", KALSHIBOOK_HOME=str(tmp_path), KALSHIBOOK_PORT="48121")
    bad = cli("doctor", KALSHIBOOK_HOME=str(tmp_path), KALSHIBOOK_PORT="48121", KALSHIBOOK_SHRAD="1")

    assert (good.returncode, bad.returncode) == (0, 1), good.stdout
    assert all(line.startswith("ok    ") for line in good.stdout.splitlines())
    assert "FAIL  KALSHIBOOK_SHRAD is not a setting: did you mean KALSHIBOOK_SHARD?" in bad.stdout


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("publish", "--hour", "2026-08-10"), "2026-08-10T22"),
        (("publish", "--hour", "2026-08-10T24"), "2026-08-10T22"),
        (("verify", "--day", "2026-02-30"), "2026-08-10"),
        (("verify", "--all", "--day", "2026-08-10"), "--all"),
        (("import",), "--capture"),
    ],
)
def test_wrong_use_is_exit_2(argv: tuple[str, ...], says: str) -> None:
    done = cli(*argv)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_help_loads_none_of_what_commands_run() -> None:
    code = "import sys, typer; from cli.commands import register; register(typer.Typer()); print(*sys.modules)"
    loaded = run(sys.executable, "-c", code).stdout.split()

    assert not {"pyarrow", "duckdb", "polars", "deltalake", "litestar", "prometheus_client"} & set(loaded)
