"""Tests of ops.settings."""

from pathlib import Path

import pytest

from ops.settings import METRICS_OFFSETS, VARIABLES, Settings, SettingsError

PEM = "-----BEGIN PRIVATE KEY-----\\nSECRETSECRET\\n-----END PRIVATE KEY-----"
BAD = {
    "KALSHI_API_KEY_ID": "two words",
    "KALSHI_PRIVATE_KEY": "SECRETSECRET",
    "KALSHI_PRIVATE_KEY_CONTENT": "SECRETSECRET",
    "KALSHI_WS_URL": "https://exchange.example",
    "KALSHI_REST_URL": "exchange.example/trade-api/v2",
    "KALSHIBOOK_LAKE": "s3://bucket/prefix",
    "KALSHIBOOK_CLOCK": "2026-08-10T22:00:00Z@fast@0",
    "KALSHIBOOK_HOST": "two hosts",
    "KALSHIBOOK_PORT": "80000",
    "PORT": "http",
    "KALSHIBOOK_API_KEY": "SECRETSECRET",
    "KALSHIBOOK_PUBLIC_URL": "books.example.com",
    "KALSHIBOOK_METRICS_HOST": "two hosts",
    "KALSHIBOOK_METRICS_PORT": "65533",
    "KALSHIBOOK_SHARD": "1024",
    "KALSHIBOOK_SEAL_SECONDS": "nan",
    "KALSHIBOOK_CONNECTIONS": "201",
    "KALSHIBOOK_MARKETS_PER_CONNECTION": "0",
    "KALSHIBOOK_SILENCE_S": "inf",
    "KALSHIBOOK_WATCHDOG_S": "soon",
    "KALSHIBOOK_AUDIT_EVERY_S": "-1",
    "KALSHIBOOK_QUEUE_FRAMES": "1_000",
    "KALSHIBOOK_DISK_STOP_GIB": "-1",
    "KALSHIBOOK_DISK_RESUME_GIB": "plenty",
    "KALSHIBOOK_RAW_DAYS": "3651",
    "KALSHIBOOK_EXCHANGE_WS_PORT": "-1",
    "KALSHIBOOK_EXCHANGE_HTTP_PORT": "65536",
    "KALSHIBOOK_COMBOS": "yes",
}
ANY_TEXT_WILL_DO = {"KALSHI_PRIVATE_KEY_PATH", "KALSHIBOOK_HOME", "KALSHIBOOK_TEST_DATA"}


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({v.name: " " for v in VARIABLES}) == Settings()


def test_every_variable_is_in_one_of_the_lists_of_this_test() -> None:
    assert {v.name for v in VARIABLES} == BAD.keys() | ANY_TEXT_WILL_DO
    assert {v.field for v in VARIABLES} == set(Settings.__struct_fields__)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_value_names_the_variable_the_value_and_the_remedy(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({name: BAD[name]})

    secret = next(v.secret for v in VARIABLES if v.name == name)
    assert caught.value.variable == name
    assert caught.value.value == ("(hidden)" if secret else BAD[name])
    assert ";" in caught.value.remedy
    assert str(caught.value).startswith(f"{name}=")
    assert "SECRET" not in str(caught.value)


def test_each_variable_fills_its_field() -> None:
    settings = Settings.from_env(
        {
            "KALSHI_API_KEY_ID": "id",
            "KALSHI_PRIVATE_KEY_PATH": "/k.pem",
            "KALSHI_WS_URL": "ws://127.0.0.1:1/trade-api/ws/v2/",
            "KALSHI_REST_URL": "http://127.0.0.1:2/trade-api/v2",
            "KALSHIBOOK_HOME": "/srv/book",
            "KALSHIBOOK_LAKE": "file:///srv/the%20lake/",
            "KALSHIBOOK_CLOCK": "2026-08-10T22:00:00Z@20@1795555000.0",
            "KALSHIBOOK_HOST": "0.0.0.0",
            "KALSHIBOOK_PORT": "9000",
            "KALSHIBOOK_API_KEY": "k" * 16,
            "KALSHIBOOK_PUBLIC_URL": "https://books.example.com/",
            "KALSHIBOOK_METRICS_HOST": "0.0.0.0",
            "KALSHIBOOK_METRICS_PORT": "9100",
            "KALSHIBOOK_SHARD": "3",
            "KALSHIBOOK_SEAL_SECONDS": "0.5",
            "KALSHIBOOK_MARKETS_PER_CONNECTION": "5",
            "KALSHIBOOK_SILENCE_S": "3",
            "KALSHIBOOK_WATCHDOG_S": "20",
            "KALSHIBOOK_AUDIT_EVERY_S": "30",
            "KALSHIBOOK_QUEUE_FRAMES": "7",
            "KALSHIBOOK_EXCHANGE_WS_PORT": "11",
            "KALSHIBOOK_EXCHANGE_HTTP_PORT": "12",
            "KALSHIBOOK_TEST_DATA": "/data",
            "KALSHIBOOK_COMBOS": "1",
            "KALSHIBOOK_CONNECTIONS": "4",
            "KALSHIBOOK_DISK_STOP_GIB": "0.5",
            "KALSHIBOOK_DISK_RESUME_GIB": "3",
            "KALSHIBOOK_RAW_DAYS": "0",
        }
    )

    assert (settings.kalshi_key_id, settings.kalshi_private_key_path) == ("id", Path("/k.pem"))
    assert settings.kalshi_ws_url == "ws://127.0.0.1:1/trade-api/ws/v2"
    assert settings.kalshi_rest_url == "http://127.0.0.1:2/trade-api/v2"
    assert (settings.home, settings.test_data) == (Path("/srv/book"), Path("/data"))
    assert settings.lake == settings.lake_root == Path("/srv/the lake")
    assert settings.clock.rate == 20
    assert (settings.metrics_host, settings.metrics_port) == ("0.0.0.0", 9100)
    assert (settings.host, settings.port, settings.api_key) == ("0.0.0.0", 9000, "k" * 16)
    assert settings.public_url == settings.url == "https://books.example.com"
    assert (settings.shard, settings.markets_per_connection, settings.queue_frames) == (3, 5, 7)
    assert (settings.seal_s, settings.silence_s, settings.watchdog_s, settings.audit_every_s) == (0.5, 3, 20, 30)
    assert (settings.exchange_ws_port, settings.exchange_http_port, settings.combos) == (11, 12, True)
    assert (settings.connections, settings.disk_stop_gib, settings.disk_resume_gib) == (4, 0.5, 3)
    assert settings.raw_days == 0


def test_without_a_lake_it_stands_in_the_home() -> None:
    assert Settings.from_env({"KALSHIBOOK_HOME": "/srv/book"}).lake_root == Path("/srv/book/lake")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("s3://bucket/prefix", "object stores are not supported yet"),
        ("gs://bucket/prefix", "object stores are not supported yet"),
        ("/srv/lake", "not of the form file:///"),
        ("lake", "not of the form file:///"),
        ("file://elsewhere/srv/lake", "not of the form file:///"),
        ("file:///srv/lake?x=1", "not of the form file:///"),
        ("file:lake", "by its absolute path"),
        ("file://", "by its absolute path"),
        ("file:///", "by its absolute path"),
    ],
)
def test_a_lake_is_a_folder_of_this_machine(text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        Settings.from_env({"KALSHIBOOK_LAKE": text})

    assert "file:///srv/kalshibook/lake" in caught.value.remedy


def test_each_role_has_a_metrics_port_of_its_own() -> None:
    settings = Settings.from_env({"KALSHIBOOK_METRICS_PORT": "65532"})

    assert [settings.metrics_port_of(role) for role in METRICS_OFFSETS] == [65532, 65533, 65534, 65535]
    assert Settings().metrics_port_of("serve") is None


def test_our_port_wins_over_the_platforms() -> None:
    assert Settings.from_env({"PORT": "9001"}).port == 9001
    assert Settings.from_env({"PORT": "9001", "KALSHIBOOK_PORT": "9000"}).port == 9000


@pytest.mark.parametrize("name", ["KALSHI_PRIVATE_KEY", "KALSHI_PRIVATE_KEY_CONTENT"])
def test_a_key_in_one_line_gets_its_line_ends_back(name: str) -> None:
    settings = Settings.from_env({"KALSHI_API_KEY_ID": "id", name: PEM})

    assert settings.kalshi_private_key_pem == PEM.replace("\\n", "\n") + "\n"


def test_no_secret_is_in_what_a_log_would_show() -> None:
    environ = {"KALSHI_API_KEY_ID": "id", "KALSHI_PRIVATE_KEY": PEM, "KALSHIBOOK_API_KEY": "SECRETSECRETSECRET"}

    shown = repr(Settings.from_env(environ))

    assert "SECRET" not in shown
    assert "kalshi_key_id='id'" in shown
    assert "api_key=None" in repr(Settings())


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"KALSHI_API_KEY_ID": "id"}, "KALSHI_API_KEY_ID"),
        ({"KALSHI_PRIVATE_KEY_PATH": "/k.pem"}, "KALSHI_API_KEY_ID"),
        (
            {"KALSHI_API_KEY_ID": "i", "KALSHI_PRIVATE_KEY_PATH": "/k", "KALSHI_PRIVATE_KEY": PEM},
            "KALSHI_PRIVATE_KEY_PATH",
        ),
        ({"KALSHIBOOK_SILENCE_S": "20"}, "KALSHIBOOK_WATCHDOG_S"),
        ({"KALSHIBOOK_DISK_STOP_GIB": "3"}, "KALSHIBOOK_DISK_RESUME_GIB"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)

    assert caught.value.variable == variable


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("books.local", "http://books.local:8000"),
    ],
)
def test_the_url_is_one_that_can_be_called(host: str, url: str) -> None:
    assert Settings(host=host).url == url
