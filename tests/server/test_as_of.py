"""Books as they were published at a time, over HTTP."""

from typing import Any

import httpx
import pytest

from tests.server.conftest import FIRST_PUBLISHED, GOLD, PAST, Client, text

AT = text(-2640)
"""16 minutes into the published hour: known in its first version, withdrawn in its second."""


def ask(client: Client, **question: Any) -> httpx.Response:
    return client.post("/v1/orderbook", {"market_ticker": PAST, "timestamp": AT, **question})


def test_the_first_version_is_read_as_it_stood(published: Client) -> None:
    found = ask(published, as_of=text(399.999999)).json()
    assert (found["yes"], found["no"]) == ([{"price": 45, "quantity": 100.5}], [])
    assert found["quality"]["complete"]


def test_the_correction_stands_from_its_publication_on(published: Client) -> None:
    for as_of in (text(400), text(500)):
        error = ask(published, as_of=as_of).json()["error"]
        assert (error["code"], error["reason"], error["from"]) == ("data_gap", "audit_mismatch", text(-2760))
    assert ask(published).json()["error"]["code"] == "data_gap"


@pytest.mark.parametrize(
    ("ticker", "at", "as_of"),
    [
        (PAST, AT, text(99.999999)),
        (GOLD, text(12), text(600)),  # its hour is not over
    ],
)
def test_before_its_publication_an_hour_is_not_published(published: Client, ticker: str, at: str, as_of: str) -> None:
    answer = ask(published, market_ticker=ticker, timestamp=at, as_of=as_of)
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert (error["code"], error["reason"]) == ("no_data_available", "not_published")


@pytest.mark.parametrize("as_of", [text(100), FIRST_PUBLISHED // 1000, str(FIRST_PUBLISHED // 1000)])
def test_both_ways_of_asking_answer_alike(published: Client, as_of: str | int) -> None:
    by_body = ask(published, as_of=as_of).json()
    by_path = published.get(f"/v1/orderbook/{PAST}", params={"at": AT, "as_of": as_of}).json()
    for found in (by_body, by_path):
        del found["request_id"], found["response_time"]
    assert by_body == by_path
    assert by_body["yes"]


def test_what_is_no_time_is_named(published: Client) -> None:
    error = ask(published, as_of="yesterday").json()["error"]
    assert (error["code"], error["field"]) == ("invalid_timestamp", "as_of")
