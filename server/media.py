"""Owns what a request may send and accept: JSON, and nothing else."""

from book.errors import ApiError

JSON = "application/json"
_RANGES = (JSON, "application/*", "*/*")
"""The media ranges that hold JSON, the most specific first: it decides (RFC 9110, 12.5.1)."""


def refuse_other_accept(accept: str | None) -> None:
    """Raise ApiError ``not_acceptable`` where an Accept header leaves no room for JSON."""
    if accept and accept.strip() and not _accepts_json(accept):
        raise ApiError("not_acceptable", f"nothing in {accept[:200]!r} is application/json", available=[JSON])


def refuse_other_content(content_type: str | None) -> None:
    """Raise ApiError ``unsupported_media_type`` where a body is not declared as JSON."""
    media = (content_type or "").partition(";")[0].strip().lower()
    if media != JSON and not (media.startswith("application/") and media.endswith("+json")):
        sent = f"{media[:200]!r} was sent" if media else "none was sent"
        raise ApiError("unsupported_media_type", f"the Content-Type must be application/json; {sent}")


def _accepts_json(accept: str) -> bool:
    refused: dict[str, bool] = {}
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        weights = [part[2:].strip() for part in parameters if part.startswith("q=")]
        refused[media] = any(not weight.strip("0.") for weight in weights)
    return next((not refused[media] for media in _RANGES if media in refused), False)
