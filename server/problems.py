"""Owns how a refusal looks over HTTP: the one error envelope, for our codes and for the framework's.

Which codes exist, with their status and remedy, stands in ``book.errors``.
"""

from http import HTTPStatus

from litestar.exceptions import HTTPException

from book.errors import ApiError
from server.encode import encode
from server.instants import iso

INSTANT_FIELDS = frozenset(
    {"timestamp", "as_of", "from", "to", "earliest", "last_known", "next_known", "known_until", "closed_at"}
)
"""Fields of an ApiError that carry integer microseconds, and are shown as ISO 8601."""

_FRAMEWORK_CODES = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.NOT_ACCEPTABLE: "not_acceptable",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "payload_too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type",
}
_RETRY_AFTER_S = 1
_LONGEST_RETRY_AFTER_S = 3600


def body(error: ApiError, request_id: str, docs_url: str) -> bytes:
    """Render the envelope: the error with its fields, then the request's id."""
    shown = {
        name: iso(value) if name in INSTANT_FIELDS and isinstance(value, int) else value
        for name, value in error.fields.items()
    }
    return encode(
        {
            "error": {
                "code": error.code,
                "message": error.message,
                "status": error.status,
                "hint": error.hint,
                "docs_url": f"{docs_url}#{error.code}",
                **shown,
            },
            "request_id": request_id,
        }
    )


def headers(error: ApiError, now_us: int) -> dict[str, str]:
    """Return the headers that belong to the code: how to authenticate, and when to ask again."""
    if error.code == "invalid_api_key":
        return {"WWW-Authenticate": "Bearer"}
    if error.code == "not_yet_known":
        asked_us = error.fields.get("timestamp")
        ahead_us = asked_us - now_us if isinstance(asked_us, int) else 0
        wait_s = _RETRY_AFTER_S + max(0, ahead_us) // 1_000_000
        return {"Retry-After": str(min(wait_s, _LONGEST_RETRY_AFTER_S))}
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return {"Retry-After": str(_RETRY_AFTER_S)}
    return {}


def from_framework(error: HTTPException, method: str, path: str) -> ApiError:
    """Translate a refusal of the framework, which knows paths, methods and sizes, into one of our codes."""
    code = _FRAMEWORK_CODES.get(HTTPStatus(error.status_code))
    if code == "not_found":
        return ApiError(code, f"there is nothing at {path[:200]}")
    if code == "method_not_allowed":
        return ApiError(code, f"{method} is not allowed at {path[:200]}")
    if code == "payload_too_large":
        return ApiError(code, "the body is larger than 1 MiB", maximum_bytes=1_048_576)
    if code is not None:
        return ApiError(code, error.detail)
    if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return ApiError("invalid_payload", "the request could not be read")
    return internal_error()


def internal_error() -> ApiError:
    """Return the refusal that stands in for a defect; what went wrong is in our log under the request's id."""
    return ApiError("internal_error", "something went wrong on our side")
