"""JSON in, JSON out, and nothing else."""

import pytest

from book.errors import ApiError
from server.media import refuse_other_accept, refuse_other_content


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/*",
        "application/json",
        "application/json; charset=utf-8",
        "text/html, */*;q=0.1",
        "text/csv;q=1, Application/JSON;q=0.001",
        "*/*;q=0, application/json",
    ],
)
def test_room_for_json_is_enough(accept: str | None) -> None:
    refuse_other_accept(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "text/csv",
        "application/x-ndjson, application/vnd.apache.arrow.stream",
        "application/json;q=0",
        "*/*, application/json;q=0.0",
        "*/*;q=0",
        "nonsense",
        ",",
    ],
)
def test_no_room_for_json_is_refused(accept: str) -> None:
    with pytest.raises(ApiError) as refused:
        refuse_other_accept(accept)
    assert refused.value.code == "not_acceptable"


@pytest.mark.parametrize("sent", ["application/json", "Application/JSON; charset=utf-8", "application/hal+json"])
def test_json_may_be_sent(sent: str) -> None:
    refuse_other_content(sent)


@pytest.mark.parametrize("sent", [None, "", "text/plain", "application/x-www-form-urlencoded", "text/x+json"])
def test_other_bodies_are_refused(sent: str | None) -> None:
    with pytest.raises(ApiError) as refused:
        refuse_other_content(sent)
    assert refused.value.code == "unsupported_media_type"
