"""Tests of ops.keys."""

import re
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ops import keys
from ops.settings import Settings, SettingsError


def test_the_exchange_pair_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    pair = keys.exchange_keys(tmp_path)

    assert keys.exchange_keys(tmp_path) == pair
    assert stat.S_IMODE(pair.private_key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.private_key_path.parent.stat().st_mode) == 0o700
    assert [path.name for path in pair.private_key_path.parent.iterdir()] == ["exchange.pem"]


def test_the_two_halves_of_the_pair_belong_together(tmp_path: Path) -> None:
    pair = keys.exchange_keys(tmp_path)
    settings = Settings(kalshi_key_id=pair.key_id, kalshi_private_key_path=pair.private_key_path)

    key = keys.kalshi_key(settings)

    assert key is not None
    public = serialization.load_pem_public_key(pair.public_pem.encode())
    assert isinstance(public, RSAPublicKey)
    assert key.private_key.public_key().public_numbers() == public.public_numbers()
    assert repr(key) == "KalshiKey('local-exchange')"


def test_the_api_key_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    key = keys.api_key(tmp_path)

    assert re.fullmatch(r"kb-[0-9A-Za-z]{32}", key)
    assert keys.api_key(tmp_path) == key
    assert keys.api_key(tmp_path / "another") != key
    assert stat.S_IMODE((tmp_path / "keys" / "api-key").stat().st_mode) == 0o600


def test_a_kept_api_key_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "api-key").write_text("kb-short")

    with pytest.raises(SettingsError, match="holds no API key"):
        keys.api_key(tmp_path)


def test_the_file_of_another_process_stands(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"first")

    keys._keep(tmp_path / "theirs", b"second")

    assert (tmp_path / "theirs").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_key_id_there_is_no_key() -> None:
    assert keys.kalshi_key(Settings()) is None


def test_a_key_from_the_environment_is_read(tmp_path: Path) -> None:
    pem = keys.exchange_keys(tmp_path).private_key_path.read_text()

    key = keys.kalshi_key(Settings(kalshi_key_id="id", kalshi_private_key_pem=pem))

    assert key is not None
    assert key.key_id == "id"


@pytest.mark.parametrize(
    "content", [None, b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "ec"]
)
def test_a_key_that_cannot_be_used_names_its_variable(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "key.pem"
    if content == "ec":
        content = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    if isinstance(content, bytes):
        path.write_bytes(content)

    with pytest.raises(SettingsError) as caught:
        keys.kalshi_key(Settings(kalshi_key_id="id", kalshi_private_key_path=path))

    assert (caught.value.variable, caught.value.value) == ("KALSHI_PRIVATE_KEY_PATH", str(path))
