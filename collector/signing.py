"""Signatures of requests to the venue.

Owns the three headers and the key. Times go by the machine's clock, always.
"""

import base64
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from book.errors import CollectorError


class Signer:
    """Sign requests with an API key of the venue: RSA-PSS with SHA-256 and a salt of 32 bytes, or Ed25519."""

    def __init__(self, key_id: str, pem: str) -> None:
        """Read a private key in PEM. Raises CollectorError where it is none."""
        try:
            key = load_pem_private_key(pem.encode(), password=None)
        except ValueError as error:
            raise CollectorError(f"the private key is not a PEM that can be read: {error}") from error
        if not isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
            raise CollectorError(f"the private key is of a kind the venue does not take: {type(key).__name__}")
        self._key_id = key_id
        self._key = key

    @classmethod
    def from_file(cls, key_id: str, path: Path) -> "Signer":
        """Read the private key from a file. Raises CollectorError."""
        try:
            return cls(key_id, path.read_text())
        except OSError as error:
            raise CollectorError(f"the private key {path} cannot be read: {error}") from error

    def headers(self, method: str, path: str, now_ms: int) -> dict[str, str]:
        """Return the headers of one request; ``path`` from the root, without its query; ``now_ms`` Unix time."""
        text = f"{now_ms}{method.upper()}{path}".encode()
        if isinstance(self._key, rsa.RSAPrivateKey):
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
            signature = self._key.sign(text, pss, hashes.SHA256())
        else:
            signature = self._key.sign(text)
        return {
            "KALSHI-ACCESS-KEY": self._key_id,
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
            "KALSHI-ACCESS-TIMESTAMP": str(now_ms),
        }
