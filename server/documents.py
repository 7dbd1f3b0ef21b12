"""Owns the pages about the API: its OpenAPI document, the reference at /docs and the list of error codes.

Everything comes from this server: no page loads a script, a font or a picture from elsewhere, and the content
security policy keeps it so.
"""

import html
import json
from pathlib import Path
from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from book.errors import API_CODES

_STATIC = Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_REFERENCE_OPTIONS = {
    "url": "/openapi.json",
    "telemetry": False,
    "withDefaultFonts": False,
    "hideClientButton": True,
    "showDeveloperTools": "never",
    "agent": {"disabled": True},
    "mcp": {"disabled": True},
}
_HEAD = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
)
_STYLE = (
    "body{font-family:sans-serif;max-width:60rem;margin:2rem auto}td,th{padding:.4rem;text-align:left}"
    "tr:target{background:#ffd}"
)


def routes(openapi: dict[str, Any]) -> list[HTTPRouteHandler]:
    """Return the routes of the pages; none asks for a key."""
    document = json.dumps(openapi, indent=1).encode()
    reference = _reference().encode()
    errors = _errors().encode()
    bundle = (_STATIC / "scalar.js").read_bytes()

    @get("/openapi.json", include_in_schema=False, sync_to_thread=False)
    def openapi_document() -> Response[bytes]:
        return Response(document, media_type="application/json")

    @get("/docs", include_in_schema=False, sync_to_thread=False)
    def reference_page() -> Response[bytes]:
        return Response(reference, media_type="text/html", headers=_PAGE_HEADERS)

    @get("/docs/errors", include_in_schema=False, sync_to_thread=False)
    def errors_page() -> Response[bytes]:
        return Response(errors, media_type="text/html", headers=_PAGE_HEADERS)

    @get("/docs/scalar.js", include_in_schema=False, sync_to_thread=False)
    def reference_bundle() -> Response[bytes]:
        return Response(bundle, media_type="text/javascript", headers={"Cache-Control": "public, max-age=3600"})

    return [openapi_document, reference_page, errors_page, reference_bundle]


def _reference() -> str:
    options = html.escape(json.dumps(_REFERENCE_OPTIONS))
    return (
        f"{_HEAD}<title>KalshiBook API</title>\n</head>\n<body>\n"
        f'<script id="api-reference" data-configuration="{options}"></script>\n'
        '<script src="/docs/scalar.js"></script>\n</body>\n</html>\n'
    )


def _errors() -> str:
    rows = "\n".join(
        f'<tr id="{row.code}"><td><code>{row.code}</code><td>{row.status}<td>{html.escape(row.remedy)}</tr>'
        for row in API_CODES.values()
    )
    return (
        f"{_HEAD}<title>KalshiBook error codes</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        '<h1>Error codes</h1>\n<p><a href="/docs">API reference</a></p>\n<table>\n'
        f"<tr><th>code<th>status<th>what to do</tr>\n{rows}\n</table>\n</body>\n</html>\n"
    )
