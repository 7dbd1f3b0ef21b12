"""From request to question: each mistake by its own code, naming the field and its bounds."""

import pytest
from msgspec import Struct

from book.errors import ApiError
from server.decode import bounds_of, decode_body, decode_query, refuse_query
from server.endpoint import Depth, Limit, Ticker
from server.instants import Instant


class Asked(Struct, forbid_unknown_fields=True, frozen=True):
    market_ticker: Ticker
    start_time: Instant
    timestamp: Instant | None = None
    depth: Depth | None = None
    limit: Limit = 100
    orphans: bool = False
    q: str | None = None


def good(more: str) -> str:
    """Add a field to a question that is right."""
    return f'{{"market_ticker":"A","start_time":1,{more}}}'


def refused(body: bytes | str) -> ApiError:
    with pytest.raises(ApiError) as error:
        decode_body(body if isinstance(body, bytes) else body.encode(), Asked)
    return error.value


def refused_query(query: bytes) -> ApiError:
    with pytest.raises(ApiError) as error:
        decode_query(query, {"market_ticker": "A"}, Asked)
    return error.value


def test_a_body_becomes_a_question() -> None:
    body = b'{"market_ticker":"A","start_time":"1970-01-01T00:00:01Z","timestamp":5,"depth":3,"orphans":true}'
    assert decode_body(body, Asked) == Asked("A", Instant(1_000_000), Instant(5000), 3, 100, True)


def test_a_query_string_becomes_a_question() -> None:
    query = b"start_time=1970-01-01T00%3A00%3A01Z&timestamp=5&depth=3&q=null"
    asked = Asked("A", Instant(1_000_000), Instant(5000), 3, q="null")
    assert decode_query(query, {"market_ticker": "A"}, Asked) == asked


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (good('"at":1'), "at"),
        ('{"market_ticker":"A"}', "start_time"),
        (good('"depth":"10"'), "depth"),
        (good('"depth":1.5'), "depth"),
        (good('"orphans":"true"'), "orphans"),
        ('{"market_ticker":7,"start_time":1}', "market_ticker"),
    ],
)
def test_a_wrong_field_is_named(body: str, field: str) -> None:
    error = refused(body)
    assert (error.code, error.fields["field"]) == ("invalid_payload", field)
    assert field in error.message


@pytest.mark.parametrize(
    "body",
    [b"", b"  \n", b"{", b"[]", b"null", b"7", b"\xff", b'{"market_ticker":"\xff"}', b'{"a":NaN}', b"[" * 100_000],
)
def test_what_is_no_json_object_is_an_invalid_payload(body: bytes) -> None:
    assert refused(body).code == "invalid_payload"


def test_a_deep_body_is_refused_and_not_a_crash() -> None:
    deep = good(f'"timestamp":{"[" * 100_000}{"]" * 100_000}')
    assert refused(deep).code in {"invalid_payload", "invalid_timestamp"}


@pytest.mark.parametrize("value", ['"x"', "true", "1.5", "[]", "99999999999999999999999", '"2026-02-30"'])
def test_a_malformed_time_has_its_own_code(value: str) -> None:
    error = refused(good(f'"timestamp":{value}'))
    assert (error.code, error.fields) == ("invalid_timestamp", {"field": "timestamp"})
    assert error.message.startswith("timestamp: ")


@pytest.mark.parametrize("depth", ["0", "1001", "-1", "99999999999999999999999"])
def test_depth_out_of_bounds_names_them(depth: str) -> None:
    error = refused(good(f'"depth":{depth}'))
    assert error.code == "validation_error"
    assert error.fields == {"field": "depth", "minimum": 1, "maximum": 1000}
    assert error.message == "depth must be from 1 to 1000"


def test_limit_and_lengths_have_bounds_too() -> None:
    assert refused(good('"limit":10001')).fields == {"field": "limit", "minimum": 1, "maximum": 10_000}
    assert refused('{"market_ticker":"","start_time":1}').fields["min_length"] == 1
    assert refused(f'{{"market_ticker":"{"A" * 200}","start_time":1}}').fields["max_length"] == 128


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        (b"start_time=1&nonsense=1", "invalid_payload", "nonsense"),
        (b"start_time=1&=1", "invalid_payload", ""),
        (b"start_time=1&start_time=2", "invalid_payload", "start_time"),
        (b"start_time=1&market_ticker=B", "invalid_payload", "market_ticker"),
        (b"", "invalid_payload", "start_time"),
        (b"start_time=1&depth=ten", "invalid_payload", "depth"),
        (b"start_time=1&depth=1e1", "invalid_payload", "depth"),
        (b"start_time=1&depth=", "invalid_payload", "depth"),
        (b"start_time=1&depth=null", "invalid_payload", "depth"),
        (b"start_time=1&depth=0", "validation_error", "depth"),
        (b"start_time=1&timestamp=null", "invalid_timestamp", "timestamp"),
        (b"start_time=", "invalid_timestamp", "start_time"),
    ],
)
def test_a_query_string_is_read_as_strictly(query: bytes, code: str, field: str) -> None:
    error = refused_query(query)
    assert (error.code, error.fields["field"]) == (code, field)


def test_the_path_s_fields_are_not_offered_as_parameters() -> None:
    assert "market_ticker" not in refused_query(b"x=1").fields["allowed"]


def test_a_query_string_beside_a_body_is_refused() -> None:
    refuse_query(b"")
    with pytest.raises(ApiError) as error:
        refuse_query(b"orphans=true")
    assert (error.value.code, error.value.fields) == ("invalid_payload", {"field": "orphans"})


def test_bounds_are_read_off_the_struct() -> None:
    assert set(bounds_of(Asked)) == {"market_ticker", "depth", "limit"}
