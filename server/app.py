"""Owns the assembly: settings and questions in, one ASGI application out. No logic of its own."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from litestar import Litestar
from litestar.types import ASGIApp

from server import documents, openapi, probes, routes
from server.edge import Edge
from server.endpoint import MAX_BODY_BYTES, AnyEndpoint
from server.endpoints import corrections, coverage, deltas, gaps, markets, orderbook, status, trades
from server.keys import KeyCheck
from server.metrics import ServerMetrics
from server.questions import LogQuestions, Questions
from server.settings import ServerSettings
from server.workers import Workers

__all__ = ["ENDPOINTS", "VERSION", "ServerSettings", "create_app"]

VERSION = "1.0.0"
ENDPOINTS: Sequence[AnyEndpoint] = (
    *orderbook.ENDPOINTS,
    *deltas.ENDPOINTS,
    *trades.ENDPOINTS,
    *markets.ENDPOINTS,
    *coverage.ENDPOINTS,
    *gaps.ENDPOINTS,
    *corrections.ENDPOINTS,
    *status.ENDPOINTS,
)


def create_app(
    settings: ServerSettings, questions: Questions | None = None, metrics: ServerMetrics | None = None
) -> ASGIApp:
    """Assemble the server over the log and the lake that ``settings`` names, or over ``questions``.

    Where ``metrics`` are given each answer is counted there. Raises ValueError without an API key.
    """
    check_key = KeyCheck(settings.api_key)
    if questions is None:
        questions = LogQuestions.open(settings.home, settings.lake, settings.now_us, settings.fresh_us)
    if metrics is not None:
        metrics.watch(questions.status)
    workers = Workers(settings.threads, settings.waiting, settings.deadline_s)
    document = openapi.document(ENDPOINTS, probes.paths(), settings.public_url, VERSION)
    framework = Litestar(
        route_handlers=[
            *(routes.mount(endpoint, questions, workers, check_key) for endpoint in ENDPOINTS),
            *probes.routes(settings, questions, workers),
            *documents.routes(document),
        ],
        exception_handlers=routes.refusals(settings),
        lifespan=[_closing(workers)],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY_BYTES,
    )
    observe = metrics.answered if metrics is not None else None
    return Edge(framework, _priced(ENDPOINTS), settings.errors_url, observe)


def _closing(workers: Workers) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            workers.close()

    return lifespan


def _priced(endpoints: Sequence[AnyEndpoint]) -> re.Pattern[str]:
    """Match every path, those of the first generation too, at which an endpoint answers."""
    paths = sorted({re.sub(r"\{\w+\}", "[^/]+", path) for endpoint in endpoints for path in endpoint.paths})
    return re.compile(f"(?:{'|'.join(paths)})/?")
