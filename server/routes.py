"""Owns the way of one request: key, media types, question, thread, answer. The same for every endpoint.

Knows no endpoint and no market data.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ExceptionHandlersMap

from book.errors import ApiError
from ops import logs
from server import encode, problems
from server.decode import decode_body, decode_query, refuse_query
from server.edge import state_of
from server.endpoint import AnyEndpoint, Reply
from server.keys import KeyCheck
from server.media import JSON, refuse_other_accept, refuse_other_content
from server.questions import Questions
from server.settings import ServerSettings
from server.workers import Workers

AnyRequest = Request[Any, Any, Any]

_log = logs.get(__name__)


def mount(endpoint: AnyEndpoint, questions: Questions, workers: Workers, check_key: KeyCheck) -> HTTPRouteHandler:
    """Return the route of an endpoint, at each of its paths."""

    async def handle(request: AnyRequest) -> Response[bytes]:
        state = state_of(request.scope)
        state.operation = endpoint.operation_id
        check_key(request.headers)
        refuse_other_accept(request.headers.get("accept"))
        question = await _question(endpoint, request)

        def answer() -> tuple[bytes, Reply]:
            reply = endpoint.answer(questions, question)
            return encode.encode(reply.body), reply

        body, reply = await workers.run(answer)
        content = encode.finish(body, state.request_id, state.elapsed_us())
        headers = {"Cache-Control": "no-store", **reply.headers}
        return Response(content, media_type=JSON, headers=headers)

    handle.__name__ = endpoint.operation_id
    paths = [path.replace("}", ":str}") for path in endpoint.paths]
    method = HttpMethod(endpoint.method)
    return route(paths, http_method=method, status_code=HTTPStatus.OK, include_in_schema=False)(handle)


async def _question(endpoint: AnyEndpoint, request: AnyRequest) -> msgspec.Struct:
    query: bytes = request.scope["query_string"]
    if endpoint.method == "GET":
        path = {name: str(request.path_params[name]) for name in endpoint.path_fields}
        question: msgspec.Struct = decode_query(query, path, endpoint.question)
        return question
    refuse_other_content(request.headers.get("content-type"))
    refuse_query(query)
    body: msgspec.Struct = decode_body(await request.body(), endpoint.question)
    return body


def refusals(settings: ServerSettings) -> ExceptionHandlersMap:
    """Return the exception handlers that render every refusal and every defect as our envelope."""

    def render(request: AnyRequest, error: ApiError, extra: dict[str, str]) -> Response[bytes]:
        body = problems.body(error, state_of(request.scope).request_id, settings.errors_url)
        headers = {**extra, **problems.headers(error, settings.now_us()), "Cache-Control": "no-store"}
        return Response(body, status_code=error.status, media_type=JSON, headers=headers)

    def ours(request: AnyRequest, error: ApiError) -> Response[bytes]:
        return render(request, error, {})

    def frameworks(request: AnyRequest, error: HTTPException) -> Response[bytes]:
        allow = {name.title(): value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return render(request, problems.from_framework(error, request.method, request.url.path), allow)

    def defect(request: AnyRequest, error: Exception) -> Response[bytes]:
        _log.error("question_failed", exc_info=error, request_id=state_of(request.scope).request_id)
        return render(request, problems.internal_error(), {})

    return {ApiError: ours, HTTPException: frameworks, Exception: defect}
