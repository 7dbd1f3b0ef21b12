"""Tests of ops.metrics, read over a real port."""

import json
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import REGISTRY, Counter

from ops import metrics
from ops.settings import METRICS_OFFSETS, Settings, SettingsError


def base_port(role: str) -> int:
    """Return a metrics port such that the role's own port is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1]) - METRICS_OFFSETS[role]


def read(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_what_was_counted_is_shown_at_the_role_s_port() -> None:
    registry = metrics.registry()
    counted = Counter("kalshibook_things", "Things.", registry=registry)
    settings = Settings(metrics_port=base_port("publish"))
    with metrics.shown(settings, "publish", registry) as port:
        assert port == settings.metrics_port_of("publish")
        counted.inc(3)
        text = read(port)

    assert "kalshibook_things_total 3.0" in text
    assert "process_resident_memory_bytes" in text
    with pytest.raises(urllib.error.URLError):
        read(port)


def test_registries_share_nothing() -> None:
    first, second = metrics.registry(), metrics.registry()
    Counter("kalshibook_things", "Things.", registry=first)
    Counter("kalshibook_things", "Things.", registry=second).inc()

    assert first.get_sample_value("kalshibook_things_total") == 0
    assert REGISTRY.get_sample_value("kalshibook_things_total") is None


def test_without_a_port_there_are_none() -> None:
    with metrics.shown(Settings(), "serve", metrics.registry()) as port:
        assert port is None


def test_a_port_in_use_is_refused_by_the_setting_s_name() -> None:
    settings = Settings(metrics_port=base_port("serve"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.metrics_port_of("serve")))
        taken.listen()
        with (
            pytest.raises(SettingsError, match="KALSHIBOOK_METRICS_PORT"),
            metrics.shown(settings, "serve", metrics.registry()),
        ):
            pass


def ask(port: int, path: str) -> tuple[int, dict[str, object]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_probes_are_answered_beside_the_metrics() -> None:
    missing: list[str] = []
    settings = Settings(metrics_port=base_port("collect"))
    with metrics.shown(settings, "collect", metrics.registry(), {"/readyz": lambda: missing}) as port:
        assert port is not None
        assert ask(port, "/readyz") == (200, {"status": "ready", "missing": []})
        missing.append("tape 0: not subscribed")
        assert ask(port, "/readyz") == (503, {"status": "not_ready", "missing": missing})
        assert "process_resident_memory_bytes" in read(port)


def test_metrics_are_shown_on_an_address_of_the_sixth_version_too() -> None:
    settings = Settings(metrics_host="::1", metrics_port=base_port("publish"))
    with metrics.shown(settings, "publish", metrics.registry()) as port:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://[::1]:{port}/metrics", timeout=10) as answer:
            assert answer.status == 200
