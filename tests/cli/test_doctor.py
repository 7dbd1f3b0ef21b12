"""Tests of cli.doctor."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from cli import doctor
from lake.publishing.publish import publish_hours
from ops import keys
from ops.settings import Settings
from tests.query.conftest import H0, HOUR, Journal

PYTHON = (3, 11, 7, "final", 0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "var", port=free_port())


def publish(home: Path, lake: Path) -> None:
    """Publish an hour of one market."""
    log = Journal(home)
    log.snapshot("KXA", H0 * HOUR + 1, 1024, 1, [(0, 4500, 100)])
    log.heard(1024, (H0 + 1) * HOUR, 1)
    log.flush()
    assert publish_hours(lake, home, [H0], now_us=lambda: (H0 + 2) * HOUR)


def failures(settings: Settings, environ: dict[str, str] | None = None) -> list[str]:
    return [finding.text for finding in doctor.examine(settings, environ or {}, PYTHON) if not finding.ok]


@contextmanager
def exchange(status: int, date: str | None) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            if date is not None:
                self.send_header("Date", date or self.date_time_string())
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/trade-api/v2"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_key(settings: Settings, tmp_path: Path, rest_url: str) -> Settings:
    pair = keys.exchange_keys(tmp_path)
    return msgspec.structs.replace(
        settings, kalshi_key_id=pair.key_id, kalshi_private_key_path=pair.private_key_path, kalshi_rest_url=rest_url
    )


def test_a_machine_without_keys_is_fine(settings: Settings) -> None:
    assert failures(settings, {"KALSHIBOOK_HOME": "var", "PATH": "/bin"}) == []


def test_an_old_python_is_named(settings: Settings) -> None:
    findings = doctor.examine(settings, {}, (3, 10, 1))

    assert [finding.line() for finding in findings if not finding.ok] == [
        "FAIL  Python 3.10.1 is older than 3.11: install a later one"
    ]


def test_a_name_that_is_no_setting_is_named_with_the_one_meant(settings: Settings) -> None:
    (text,) = failures(settings, {"KALSHIBOOK_SEAL_SECOND": "3"})

    assert text == "KALSHIBOOK_SEAL_SECOND is not a setting: did you mean KALSHIBOOK_SEAL_SECONDS?"


def test_a_home_that_cannot_be_written_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    (text,) = failures(msgspec.structs.replace(settings, home=tmp_path / "file" / "var"))

    assert "cannot be written" in text


def test_a_full_disk_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_LEAST_FREE_BYTES", 1 << 80)

    (text,) = failures(settings)

    assert text.endswith("free 1 GiB")


def test_a_lake_is_looked_at_and_left_as_it_was(settings: Settings, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    publish(tmp_path / "var", lake)
    before = sorted(lake.rglob("*"))
    settings = msgspec.structs.replace(settings, lake=lake)

    texts = [finding.text for finding in doctor.examine(settings, {}, PYTHON) if finding.ok]

    assert f"the lake {lake} holds 1 published hours, the newest 2026-08-01T16" in texts
    assert sorted(lake.rglob("*")) == before


def test_a_lake_that_is_not_there_yet_can_be_made(settings: Settings) -> None:
    texts = [finding.text for finding in doctor.examine(settings, {}, PYTHON) if finding.ok]

    assert f"the lake {settings.lake_root.absolute()} can be made" in texts
    assert not settings.lake_root.exists()


def test_an_altered_lake_is_named(settings: Settings, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    publish(tmp_path / "var", lake)
    (file,) = (lake / "v1" / "coverage").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1])

    (text,) = failures(msgspec.structs.replace(settings, lake=lake))

    assert "sha256" in text
    assert text.endswith("kalshibook verify tells more")


def test_a_lake_that_cannot_be_written_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    (text,) = failures(msgspec.structs.replace(settings, lake=tmp_path / "file" / "lake"))

    assert "cannot be written by hard links" in text


def test_a_port_in_use_is_named(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.port))
        taken.listen()

        (text,) = failures(settings)

    assert text.startswith(f"KALSHIBOOK_PORT='{settings.port}' cannot be used")


def test_a_key_that_cannot_be_read_is_named(settings: Settings, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(settings, kalshi_key_id="id", kalshi_private_key_path=tmp_path / "none.pem")

    (text,) = failures(settings)

    assert "none.pem" in text


@pytest.mark.parametrize(
    ("status", "date", "says"),
    [
        (200, "", None),
        (200, None, None),
        (401, "", None),
        (404, "", "answers 404"),
        (503, "", "answers 503"),
        (200, "Mon, 10 Aug 2026 22:00:00 GMT", "clock"),
    ],
)
def test_the_exchange_is_asked(
    settings: Settings, tmp_path: Path, status: int, date: str | None, says: str | None
) -> None:
    with exchange(status, date) as url:
        found = failures(with_key(settings, tmp_path, url))

    assert [says in text if says else text for text in found] == ([True] if says else [])


def test_an_exchange_that_is_not_there_is_named(settings: Settings, tmp_path: Path) -> None:
    (text,) = failures(with_key(settings, tmp_path, f"http://127.0.0.1:{free_port()}/trade-api/v2"))

    assert "does not answer" in text
