"""What the server counts, read from its own registry, and from the operators' port of a process."""

import urllib.request
from pathlib import Path

from prometheus_client import CollectorRegistry

from book.errors import CorruptError
from server.app import create_app
from server.metrics import ServerMetrics
from tests.server.conftest import GOLD, NOW, SECOND, Client, settings, text
from tests.server.process import free_port, process
from tests.server.test_problems import Fails


def counted(registry: CollectorRegistry, operation: str, status: str) -> float | None:
    return registry.get_sample_value("kalshibook_requests_total", {"operation": operation, "status": status})


def test_answers_are_counted_by_operation_and_status(home: Path) -> None:
    metrics = ServerMetrics(CollectorRegistry())
    client = Client(create_app(settings(home), metrics=metrics))
    for _ in range(3):
        client.get(f"/v1/orderbook/{GOLD}")
    client.get(f"/v1/orderbook/{GOLD}", params={"at": text(25)})
    client.get("/v1/markets", key=None)
    client.get("/v1/nothing")
    client.get("/healthz")

    assert counted(metrics.registry, "getOrderbookByTicker", "200") == 3
    assert counted(metrics.registry, "getOrderbookByTicker", "409") == 1
    assert counted(metrics.registry, "listMarkets", "401") == 1
    assert counted(metrics.registry, "other", "404") == counted(metrics.registry, "other", "200") == 1
    seconds = metrics.registry.get_sample_value(
        "kalshibook_request_seconds_count", {"operation": "getOrderbookByTicker"}
    )
    assert seconds == 4


def test_the_state_of_publishing_is_shown(home: Path) -> None:
    registry = CollectorRegistry()
    create_app(settings(home, now_us=lambda: NOW + 3600 * SECOND), metrics=ServerMetrics(registry))

    figures = ("hours_published", "unpublished_hours", "publish_lateness_seconds", "recording_lag_seconds")
    assert [registry.get_sample_value(f"kalshibook_{name}") for name in figures] == [0, 1, 600, 3601]


def test_a_log_that_cannot_be_read_does_not_hide_the_rest(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    create_app(settings(tmp_path), Fails(CorruptError("/a", 1, "crc")), ServerMetrics(registry))

    lateness = registry.get_sample_value("kalshibook_publish_lateness_seconds")
    assert lateness != lateness  # noqa: PLR0124 - it is no number


def test_no_label_can_grow_without_bound(home: Path) -> None:
    metrics = ServerMetrics(CollectorRegistry())
    client = Client(create_app(settings(home), metrics=metrics))
    for n in range(20):
        client.get(f"/v1/orderbook/KXNO-{n}")
        client.get(f"/v1/nothing-{n}")

    names = {sample.labels["operation"] for metric in metrics.registry.collect() for sample in metric.samples
             if "operation" in sample.labels}  # fmt: skip
    assert names == {"getOrderbookByTicker", "other"}


def test_a_process_shows_them_at_a_port_of_their_own(home: Path, tmp_path: Path) -> None:
    base = free_port() - 1
    with process(home, tmp_path / "serve.err", KALSHIBOOK_METRICS_PORT=str(base)) as (_, client):
        assert client.get("/v1/gaps").status_code == 200
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{base + 1}/metrics", timeout=10) as answer:
            told = answer.read().decode()
        assert client.get("/metrics").status_code == 404

    assert 'kalshibook_requests_total{operation="listGaps",status="200"} 1.0' in told
    assert "kalshibook_publish_lateness_seconds 0.0" in told
    assert GOLD not in told
