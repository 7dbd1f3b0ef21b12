"""Owns how a request becomes a question: JSON body or query string to a struct, strictly, each mistake by its code.

A field that does not exist, is missing or has the wrong type is ``invalid_payload``; one out of its bounds is
``validation_error`` and names them; a time that is none is ``invalid_timestamp``. Nothing is coerced but the whole
numbers of a query string, which has only text.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from book.errors import ApiError
from server.instants import Instant, InstantError, parse_instant

Q = TypeVar("Q", bound=msgspec.Struct)

_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_AT_FIELD = re.compile(r"(?P<why>.*) - at `\$\.(?P<field>\w+).*`", re.DOTALL)
_OUT_OF_BOUNDS = re.compile(r"Expected `\w+` (of length )?[<>]=|Invalid enum value")


def decode_body(raw: bytes, question: type[Q]) -> Q:
    """Read a JSON body of at most MAX_BODY_BYTES. Raises ApiError as the module says."""
    if not raw.strip():
        raise ApiError("invalid_payload", "the body is empty; it must be a JSON object", allowed=_names(question))
    try:
        given = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError("invalid_payload", "the body is not valid JSON in UTF-8") from None
    if not isinstance(given, dict):
        raise ApiError("invalid_payload", "the body must be a JSON object", allowed=_names(question))
    for name in _whole_fields(question) & given.keys():
        value = given[name]
        if isinstance(value, float) and value.is_integer():  # 10.0 is the whole number 10 in JSON
            given[name] = int(value)
    return _convert(given, question, "field")


def decode_query(raw: bytes, path: Mapping[str, str], question: type[Q]) -> Q:
    """Read a query string, and beside it the fields named in the path. Raises ApiError as the module says."""
    given: dict[str, Any] = {}
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        if name in path:
            raise ApiError("invalid_payload", f"{name} stands in the path already", field=name)
        if name in given:
            raise ApiError("invalid_payload", f"the query parameter {name[:60]!r} is given twice", field=name[:60])
        given[name] = value
    for name in _whole_fields(question) & given.keys():
        if _WHOLE.fullmatch(given[name]):
            given[name] = int(given[name])
    return _convert({**given, **path}, question, "query parameter", frozenset(path))


def refuse_query(raw: bytes) -> None:
    """Refuse a query string where all fields are in the body. Raises ApiError ``invalid_payload``."""
    for name, _ in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        raise ApiError(
            "invalid_payload", f"unknown query parameter {name[:60]!r}; the fields go into the body", field=name[:60]
        )


@cache
def bounds_of(question: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    """Return, for each field that has any, its bounds by name: minimum, maximum, lengths or allowed values."""
    found: dict[str, dict[str, Any]] = {}
    for name, kind in kinds_of(question):
        match kind:
            case inspect.IntType(ge=low, le=high) if low is not None or high is not None:
                found[name] = {"minimum": low, "maximum": high}
            case inspect.StrType(min_length=low, max_length=high) if low is not None or high is not None:
                found[name] = {"min_length": low, "max_length": high}
            case inspect.LiteralType(values=values):
                found[name] = {"allowed": list(values)}
            case _:
                pass
    return found


@cache
def _whole_fields(question: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(name for name, kind in kinds_of(question) if isinstance(kind, inspect.IntType))


def kinds_of(question: type[msgspec.Struct]) -> list[tuple[str, inspect.Type]]:
    """Return each field with its type, or with each type of a union, without the metadata around them."""
    info = inspect.type_info(question)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{question} is no struct")
    kinds: list[tuple[str, inspect.Type]] = []
    for item in info.fields:
        bare = item.type.type if isinstance(item.type, inspect.Metadata) else item.type
        members = bare.types if isinstance(bare, inspect.UnionType) else (bare,)
        kinds += [(item.encode_name, one.type if isinstance(one, inspect.Metadata) else one) for one in members]
    return kinds


def _names(question: type[msgspec.Struct], but: frozenset[str] = frozenset()) -> list[str]:
    return [name for name in question.__struct_encode_fields__ if name not in but]


def _convert(given: dict[str, Any], question: type[Q], what: str, but: frozenset[str] = frozenset()) -> Q:
    try:
        return msgspec.convert(given, question, dec_hook=_decode_instant)
    except msgspec.ValidationError as error:
        raise _refusal(error, question, what, but) from None


def _decode_instant(kind: type, value: object) -> Instant:
    if kind is not Instant:
        raise NotImplementedError(f"no reader for {kind}")
    return parse_instant(value)


def _refusal(
    error: msgspec.ValidationError, question: type[msgspec.Struct], what: str, but: frozenset[str] = frozenset()
) -> ApiError:
    """Translate what msgspec found; its messages are the only place where it names the field."""
    text = str(error)
    if match := _UNKNOWN.fullmatch(text):
        name = match[1][:60]
        return ApiError("invalid_payload", f"unknown {what} {name!r}", field=name, allowed=_names(question, but))
    if match := _MISSING.fullmatch(text):
        return ApiError("invalid_payload", f"the {what} {match[1]!r} is missing", field=match[1])
    match = _AT_FIELD.fullmatch(text)
    if match is None:
        return ApiError("invalid_payload", text.replace("`", ""), allowed=_names(question, but))
    name = match["field"]
    if isinstance(error.__cause__, InstantError):
        return ApiError("invalid_timestamp", f"{name}: {error.__cause__}", field=name)
    bounds = bounds_of(question).get(name)
    if bounds is not None and _OUT_OF_BOUNDS.match(match["why"]):
        return ApiError("validation_error", f"{name} must be {_said(bounds)}", field=name, **bounds)
    return ApiError("invalid_payload", f"{name}: {match['why'].replace('`', '')}", field=name)


def _said(bounds: Mapping[str, Any]) -> str:
    if "allowed" in bounds:
        return f"one of {', '.join(bounds['allowed'])}"
    if "minimum" in bounds:
        return f"from {bounds['minimum']} to {bounds['maximum']}"
    return f"from {bounds['min_length']} to {bounds['max_length']} characters long"
