"""Handshake signatures: the venue's form passes, everything else is refused by name."""

from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from exchange.auth import Verifier
from exchange.errors import AuthError, ConfigError

PATH = "/trade-api/ws/v2"
NOW_MS = 1_795_600_000_123


def pem(public_key: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(public_key.public_bytes(serialization.Encoding.PEM, form).decode())


@pytest.fixture
def verifier(keys: Any) -> Verifier:
    return Verifier({"test-key": keys.pem}, lambda: NOW_MS, 5_000)


def refused(verifier: Verifier, headers: Mapping[str, str], path: str = PATH) -> str:
    with pytest.raises(AuthError) as caught:
        verifier.check(headers, "GET", path)
    return caught.value.details


def test_a_signed_request_passes_with_or_without_a_query(verifier: Verifier, keys: Any) -> None:
    assert verifier.check(keys.headers(PATH, at_ms=NOW_MS), "GET", PATH) == "test-key"
    rest = "/trade-api/v2/markets"
    assert verifier.check(keys.headers(rest, at_ms=NOW_MS), "get", f"{rest}?limit=5") == "test-key"


def test_another_salt_passes_with_a_warning(verifier: Verifier, keys: Any, caplog: pytest.LogCaptureFixture) -> None:
    verifier.check(keys.headers(PATH, at_ms=NOW_MS, salt=222), "GET", PATH)
    assert "salt" in caplog.text


@pytest.mark.parametrize("skew_ms", [-5_000, 5_000])
def test_a_clock_five_seconds_off_passes(verifier: Verifier, keys: Any, skew_ms: int) -> None:
    verifier.check(keys.headers(PATH, at_ms=NOW_MS, skew_ms=skew_ms), "GET", PATH)


def test_refusals(verifier: Verifier, keys: Any) -> None:
    good = keys.headers(PATH, at_ms=NOW_MS)
    for name in good:
        assert refused(verifier, {k: v for k, v in good.items() if k != name}) == "MISSING_HEADERS"
    assert refused(verifier, {}) == "MISSING_HEADERS"
    assert refused(verifier, good | {"KALSHI-ACCESS-KEY": "other"}) == "NOT_FOUND"
    for skew_ms in (-5_001, 5_001):
        assert refused(verifier, keys.headers(PATH, at_ms=NOW_MS, skew_ms=skew_ms)) == "TIMESTAMP_OUT_OF_RANGE"
    for stamp in ("", "1e3", "1795600000123 ", "1795600000", "99999999999999999999"):
        assert refused(verifier, good | {"KALSHI-ACCESS-TIMESTAMP": stamp}) in {
            "TIMESTAMP_OUT_OF_RANGE",
            "MISSING_HEADERS",
        }
    for signature in ("AAAA", "not base64!", "é"):
        assert refused(verifier, good | {"KALSHI-ACCESS-SIGNATURE": signature}) == "INCORRECT_API_KEY_SIGNATURE"
    assert refused(verifier, good, "/trade-api/v2/markets") == "INCORRECT_API_KEY_SIGNATURE"
    moved = good | {"KALSHI-ACCESS-TIMESTAMP": str(NOW_MS + 1)}
    assert refused(verifier, moved) == "INCORRECT_API_KEY_SIGNATURE"


def test_an_ed25519_key_signs_the_same_text() -> None:
    import base64

    key = Ed25519PrivateKey.generate()
    verifier = Verifier({"e": pem(key.public_key())}, lambda: NOW_MS, 5_000)
    signature = base64.b64encode(key.sign(f"{NOW_MS}GET{PATH}".encode())).decode()
    headers = {
        "KALSHI-ACCESS-KEY": "e", "KALSHI-ACCESS-SIGNATURE": signature, "KALSHI-ACCESS-TIMESTAMP": str(NOW_MS),
    }  # fmt: skip
    assert verifier.check(headers, "GET", PATH) == "e"
    assert refused(verifier, headers, "/other") == "INCORRECT_API_KEY_SIGNATURE"


def test_keys_that_cannot_be_used_are_refused_at_the_start() -> None:
    for bad in ("", "-----BEGIN PUBLIC KEY-----", pem(ec.generate_private_key(ec.SECP256R1()).public_key())):
        with pytest.raises(ConfigError, match="public_keys"):
            Verifier({"k": bad}, lambda: 0, 0)
