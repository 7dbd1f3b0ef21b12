"""Owns /healthz and /readyz: whether the process lives, and whether it can answer and the recording is fresh.

Asks for no key and names no market. Freshness is for whoever watches; a deployment should wait for /healthz alone.
"""

from typing import Any, Literal

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from book.errors import ApiError, KalshiBookError
from ops import logs
from server import encode
from server.edge import state_of
from server.instants import iso
from server.questions import Questions
from server.settings import ServerSettings
from server.workers import Workers

_log = logs.get(__name__)
_RETRY_AFTER_S = "1"


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"]


class Ready(msgspec.Struct, frozen=True):
    """Whether questions can be answered; each check is ``ok`` or says what is wrong."""

    status: Literal["ready", "not_ready"]
    log: str
    feed: str


def routes(settings: ServerSettings, questions: Questions, workers: Workers) -> list[HTTPRouteHandler]:
    """Return the routes of the probes."""

    @get(["/healthz", "/health"], include_in_schema=False, sync_to_thread=False)
    def healthz(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _answer(request, Health("ok"), 200)

    @get("/readyz", include_in_schema=False)
    async def readyz(request: Request[Any, Any, Any]) -> Response[bytes]:
        try:
            known_until_us = await workers.run(questions.known_until_us)
        except ApiError as error:
            return _answer(request, Ready("not_ready", error.message, "unknown"), 503)
        except (KalshiBookError, OSError) as error:
            _log.error("log_unreadable", error=str(error), request_id=state_of(request.scope).request_id)
            return _answer(request, Ready("not_ready", f"cannot be read: {type(error).__name__}", "unknown"), 503)
        feed = freshness(known_until_us, settings.now_us(), settings.fresh_us)
        ready = feed == "ok"
        return _answer(request, Ready("ready" if ready else "not_ready", "ok", feed), 200 if ready else 503)

    return [healthz, readyz]


def freshness(known_until_us: int | None, now_us: int, fresh_us: int) -> str:
    """Return ``ok`` where the recording reaches to within ``fresh_us`` of now, else what is wrong."""
    if known_until_us is None:
        return "nothing has been recorded yet"
    behind_us = now_us - known_until_us
    if behind_us > fresh_us:
        return f"the recording ends at {iso(known_until_us)}, {behind_us // 1_000_000} seconds ago"
    return "ok"


def paths() -> dict[str, Any]:
    """Return the probes' part of the OpenAPI document."""
    return {
        "/healthz": {"get": _operation("getHealth", "Is the process up?", {"200": Health})},
        "/readyz": {"get": _operation("getReadiness", "Can it answer, and is it fresh?", {"200": Ready, "503": Ready})},
    }


def _operation(operation_id: str, summary: str, replies: dict[str, type[msgspec.Struct]]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, kind in replies.items():
        schema = msgspec.json.schema_components([kind], ref_template="{name}")[1][kind.__name__]
        schema["properties"] = {**schema["properties"], **encode.finishing_fields()}
        schema["required"] = [*schema["required"], *encode.finishing_fields()]
        responses[status] = {"description": str(kind.__doc__), "content": {"application/json": {"schema": schema}}}
    return {
        "operationId": operation_id,
        "tags": ["service"],
        "summary": summary,
        "security": [],
        "responses": responses,
    }


def _answer(request: Request[Any, Any, Any], body: msgspec.Struct, status: int) -> Response[bytes]:
    state = state_of(request.scope)
    content = encode.finish(encode.encode(body), state.request_id, state.elapsed_us())
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": _RETRY_AFTER_S} if status == 503 else {})
    return Response(content, status_code=status, media_type="application/json", headers=headers)
