"""Owns the process: the ASGI server around the application, its start and its end within five seconds."""

import signal
from types import FrameType

import uvicorn

from ops import logs, metrics
from ops.settings import Settings, SettingsError
from server.app import create_app
from server.metrics import ServerMetrics
from server.settings import ServerSettings

_log = logs.get(__name__)

_GRACE_S = 3
"""Seconds that open requests are given when asked to stop; the process is gone within five."""
_FRESH_S = 15
_KEEP_ALIVE_S = 75


def settings_from(settings: Settings) -> ServerSettings:
    """Take from the process's settings what the server needs.

    Raises SettingsError without an API key: a server that anybody may ask is not started.
    """
    if settings.api_key is None:
        raise SettingsError("KALSHIBOOK_API_KEY", "", "the server needs one; set it to a long random word")
    clock = settings.clock
    return ServerSettings(
        home=settings.home,
        lake=settings.lake_root,
        api_key=settings.api_key,
        public_url=settings.url,
        host=settings.host,
        port=settings.port,
        now_us=clock.now_us,
        fresh_us=int(_FRESH_S * 1_000_000 * clock.rate),
    )


def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is open and return.

    Raises SettingsError without an API key and where the metrics' port is taken, SystemExit where the server's is.
    """
    own = settings_from(settings)
    counted = ServerMetrics(metrics.registry())
    app = create_app(own, metrics=counted)
    _log.info("serving", host=own.host, port=own.port, url=own.public_url, home=str(own.home), lake=str(own.lake))
    config = uvicorn.Config(
        app,
        host=own.host,
        port=own.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    # Uvicorn raises the signal that stopped it once more when it is done, for whoever was there before it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _already_stopped)
    with metrics.shown(settings, "serve", counted.registry):
        uvicorn.Server(config).run()
    _log.info("stopped")


def _already_stopped(_: int, __: FrameType | None) -> None:
    """Let a signal pass that has been obeyed."""
