"""Owns how a process shows its metrics: a registry of its own, and the operators' port that it is read at.

The library's global registry is never used, so that nothing is shown but what a process put there itself. What is
counted stands with what counts it.
"""

import http
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

from ops.settings import Settings, SettingsError


def registry() -> CollectorRegistry:
    """Return a new registry that shows this process's memory, processor time and open files."""
    made = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=made)
    return made


Probe = Callable[[], list[str]]
"""Says what is missing, in words; nothing where all is well. Called from the thread that answers."""


@contextmanager
def shown(
    settings: Settings, role: str, registry: CollectorRegistry, probes: Mapping[str, Probe] | None = None
) -> Iterator[int | None]:
    """Show ``registry`` at the port of ``role`` while the block runs, from a thread of its own; give that port.

    ``probes`` are answered beside the metrics, by path: 200 where nothing is missing, else 503, both with a JSON
    object whose ``missing`` is the list. Where the settings ask for no metrics it does nothing and gives None. Raises
    SettingsError where the port cannot be listened on.
    """
    port = settings.metrics_port_of(role)
    if port is None:
        yield None
        return
    try:
        kind = _Server6 if ":" in settings.metrics_host else _Server
        app = _application(registry, probes or {})
        server = make_server(settings.metrics_host, port, app, kind, handler_class=_Handler)
    except OSError as error:
        remedy = f"port {port} of {settings.metrics_host} for the metrics of {role} cannot be listened on"
        raise SettingsError(
            "KALSHIBOOK_METRICS_PORT", str(settings.metrics_port), f"{remedy} ({error.strerror}); take other ports"
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """One thread a question, none of which holds the process back from its end."""

    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10.0

    def log_message(self, *_: object) -> None:
        """Say nothing of each question."""


def _application(registry: CollectorRegistry, probes: Mapping[str, Probe]) -> Any:
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        probe = probes.get(environ["PATH_INFO"])
        if probe is None:
            found: Iterable[bytes] = metrics(environ, start_response)
            return found
        missing = probe()
        status = http.HTTPStatus.SERVICE_UNAVAILABLE if missing else http.HTTPStatus.OK
        body = json.dumps({"status": "not_ready" if missing else "ready", "missing": missing}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    return answer
