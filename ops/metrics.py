"""Owns how a process shows its metrics: a registry of its own, and the operators' port that it is read at.

The library's global registry is never used, so that nothing is shown but what a process put there itself. What is
counted stands with what counts it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from ops.settings import Settings, SettingsError


def registry() -> CollectorRegistry:
    """Return a new registry that shows this process's memory, processor time and open files."""
    made = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=made)
    return made


@contextmanager
def shown(settings: Settings, role: str, registry: CollectorRegistry) -> Iterator[int | None]:
    """Show ``registry`` at the port of ``role`` while the block runs, from a thread of its own; give that port.

    Where the settings ask for no metrics it does nothing and gives None. Raises SettingsError where the port cannot be
    listened on.
    """
    port = settings.metrics_port_of(role)
    if port is None:
        yield None
        return
    try:
        server, thread = start_http_server(port, settings.metrics_host, registry)
    except OSError as error:
        remedy = f"port {port} of {settings.metrics_host} for the metrics of {role} cannot be listened on"
        raise SettingsError(
            "KALSHIBOOK_METRICS_PORT", str(settings.metrics_port), f"{remedy} ({error.strerror}); take other ports"
        ) from None
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
