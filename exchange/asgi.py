"""A small ASGI application: paths to handlers, refusals to the venue's error body.

Owns routing and the reading and writing of HTTP messages. Knows no market data.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec

from book.wire.rest import render_document
from exchange.errors import RefusedError

LOOPBACK = frozenset({"127.0.0.1", "::1"})
MAX_BODY_BYTES = 1 << 20

_log = logging.getLogger(__name__)
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Request(msgspec.Struct, frozen=True):
    """A request as handlers see it; ``path_values`` are the values of the pattern's names."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    client_host: str
    path_values: dict[str, str]

    def one(self, name: str) -> str | None:
        """Return a query value, None where it is absent. Raises RefusedError where it is given twice."""
        values = self.query.get(name, [])
        if len(values) > 1:
            raise RefusedError(400, "bad_request", f"{name} is given more than once")
        return values[0] if values else None

    def whole(self, name: str, default: int | None, low: int, high: int) -> int | None:
        """Return a query value as a whole number. Raises RefusedError where it is none from ``low`` to ``high``."""
        text = self.one(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise RefusedError(400, "bad_request", f"{name} is not a whole number from {low} to {high}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Return a query value as yes or no. Raises RefusedError where it is neither true nor false."""
        text = self.one(name)
        if text not in (None, "true", "false", "1", "0", ""):
            raise RefusedError(400, "bad_request", f"{name} is neither true nor false")
        return text in ("true", "1")


class Reply(msgspec.Struct, frozen=True):
    """An answer: a document, or with ``stream`` bytes as they come."""

    document: Any = None
    status: int = 200
    content_type: bytes = b"application/json"
    stream: AsyncIterator[bytes] | None = None


Handler = Callable[[Request], Awaitable[Reply]]


class Router:
    """Routes by method and path; a pattern's ``{name}`` stands for one segment, and earlier routes win."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, list[str], Handler]] = []

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        """Add a route."""
        self._routes.append((method, pattern.strip("/").split("/"), handler))

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]]:
        """Return the handler of a path and its values. Raises RefusedError 404 or 405."""
        parts = path.strip("/").split("/")
        is_known = False
        for route_method, pattern, handler in self._routes:
            values = _match(pattern, parts)
            if values is None:
                continue
            if route_method == method:
                return handler, values
            is_known = True
        if is_known:
            raise RefusedError(405, "method_not_allowed", f"{method} is not allowed here")
        raise RefusedError(404, "not_found", f"there is no {path}")

    async def __call__(self, scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        """Answer one HTTP request."""
        try:
            reply = await self._answer(scope, receive)
        except RefusedError as error:
            reply = Reply(_refusal(error.status, error.code, error.message), error.status)
        except Exception:  # noqa: BLE001 - the outermost boundary of a request: logged with its traceback
            _log.exception("%s %s failed", scope["method"], scope["path"])
            reply = Reply(_refusal(500, "internal_server_error", "internal server error"), 500)
        await _write(reply, send)

    async def _answer(self, scope: MutableMapping[str, Any], receive: _Receive) -> Reply:
        method, path = str(scope["method"]), str(scope["path"])
        handler, values = self.find(method, path)
        body = await _read(receive)
        client = scope.get("client") or ("", 0)
        return await handler(
            Request(
                method=method,
                path=path,
                query=parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True),
                headers={name.decode("latin-1").upper(): value.decode("latin-1") for name, value in scope["headers"]},
                body=body,
                client_host=client[0],
                path_values=values,
            )
        )


def local(handler: Handler) -> Handler:
    """Return a handler that answers on the machine itself only. It raises RefusedError 403 for anybody else."""

    async def check(request: Request) -> Reply:
        if request.client_host not in LOOPBACK:
            raise RefusedError(403, "forbidden", "the control interface answers on the machine itself only")
        return await handler(request)

    return check


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    if len(pattern) != len(parts):
        return None
    values = {}
    for expected, part in zip(pattern, parts, strict=True):
        if expected.startswith("{"):
            values[expected[1:-1]] = unquote(part)
        elif expected != part:
            return None
    return values


def _refusal(status: int, code: str, message: str) -> dict[str, Any]:
    if status == 429:
        return {"error": message}
    return {"error": {"code": code, "message": message, "service": "exchange"}}


async def _read(receive: _Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, "bad_request", f"the body is longer than {MAX_BODY_BYTES} bytes")
        if message["type"] != "http.request" or not message.get("more_body"):
            return body


async def _write(reply: Reply, send: _Send) -> None:
    headers = [(b"content-type", reply.content_type)]
    if reply.stream is None:
        body = render_document(reply.document)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    async for part in reply.stream:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
