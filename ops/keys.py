"""Owns the keys on disk: the local exchange's key pair and the API key that ``up`` makes, both under the home folder.

Files are made whole or not at all, readable by their owner alone, and never replaced. The private key of the real
exchange is read here as well; nothing here sends or logs a key.
"""

import os
import re
import secrets
import string
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from ops.settings import Settings, SettingsError

EXCHANGE_KEY_ID = "local-exchange"
_API_KEY = re.compile(r"kb-[0-9A-Za-z]{32}")
_BASE62 = string.digits + string.ascii_letters


class ExchangeKeys(msgspec.Struct, frozen=True):
    """The key pair for the local exchange: the collector signs by the file, the exchange checks by ``public_pem``."""

    key_id: str
    private_key_path: Path
    public_pem: str


class KalshiKey(msgspec.Struct, frozen=True):
    """What signs a request to the exchange."""

    key_id: str
    private_key: RSAPrivateKey

    def __repr__(self) -> str:
        """Show the id alone."""
        return f"KalshiKey({self.key_id!r})"


def exchange_keys(home: Path) -> ExchangeKeys:
    """Return the local exchange's key pair, made at the first call. Cost then: about 0.1 s."""
    path = home / "keys" / "exchange.pem"
    if not path.exists():
        pem = generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _keep(path, pem)
    public = _private_key(path.read_bytes(), str(path)).public_key()
    public_pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return ExchangeKeys(EXCHANGE_KEY_ID, path.absolute(), public_pem.decode())


def api_key(home: Path) -> str:
    """Return the API key kept under ``home``, made at the first call: ``kb-`` and 32 characters of base 62.

    Raises SettingsError where the kept file is not one.
    """
    path = home / "keys" / "api-key"
    if not path.exists():
        _keep(path, f"kb-{''.join(secrets.choice(_BASE62) for _ in range(32))}\n".encode())
    key = path.read_text(encoding="utf-8").strip()
    if not _API_KEY.fullmatch(key):
        raise SettingsError("KALSHIBOOK_HOME", str(home), f"{path} holds no API key; remove it and a new one is made")
    return key


def kalshi_key(settings: Settings) -> KalshiKey | None:
    """Return the key to sign with, or None where none is set. Raises SettingsError where it cannot be read."""
    if settings.kalshi_key_id is None:
        return None
    if settings.kalshi_private_key_pem is not None:
        key = _private_key(settings.kalshi_private_key_pem.encode(), "(hidden)", "KALSHI_PRIVATE_KEY")
        return KalshiKey(settings.kalshi_key_id, key)
    path = settings.kalshi_private_key_path or Path()
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            "KALSHI_PRIVATE_KEY_PATH", str(path), f"the file cannot be read ({error.strerror})"
        ) from None
    return KalshiKey(settings.kalshi_key_id, _private_key(pem, str(path)))


def _private_key(pem: bytes, shown: str, variable: str = "KALSHI_PRIVATE_KEY_PATH") -> RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError(variable, shown, "it holds no RSA private key without a password in PEM form")
    return key


def _keep(path: Path, content: bytes) -> None:
    """Write ``content`` under ``path`` unless another process was first; then theirs stands."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
