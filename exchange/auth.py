"""Who may connect: the venue's request signatures, checked.

Owns the signed text, the three headers and the tolerance of the client's clock, which is machine time. Holds public
keys only.
"""

import base64
import binascii
import logging
import re
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from exchange.errors import AuthError, ConfigError

KEY_HEADER = "KALSHI-ACCESS-KEY"
SIGNATURE_HEADER = "KALSHI-ACCESS-SIGNATURE"
TIMESTAMP_HEADER = "KALSHI-ACCESS-TIMESTAMP"

_log = logging.getLogger(__name__)
_MILLISECONDS = re.compile(r"[0-9]{1,15}")


class Verifier:
    """Checks requests against public keys.

    ``public_keys`` is key id to PEM, ``now_ms`` the machine's clock in Unix milliseconds, ``tolerance_ms`` how far a
    client's clock may be off either way. Raises ConfigError for a key that cannot be used.
    """

    def __init__(self, public_keys: Mapping[str, str], now_ms: Callable[[], int], tolerance_ms: int) -> None:
        self._keys = {key_id: _load(key_id, pem) for key_id, pem in public_keys.items()}
        self._now_ms = now_ms
        self._tolerance_ms = tolerance_ms

    def check(self, headers: Mapping[str, str], method: str, path: str) -> str:
        """Return the id of the key that signed the request. ``path`` may carry a query, which is not signed.

        Raises AuthError where a header is missing, the key unknown, the clock off or the signature wrong.
        Cost: about 50 us.
        """
        key_id, signature, timestamp = (headers.get(h) for h in (KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER))
        if not key_id or not signature or not timestamp:
            raise AuthError("MISSING_HEADERS")
        key = self._keys.get(key_id)
        if key is None:
            raise AuthError("NOT_FOUND")
        if not _MILLISECONDS.fullmatch(timestamp) or abs(self._now_ms() - int(timestamp)) > self._tolerance_ms:
            raise AuthError("TIMESTAMP_OUT_OF_RANGE")
        try:
            signed = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError) as error:
            raise AuthError("INCORRECT_API_KEY_SIGNATURE") from error
        text = f"{timestamp}{method.upper()}{path.partition('?')[0]}".encode()
        if not _stands(key, key_id, signed, text):
            raise AuthError("INCORRECT_API_KEY_SIGNATURE")
        return key_id


def _load(key_id: str, pem: str) -> RSAPublicKey | Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError as error:
        raise ConfigError("public_keys", f"{key_id} is not a public key in PEM form") from error
    if not isinstance(key, RSAPublicKey | Ed25519PublicKey):
        raise ConfigError("public_keys", f"{key_id} is neither an RSA nor an Ed25519 key")
    return key


def _stands(key: RSAPublicKey | Ed25519PublicKey, key_id: str, signed: bytes, text: bytes) -> bool:
    if isinstance(key, Ed25519PublicKey):
        return _passes(lambda: key.verify(signed, text))
    digest = hashes.SHA256()
    for salt in (padding.PSS.DIGEST_LENGTH, padding.PSS.AUTO):
        scheme = padding.PSS(padding.MGF1(digest), salt)
        if _passes(lambda: key.verify(signed, text, scheme, digest)):  # noqa: B023 - called at once
            if salt is padding.PSS.AUTO:
                _log.warning("key %s signs with a salt that is not 32 bytes; the venue asks for 32", key_id)
            return True
    return False


def _passes(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True
