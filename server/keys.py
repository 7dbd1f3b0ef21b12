"""Owns the check of a caller's key. Never logs a key, never says which part of one was wrong."""

import hmac
import re
from collections.abc import Mapping

from book.errors import ApiError

_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


class KeyCheck:
    """Compares the key of a request with the one that the settings name, verbatim and in constant time."""

    def __init__(self, api_key: str) -> None:
        if not api_key:
            raise ValueError("the server needs an API key: set KALSHIBOOK_API_KEY")
        self._expected = api_key.encode()

    def __call__(self, headers: Mapping[str, str]) -> None:
        """Pass where the request carries the key as Bearer or, without an Authorization header, as X-API-Key.

        Raises ApiError ``invalid_api_key``, with a different message for a key that is missing and one that is wrong.
        """
        authorization = headers.get("authorization")
        sent = headers.get("x-api-key")
        if authorization is not None:
            match = _BEARER.fullmatch(authorization)
            if match is None:
                raise ApiError("invalid_api_key", "the Authorization header is not of the form 'Bearer <key>'")
            sent = match[1]
        if not sent:
            raise ApiError("invalid_api_key", "no API key was sent")
        if not hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), self._expected):
            raise ApiError("invalid_api_key", "the API key that was sent is not valid")
