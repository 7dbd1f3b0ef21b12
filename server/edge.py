"""Owns what every response has, whoever made it: a request id, CORS, credit headers, an envelope on failure.

Wraps the framework from outside, because middleware inside it does not see the 404 and 405 that it makes itself.
Never reads a body and never logs a header.
"""

import re
import secrets
import time
from collections.abc import Callable
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send

from ops import logs
from server import problems

_log = logs.get(__name__)

CREDIT_HEADERS = ("X-Credits-Cost", "X-Credits-Remaining", "X-Credits-Used", "X-Credits-Total")
EXPOSED_HEADERS = ("X-Request-Id", *CREDIT_HEADERS, "X-Complete", "X-Gaps", "Retry-After", "Allow")
ALLOWED_HEADERS = ("Authorization", "X-API-Key", "Content-Type", "Accept")
_PREFLIGHT_SECONDS = "600"
_STATE = "kalshibook"
OTHER = "other"
"""The operation of a request that no endpoint takes: probes, pages, paths that lead nowhere."""

Observe = Callable[[str, int, int], None]
"""Told of each answer: its operation, its status, and the microseconds from the request's arrival to its end."""


class RequestState:
    """What is known of a request: its id and when it came, and the operation once its route is found."""

    __slots__ = ("_started_ns", "operation", "request_id")

    def __init__(self) -> None:
        self.operation = OTHER
        self.request_id = f"req_{secrets.token_hex(6)}"
        self._started_ns = time.perf_counter_ns()

    def elapsed_us(self) -> int:
        """Return the microseconds since the request came."""
        return (time.perf_counter_ns() - self._started_ns) // 1000


def state_of(scope: Scope) -> RequestState:
    """Return the state that the edge gave to this request."""
    return cast("RequestState", scope["state"][_STATE])


class Edge:
    """The outermost ASGI application; ``priced`` matches the paths whose answers carry credit headers."""

    def __init__(self, app: ASGIApp, priced: re.Pattern[str], docs_url: str, observe: Observe | None = None) -> None:
        self._app = app
        self._priced = priced
        self._docs_url = docs_url
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the response."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        state = RequestState()
        cast("dict[str, Any]", scope).setdefault("state", {})[_STATE] = state
        headers = self._headers(scope["path"], state)
        status = 0

        async def complete(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        try:
            if _is_preflight(scope):
                await _answer(complete, 204, _preflight_headers(), b"")
            else:
                await self._app(scope, receive, complete)
        except Exception:
            _log.exception("request_failed", request_id=state.request_id, method=scope["method"], path=scope["path"])
            if status:
                raise  # half an answer is out: the server below must cut the connection
            error = problems.internal_error()
            body = problems.body(error, state.request_id, self._docs_url)
            await _answer(complete, error.status, [(b"content-type", b"application/json")], body)
        if self._observe is not None:
            self._observe(state.operation, status, state.elapsed_us())
        _log.debug(
            "request",
            request_id=state.request_id,
            method=scope["method"],
            path=scope["path"],
            status=status,
            elapsed_us=state.elapsed_us(),
        )

    def _headers(self, path: str, state: RequestState) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"x-request-id", state.request_id.encode()),
            (b"access-control-allow-origin", b"*"),
            (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode()),
        ]
        if self._priced.fullmatch(path):
            headers += [(name.lower().encode(), b"0") for name in CREDIT_HEADERS]
        return headers


def _is_preflight(scope: HTTPScope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return scope["method"] == "OPTIONS" and {b"origin", b"access-control-request-method"} <= names


def _preflight_headers() -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", ", ".join(ALLOWED_HEADERS).encode()),
        (b"access-control-max-age", _PREFLIGHT_SECONDS.encode()),
    ]


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    if body:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    start: HTTPResponseStartEvent = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
