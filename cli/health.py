"""Owns ``kalshibook health``: whether the process of a role gets on with its work, told from what it leaves behind.

Progress alone is judged. A recorder whose exchange is away is well, since starting it again would not bring the
exchange back; how fresh the recording is, /readyz says. Of a process that serves HTTP one request is made; of a
collector the flush file is looked at, of a publisher the mark that it leaves.
"""

import http
import http.client
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lake import paths
from ops.settings import Settings

FLUSH_WITHIN_S = 30.0
"""A collector flushes every second, of nothing if need be; a disk may make it wait."""
LOOK_WITHIN_S = 900.0
"""A publisher leaves its mark at every look, of which it makes one a second, and at every hour published."""
_ANSWER_WITHIN_S = 5.0
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound


class Sign(NamedTuple):
    """One thing looked at: whether it is well, and what was found, as a line for a person."""

    ok: bool
    text: str


def container_role(command_line: Path = Path("/proc/1/cmdline")) -> str | None:
    """Return the role that process 1 runs, which in a container is its own; None where it runs none."""
    try:
        words = command_line.read_bytes().replace(b"\0", b" ").decode(errors="replace").split()
    except OSError:
        return None
    return next((word for word in words if word in CHECKS), None)


def examine(role: str, settings: Settings) -> list[Sign]:
    """Look whether a role's process gets on and return its signs. Cost: at most two requests, 5 s each.

    Raises KeyError for a role that there is not.
    """
    return CHECKS[role](settings)


def look_path(home: Path) -> Path:
    """Return the mark: the file whose time of change says when the publisher has last got on."""
    return home / "health" / "publish"


def _collect(settings: Settings) -> list[Sign]:
    def newest() -> Path:
        hour = paths.hours(settings.home, settings.shard)[-1]
        return paths.hour_dir(settings.home, settings.shard, hour) / paths.FLUSH_NAME

    nothing = f"shard {settings.shard} has flushed nothing yet"
    return [_recent("collect", "flushed", newest, FLUSH_WITHIN_S, nothing)]


def _publish(settings: Settings) -> list[Sign]:
    nothing = "has not looked for work yet"
    return [_recent("publish", "got on", lambda: look_path(settings.home), LOOK_WITHIN_S, nothing)]


def _serve(settings: Settings) -> list[Sign]:
    return [_answers("serve", _LOCAL.get(settings.host, settings.host), settings.port, "/healthz")]


def _exchange(settings: Settings) -> list[Sign]:
    if not settings.exchange_http_port:
        return [Sign(False, "exchange: it took any free port; set KALSHIBOOK_EXCHANGE_HTTP_PORT to look at it")]
    return [_answers("exchange", "127.0.0.1", settings.exchange_http_port, "/trade-api/v2/exchange/status")]


def _up(settings: Settings) -> list[Sign]:
    return [*_collect(settings), *_publish(settings), *_serve(settings)]


def _recent(role: str, deed: str, mark: Callable[[], Path], within_s: float, nothing: str) -> Sign:
    try:
        age_s = time.time() - mark().stat().st_mtime
    except (IndexError, FileNotFoundError):
        return Sign(False, f"{role}: {nothing}")
    except OSError as error:
        return Sign(False, f"{role}: {error.filename} cannot be looked at ({error.strerror})")
    return Sign(age_s <= within_s, f"{role}: {deed} {max(0.0, age_s):.1f} s ago")


def _answers(role: str, host: str, port: int, path: str) -> Sign:
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_WITHIN_S)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return Sign(False, f"{role}: port {port} does not answer ({error})")
    finally:
        connection.close()
    return Sign(status == http.HTTPStatus.OK, f"{role}: {path} answers {status}")


CHECKS: dict[str, Callable[[Settings], list[Sign]]] = {
    "up": _up,
    "collect": _collect,
    "publish": _publish,
    "serve": _serve,
    "exchange": _exchange,
}
