"""The files of docker/ as data: compose services with their variables filled in, and the Dockerfile's instructions.

Owns the reading of them for tests. Knows of compose's ``${NAME:-default}`` and ``${NAME:?message}`` and no other form.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
LOCAL_ENV = ROOT / "docker" / "local.env"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
VARIABLE = re.compile(r"\$\{([A-Z_]+):([-?])([^}]*)\}")


class MissingError(Exception):
    """A variable that compose would refuse to go on without."""


def services(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the services as compose would run them with ``environ``. Raises MissingError."""
    found = yaml.safe_load(COMPOSE.read_text())["services"]
    return {name: _filled(service, environ) for name, service in found.items()}


def local_environ() -> dict[str, str]:
    """Return what the file for rehearsals sets."""
    lines = [line for line in LOCAL_ENV.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions in order, each as its keyword and its arguments on one line."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines()]


def final_stage() -> list[tuple[str, str]]:
    """Return the instructions of the stage that becomes the image."""
    found = instructions()
    return found[max(n for n, (keyword, _) in enumerate(found) if keyword == "FROM") :]


def seconds(text: str) -> int:
    """Read a duration such as 30s or 2m."""
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def _filled(value: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one, environ) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, environ) for one in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        found = environ.get(match[1], "")
        if not found and match[2] == "?":
            raise MissingError(match[1])
        return found or (match[3] if match[2] == "-" else "")

    return VARIABLE.sub(fill, value)
