"""Owns the OpenAPI document: built once from the endpoints' own records, so that it says what they do.

Each bound of a question and each field of an answer comes from the struct that the server itself uses.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from book.errors import API_CODES
from server import encode
from server.decode import bounds_of, kinds_of
from server.edge import CREDIT_HEADERS
from server.endpoint import MAX_BODY_BYTES, AnyEndpoint
from server.instants import INSTANT_SCHEMA, Instant

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_ANY = ("invalid_payload", "invalid_api_key", "not_acceptable", "internal_error", "overloaded", "deadline_exceeded")
_POST = ("payload_too_large", "unsupported_media_type")
_RETRIED = frozenset({"not_yet_known", "overloaded", "deadline_exceeded"})

_ABOUT = f"""Every Kalshi order book, as it was at any instant since recording began.

Send the key as `Authorization: Bearer kb-...` or as `X-API-Key`. Times go in as ISO 8601 (without an offset: UTC) or
Unix milliseconds, and come out as ISO 8601 UTC with microseconds. Prices are in cents, sizes in contracts, both exact.
A book that is not known is refused, never guessed: see `data_gap`. Bodies are JSON of at most {MAX_BODY_BYTES} bytes;
an unknown field is an error."""

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "A refusal; beside the five fields it names what it is about",
    "required": ["error", "request_id"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "status", "hint", "docs_url"],
            "properties": {
                "code": {"type": "string", "enum": sorted(API_CODES)},
                "message": {"type": "string", "description": "what was wrong with this request"},
                "status": {"type": "integer", "description": "the HTTP status"},
                "hint": {"type": "string", "description": "what to do about it"},
                "docs_url": {"type": "string", "format": "uri"},
            },
        },
        "request_id": encode.finishing_fields()["request_id"],
    },
}


def document(endpoints: Sequence[AnyEndpoint], probes: dict[str, Any], public_url: str, version: str) -> dict[str, Any]:
    """Build the document: the endpoints under /v1, and the paths of the probes as given."""
    schemas = _schemas(endpoints)
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.paths[0], {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    for endpoint in endpoints:
        if endpoint.method == "GET":
            del schemas[endpoint.question.__name__]
    return {
        "openapi": "3.1.0",
        "info": {"title": "KalshiBook", "version": version, "description": _ABOUT},
        "servers": [{"url": public_url}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
        "paths": {**paths, **probes},
        "components": {
            "schemas": {**schemas, "Problem": PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def codes_of(endpoint: AnyEndpoint) -> list[str]:
    """Return every code that the endpoint can answer with, in the order of the table."""
    codes = {*_ANY, *endpoint.codes, *(_POST if endpoint.method == "POST" else ())}
    question: type[msgspec.Struct] = endpoint.question
    kinds = kinds_of(question)
    if any(isinstance(kind, inspect.CustomType) and kind.cls is Instant for _, kind in kinds):
        codes.add("invalid_timestamp")
    if any(name == "cursor" for name, _ in kinds):
        codes.add("invalid_cursor")
    if bounds_of(question):
        codes.add("validation_error")
    return [code for code in API_CODES if code in codes]


def _schemas(endpoints: Iterable[AnyEndpoint]) -> dict[str, Any]:
    replies = {endpoint.reply for endpoint in endpoints}
    questions = {endpoint.question for endpoint in endpoints}
    _, made = msgspec.json.schema_components(
        sorted(replies | questions, key=lambda kind: kind.__name__), schema_hook=_hook, ref_template=_REF
    )
    schemas: dict[str, Any] = _exact_numbers(made)
    for kind in replies:
        schema = schemas[kind.__name__]
        schema["properties"] = {**schema["properties"], **encode.finishing_fields()}
        schema["required"] = [*schema["required"], *encode.finishing_fields()]
    return schemas


def _exact_numbers(schema: Any) -> Any:
    """Say that an exact decimal is a number: the schema maker takes it for text, the encoder writes digits."""
    if isinstance(schema, list):
        return [_exact_numbers(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "string" and schema.get("format") == "decimal":
        return {**schema, "type": "number"}
    return {name: _exact_numbers(item) for name, item in schema.items()}


def _hook(kind: type) -> dict[str, Any]:
    if kind is Instant:
        return dict(INSTANT_SCHEMA)
    raise NotImplementedError(f"no schema for {kind}")


def _operation(endpoint: AnyEndpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.operation_id,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": f"{endpoint.description}\n\nCredits: {endpoint.credits}.",
        "security": [{"bearer": []}, {"key": []}],
    }
    name = endpoint.question.__name__
    if endpoint.method == "GET":
        operation["parameters"] = list(_parameters(schemas[name], endpoint.path_fields))
    else:
        content = {_JSON: {"schema": {"$ref": _REF.format(name=name)}}}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = {
        "200": {
            "description": "The answer",
            "headers": _headers("X-Request-Id", *CREDIT_HEADERS),
            "content": {_JSON: {"schema": {"$ref": _REF.format(name=endpoint.reply.__name__)}}},
        },
        **_refusals(codes_of(endpoint)),
    }
    return operation


def _parameters(schema: dict[str, Any], path_fields: tuple[str, ...]) -> Iterable[dict[str, Any]]:
    for name, given in schema["properties"].items():
        shown = dict(given)
        variants = [variant for variant in shown.get("anyOf", ()) if variant != {"type": "null"}]
        if variants != shown.get("anyOf", []):  # text cannot be null: what may be left out is not required
            shown.pop("anyOf")
            shown.pop("default", None)
            shown = {**variants[0], **shown} if len(variants) == 1 else {**shown, "anyOf": variants}
        parameter = {"name": name, "in": "path" if name in path_fields else "query", "schema": shown}
        yield {**parameter, "required": name in schema.get("required", ())}


def _refusals(codes: Iterable[str]) -> dict[str, Any]:
    """Group codes by status, each with the envelope and the codes that it can hold there."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(API_CODES[code].status, []).append(code)
    return {str(status): _refusal(group) for status, group in sorted(by_status.items())}


def _refusal(codes: list[str]) -> dict[str, Any]:
    narrowed = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    extra = ("Retry-After",) if _RETRIED & set(codes) else ()
    return {
        "description": "; ".join(f"`{code}`: {API_CODES[code].remedy}" for code in codes),
        "headers": _headers("X-Request-Id", *CREDIT_HEADERS, *extra),
        "content": {_JSON: {"schema": {"allOf": [{"$ref": _REF.format(name="Problem")}, narrowed]}}},
    }


def _headers(*names: str) -> dict[str, Any]:
    return {
        name: {"schema": {"type": "string"} if name == "X-Request-Id" else {"type": "integer", "minimum": 0}}
        for name in names
    }
