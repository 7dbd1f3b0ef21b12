"""Signatures as the venue checks them: with the public key."""

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from book.errors import CollectorError
from collector.signing import Signer

PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)


def pem(key: Any, form: str = "PKCS8") -> str:
    text: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8 if form == "PKCS8" else serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return text.decode()


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize("form", ["PKCS8", "PKCS1"])
def test_rsa_signs_time_method_and_path_with_a_salt_of_32_bytes(rsa_key: rsa.RSAPrivateKey, form: str) -> None:
    headers = Signer("key-1", pem(rsa_key, form)).headers("get", "/trade-api/ws/v2", 1_795_600_000_123)
    assert headers["KALSHI-ACCESS-KEY"] == "key-1"
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == "1795600000123"
    signature = base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"], validate=True)
    public = rsa_key.public_key()
    public.verify(signature, b"1795600000123GET/trade-api/ws/v2", PSS, hashes.SHA256())
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"1795600000124GET/trade-api/ws/v2", PSS, hashes.SHA256())


def test_ed25519_signs_the_same_text() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    headers = Signer("key-2", pem(key)).headers("GET", "/trade-api/v2/markets", 5)
    key.public_key().verify(base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"]), b"5GET/trade-api/v2/markets")


def test_each_signature_is_made_anew(rsa_key: rsa.RSAPrivateKey) -> None:
    signer = Signer("k", pem(rsa_key))
    assert signer.headers("GET", "/x", 1) != signer.headers("GET", "/x", 1)


@pytest.mark.parametrize("text", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "nonsense"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(CollectorError, match="PEM"):
        Signer("k", text)


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(CollectorError, match="does not take"):
        Signer("k", pem(ec.generate_private_key(ec.SECP256R1())))


def test_a_key_comes_from_a_file_or_says_why_not(rsa_key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(pem(rsa_key))
    assert Signer.from_file("k", path).headers("GET", "/", 1)["KALSHI-ACCESS-KEY"] == "k"
    with pytest.raises(CollectorError, match="cannot be read"):
        Signer.from_file("k", tmp_path / "absent.pem")


def test_nothing_of_the_key_is_shown(rsa_key: rsa.RSAPrivateKey) -> None:
    signer = Signer("k", pem(rsa_key))
    assert "PRIVATE" not in repr(signer) + str(vars(signer))
