"""Owns ``kalshibook doctor``: looks whether this machine can run KalshiBook and says what to do where it cannot.

It changes nothing but empty files that it makes and removes under KALSHIBOOK_HOME and in the lake.
"""

import difflib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import msgspec
from deltalake.exceptions import DeltaError

from book.errors import LakeError
from cli.up import require_free_ports
from lake.publishing.shelf import Shelf
from ops import keys
from ops.settings import VARIABLES, Settings, SettingsError

_LEAST_FREE_BYTES = 1 << 30
_LARGEST_SKEW_S = 5.0
_OLDEST_CLOCK = datetime(2026, 1, 1, tzinfo=UTC)


class Finding(msgspec.Struct, frozen=True):
    """One thing looked at: whether it is well, and what was found, with the remedy where it is not."""

    ok: bool
    text: str

    def line(self) -> str:
        """Return the finding as a line for a person."""
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.text}"


def examine(settings: Settings, environ: Mapping[str, str], python: Sequence[int | str]) -> list[Finding]:
    """Look at everything and return what was found. Cost: at most two HTTP requests, 5 s each."""
    home = _home(settings.home)
    return [
        _python(python),
        _names(environ),
        home,
        _disk(settings.home),
        *([_lake(settings.lake_root)] if home.ok or settings.lake is not None else []),
        *([_disk(settings.lake)] if settings.lake is not None else []),
        _clock(settings),
        *_exchange(settings),
        _ports(settings),
    ]


def _python(python: Sequence[int | str]) -> Finding:
    version = ".".join(str(part) for part in python[:3])
    if tuple(python[:2]) < (3, 11):
        return Finding(False, f"Python {version} is older than 3.11: install a later one")
    return Finding(True, f"Python {version}")


def _names(environ: Mapping[str, str]) -> Finding:
    known = [variable.name for variable in VARIABLES]
    strangers = sorted(name for name in environ if name.startswith(("KALSHIBOOK_", "KALSHI_")) and name not in known)
    for name in strangers:
        near = difflib.get_close_matches(name, known, n=1)
        return Finding(False, f"{name} is not a setting" + (f": did you mean {near[0]}?" if near else ": unset it"))
    return Finding(True, "every KALSHIBOOK_ and KALSHI_ variable is a setting")


def _home(home: Path) -> Finding:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        return Finding(False, f"KALSHIBOOK_HOME {home} cannot be written ({error.strerror}): choose another folder")
    return Finding(True, f"KALSHIBOOK_HOME {home.absolute()} can be written")


def _disk(folder: Path) -> Finding:
    place = _standing(folder)
    free_bytes = shutil.disk_usage(place).free
    text = f"{free_bytes / (1 << 30):.1f} GiB free at {place}"
    return Finding(free_bytes >= _LEAST_FREE_BYTES, text if free_bytes >= _LEAST_FREE_BYTES else f"{text}: free 1 GiB")


def _standing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def _lake(lake: Path) -> Finding:
    place = _standing(lake)
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as made:
            (Path(made) / "object").touch()
            os.link(Path(made) / "object", Path(made) / "name")
    except OSError as error:
        return Finding(False, f"the lake {lake} cannot be written by hard links ({error.strerror}): move it")
    if not lake.exists():
        return Finding(True, f"the lake {lake.absolute()} can be made")
    shelf = Shelf(lake)
    try:
        shelf.refresh()
        hours = shelf.hours()
        if hours:
            shelf.standing_rows(hours[-1])
    except (LakeError, DeltaError, OSError) as error:
        return Finding(False, f"the lake {lake} cannot be read: {error}; kalshibook verify tells more")
    newest = f", the newest {datetime.fromtimestamp(hours[-1] * 3600, UTC):%Y-%m-%dT%H}" if hours else ""
    return Finding(True, f"the lake {lake.absolute()} holds {len(hours)} published hours{newest}")


def _clock(settings: Settings) -> Finding:
    now = datetime.now(UTC)
    if now < _OLDEST_CLOCK:
        return Finding(False, f"the machine's clock says {now:%Y-%m-%d}: set it")
    shown = datetime.fromtimestamp(settings.clock.now_us() // 1_000_000, UTC)
    if settings.rehearsal is not None:
        return Finding(True, f"the rehearsal clock shows {shown:%Y-%m-%d %H:%M:%S} UTC at rate {settings.clock.rate}")
    return Finding(True, f"the machine's clock says {shown:%Y-%m-%d %H:%M:%S} UTC")


def _exchange(settings: Settings) -> list[Finding]:
    try:
        key = keys.kalshi_key(settings)
    except SettingsError as error:
        return [Finding(False, str(error))]
    if key is None:
        return [Finding(True, "no Kalshi key is set: up will run and record a local exchange")]
    readable = Finding(True, f"the private key of {key.key_id} can be read")
    url = f"{settings.kalshi_rest_url}/exchange/status"
    try:
        asked_s = time.time()
        answer = httpx.get(url, timeout=5)
        answered_s = time.time()
    except httpx.HTTPError as error:
        return [readable, Finding(False, f"{url} does not answer ({error}): check the network and KALSHI_REST_URL")]
    if answer.status_code >= 500 or answer.status_code == 404:
        return [readable, Finding(False, f"{url} answers {answer.status_code}: check KALSHI_REST_URL")]
    reached = Finding(True, f"{url} answers")
    if (date := answer.headers.get("Date")) is None:
        return [readable, reached]
    skew_s = parsedate_to_datetime(date).timestamp() - (asked_s + answered_s) / 2
    if abs(skew_s) > _LARGEST_SKEW_S:
        return [readable, reached, Finding(False, f"the machine's clock is {skew_s:+.0f} s off the exchange's: set it")]
    return [readable, reached, Finding(True, "the machine's clock agrees with the exchange's")]


def _ports(settings: Settings) -> Finding:
    try:
        require_free_ports(settings)
    except SettingsError as error:
        return Finding(False, str(error))
    return Finding(True, f"port {settings.port} of {settings.host} is free")
