"""Owns the settings: their names, bounds and defaults, read once from the environment into one frozen struct.

It never reads a file and never changes the environment. docs/settings.md lists the same names; a test compares.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from ops.clock import Clock, RehearsalClock


class SettingsError(ValueError):
    """A setting that cannot be used: its ``variable``, the ``value`` found and the ``remedy``."""

    def __init__(self, variable: str, value: str, remedy: str) -> None:
        super().__init__(f"{variable}={value!r} cannot be used: {remedy}")
        self.variable = variable
        self.value = value
        self.remedy = remedy


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process was told by its environment. ``Settings()`` is what an empty environment gives.

    Names end in their unit; seconds are machine time. ``repr`` shows no secret.
    """

    kalshi_key_id: str | None = None
    kalshi_private_key_path: Path | None = None
    kalshi_private_key_pem: str | None = None
    kalshi_ws_url: str = "wss://external-api-ws.kalshi.com/trade-api/ws/v2"
    kalshi_rest_url: str = "https://external-api.kalshi.com/trade-api/v2"
    home: Path = Path("var")
    lake: Path | None = None
    rehearsal: RehearsalClock | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    public_url: str | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    shard: int = 0
    seal_s: float = 10.0
    connections: int = 20
    markets_per_connection: int = 1000
    silence_s: float = 2.5
    watchdog_s: float = 15.0
    audit_every_s: float = 900.0
    queue_frames: int = 200_000
    disk_stop_gib: float = 1.0
    disk_resume_gib: float = 2.0
    raw_days: int = 7
    exchange_ws_port: int = 0
    exchange_http_port: int = 0
    test_data: Path | None = None
    combos: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the variables of ``VARIABLES``; one that is empty counts as unset.

        Raises SettingsError for a value out of its bounds, and for settings that contradict each other.
        """
        given: dict[str, Any] = {}
        for variable in VARIABLES:
            text = environ.get(variable.name, "").strip()
            if not text:
                continue
            try:
                value = variable.parse(text)
            except ValueError as error:
                shown = "(hidden)" if variable.secret else text
                raise SettingsError(variable.name, shown, f"{error}; {variable.example}") from None
            given.setdefault(variable.field, value)
        settings = cls(**given)
        settings._refuse_contradictions()
        return settings

    def _refuse_contradictions(self) -> None:
        has_key = self.kalshi_private_key_path is not None or self.kalshi_private_key_pem is not None
        if self.kalshi_private_key_path is not None and self.kalshi_private_key_pem is not None:
            remedy = "KALSHI_PRIVATE_KEY is set too; unset one of them"
            raise SettingsError("KALSHI_PRIVATE_KEY_PATH", str(self.kalshi_private_key_path), remedy)
        if self.kalshi_key_id is not None and not has_key:
            remedy = "the private key is missing; set KALSHI_PRIVATE_KEY_PATH to its file, or unset this"
            raise SettingsError("KALSHI_API_KEY_ID", self.kalshi_key_id, remedy)
        if self.kalshi_key_id is None and has_key:
            remedy = "a private key is given without it; set it to the key's id, or unset the private key"
            raise SettingsError("KALSHI_API_KEY_ID", "", remedy)
        if self.watchdog_s < self.silence_s:
            remedy = f"it is below KALSHIBOOK_SILENCE_S ({self.silence_s:g}); set it to that or more"
            raise SettingsError("KALSHIBOOK_WATCHDOG_S", f"{self.watchdog_s:g}", remedy)
        if self.disk_resume_gib < self.disk_stop_gib:
            remedy = f"it is below KALSHIBOOK_DISK_STOP_GIB ({self.disk_stop_gib:g}); set it to that or more"
            raise SettingsError("KALSHIBOOK_DISK_RESUME_GIB", f"{self.disk_resume_gib:g}", remedy)

    @property
    def clock(self) -> Clock:
        """A clock as set: the rehearsal's where one is set, else the machine's."""
        return Clock(self.rehearsal)

    @property
    def lake_root(self) -> Path:
        """The root of the lake: as set, else ``lake`` under the home."""
        return self.home / "lake" if self.lake is None else self.lake

    def metrics_port_of(self, role: str) -> int | None:
        """Return the port of a role's metrics, by METRICS_OFFSETS; None where metrics are not asked for."""
        return None if self.metrics_port is None else self.metrics_port + METRICS_OFFSETS[role]

    @property
    def url(self) -> str:
        """The address at which this server is reached: the public one, or its own host and port."""
        if self.public_url is not None:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - read, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def __repr__(self) -> str:
        """Show every field but the secrets, so that a logged Settings gives nothing away."""
        hidden = {variable.field for variable in VARIABLES if variable.secret}
        shown = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return f"Settings({', '.join(f'{n}=(hidden)' if n in hidden and v else f'{n}={v!r}' for n, v in shown)})"


class Variable(msgspec.Struct, frozen=True):
    """A variable of the environment: the field it fills, how it is read, and an example for the error message.

    Where two variables fill one field the earlier in ``VARIABLES`` wins.
    """

    name: str
    field: str
    parse: Callable[[str], Any]
    example: str
    secret: bool = False


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"it is not a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"it is not a number of seconds from {low:g} to {high:g}")
        return value

    return parse


def _gibibytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1_000_000:
        raise ValueError("it is not a number of GiB from 0 to 1000000")
    return value


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError(f"it is not a whole address that begins with {' or '.join(s + '://' for s in schemes)}")
        return text.rstrip("/")

    return parse


def _local_lake(text: str) -> Path:
    """Read the address of a folder of this machine; nothing else can hold a lake yet."""
    parts = urlsplit(text)
    if parts.scheme in _OBJECT_STORES:
        raise ValueError("object stores are not supported yet")
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
        raise ValueError("it is not of the form file:///absolute/path")
    if not path.is_absolute() or path == Path("/"):
        raise ValueError("it names no folder by its absolute path")
    return path


def _pem(text: str) -> str:
    """Accept a key in one line, where deployments write a line end as the two characters backslash and n."""
    pem = text.replace("\\n", "\n")
    if not pem.startswith("-----BEGIN ") or "PRIVATE KEY-----" not in pem:
        raise ValueError("it is not a private key in PEM form")
    return pem + "\n"


def _switch(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("it is neither 0 nor 1")
    return text == "1"


def _word(text: str) -> str:
    if not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("it has a space or a character outside ASCII")
    return text


def _api_key(text: str) -> str:
    if len(_word(text)) < 16:
        raise ValueError("it is shorter than 16 characters")
    return text


METRICS_OFFSETS = {"collect": 0, "serve": 1, "stream": 2, "publish": 3}
"""How far each role's metrics port lies above KALSHIBOOK_METRICS_PORT."""

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
_PORT = _whole(1, 65535)
_PORT_OR_ANY = _whole(0, 65535)
_PEM_EXAMPLE = "paste the whole key file, or set KALSHI_PRIVATE_KEY_PATH to it"

VARIABLES: tuple[Variable, ...] = (
    Variable("KALSHI_API_KEY_ID", "kalshi_key_id", _word, "copy the key's id from your Kalshi account"),
    Variable("KALSHI_PRIVATE_KEY_PATH", "kalshi_private_key_path", Path, "set it to the key's PEM file"),
    Variable("KALSHI_PRIVATE_KEY", "kalshi_private_key_pem", _pem, _PEM_EXAMPLE, secret=True),
    Variable("KALSHI_PRIVATE_KEY_CONTENT", "kalshi_private_key_pem", _pem, _PEM_EXAMPLE, secret=True),
    Variable("KALSHI_WS_URL", "kalshi_ws_url", _url("ws", "wss"), "unset it for the real exchange"),
    Variable("KALSHI_REST_URL", "kalshi_rest_url", _url("http", "https"), "unset it for the real exchange"),
    Variable("KALSHIBOOK_HOME", "home", Path, "set it to a folder that may be written"),
    Variable(
        "KALSHIBOOK_LAKE", "lake", _local_lake, "write file:///srv/kalshibook/lake, or unset it for lake in the home"
    ),
    Variable("KALSHIBOOK_CLOCK", "rehearsal", RehearsalClock.parse, "write 2026-08-10T22:00:00Z@20@1795555000.0"),
    Variable("KALSHIBOOK_HOST", "host", _word, "127.0.0.1 serves this machine alone, 0.0.0.0 every network"),
    Variable("KALSHIBOOK_PORT", "port", _PORT, "set it to a free port such as 8000"),
    Variable("PORT", "port", _PORT, "set it to a free port such as 8000"),
    Variable(
        "KALSHIBOOK_API_KEY", "api_key", _api_key, "set it to a long random word, or let up make one", secret=True
    ),
    Variable("KALSHIBOOK_PUBLIC_URL", "public_url", _url("http", "https"), "write https://books.example.com"),
    Variable("KALSHIBOOK_METRICS_HOST", "metrics_host", _word, "127.0.0.1 shows metrics to this machine alone"),
    Variable(
        "KALSHIBOOK_METRICS_PORT",
        "metrics_port",
        _whole(1, 65535 - max(METRICS_OFFSETS.values())),
        "write 9100, or unset it for no metrics",
    ),
    Variable("KALSHIBOOK_SHARD", "shard", _whole(0, 1023), "one recorder alone is shard 0"),
    Variable("KALSHIBOOK_SEAL_SECONDS", "seal_s", _seconds(0.1, 3600), "10 is the default"),
    Variable("KALSHIBOOK_CONNECTIONS", "connections", _whole(1, 200), "20 is the default"),
    Variable(
        "KALSHIBOOK_MARKETS_PER_CONNECTION", "markets_per_connection", _whole(1, 1_000_000), "1000 is the default"
    ),
    Variable("KALSHIBOOK_SILENCE_S", "silence_s", _seconds(1.5, 60), "2.5 is the default"),
    Variable("KALSHIBOOK_WATCHDOG_S", "watchdog_s", _seconds(2, 600), "15 is the default"),
    Variable("KALSHIBOOK_AUDIT_EVERY_S", "audit_every_s", _seconds(0.1, 86_400), "900 is the default"),
    Variable("KALSHIBOOK_QUEUE_FRAMES", "queue_frames", _whole(1, 10_000_000), "200000 is the default"),
    Variable("KALSHIBOOK_DISK_STOP_GIB", "disk_stop_gib", _gibibytes, "1 is the default"),
    Variable("KALSHIBOOK_DISK_RESUME_GIB", "disk_resume_gib", _gibibytes, "2 is the default"),
    Variable("KALSHIBOOK_RAW_DAYS", "raw_days", _whole(0, 3650), "7 is the default, 0 keeps none"),
    Variable("KALSHIBOOK_EXCHANGE_WS_PORT", "exchange_ws_port", _PORT_OR_ANY, "0 takes a free port"),
    Variable("KALSHIBOOK_EXCHANGE_HTTP_PORT", "exchange_http_port", _PORT_OR_ANY, "0 takes a free port"),
    Variable("KALSHIBOOK_TEST_DATA", "test_data", Path, "set it to the folder with the recorded frames"),
    Variable("KALSHIBOOK_COMBOS", "combos", _switch, "1 records multi-leg markets too, 0 leaves them out"),
)
