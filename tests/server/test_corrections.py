"""Corrections over HTTP: each field and its order, since when, and page by page."""

import pytest

from tests.server.conftest import CORRECTED, PAST, Client, text

FIELDS = ["ts", "hour", "market_ticker", "reason", "detail", "old_version", "new_version"]


def test_a_correction_is_told_with_its_fields_in_their_order(published: Client) -> None:
    told = published.get("/v1/corrections").json()
    assert list(told) == ["data", "next_cursor", "has_more", "request_id", "response_time"]
    (row,) = told["data"]
    assert list(row) == FIELDS
    assert (row["ts"], row["hour"], row["market_ticker"]) == (text(400), text(-3600), PAST)
    assert (row["reason"], row["old_version"], row["new_version"]) == ("correction", 1, 2)
    assert "audit_mismatch" in row["detail"]
    assert (told["next_cursor"], told["has_more"]) == (None, False)


@pytest.mark.parametrize(("since", "rows"), [(text(400), 1), (text(400.000001), 0), (CORRECTED // 1000, 1)])
def test_since_is_inclusive(published: Client, since: str | int, rows: int) -> None:
    assert len(published.get("/v1/corrections", params={"since": since}).json()["data"]) == rows


def test_without_any_the_list_is_empty(client: Client) -> None:
    told = client.get("/v1/corrections").json()
    assert (told["data"], told["next_cursor"], told["has_more"]) == ([], None, False)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("since=yesterday", "invalid_timestamp"),
        ("limit=0", "validation_error"),
        ("cursor=nonsense", "invalid_cursor"),
        ("from=2026-08-01", "invalid_payload"),
    ],
)
def test_what_is_wrong_is_named(client: Client, query: str, code: str) -> None:
    assert client.get(f"/v1/corrections?{query}").json()["error"]["code"] == code
