"""What every response has, whoever made it."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from litestar.types import Receive, Scope, Send

from server.edge import CREDIT_HEADERS, Edge
from tests.server.conftest import EMPTY, GOLD, KEY, Client, ask, text

ID = re.compile("req_[0-9a-f]{12}")
RANGE = {"market_ticker": GOLD, "start_time": text(0), "end_time": text(60)}
PRICED = [
    ("POST", "/v1/orderbook", {"market_ticker": EMPTY}),
    ("GET", f"/v1/orderbook/{EMPTY}", None),
    ("POST", "/v1/deltas", RANGE),
    ("POST", "/v1/trades", RANGE),
    ("GET", "/v1/markets", None),
    ("GET", f"/v1/markets/{GOLD}", None),
    ("GET", f"/v1/coverage/{GOLD}", None),
    ("GET", "/v1/gaps", None),
    ("GET", "/v1/corrections", None),
    ("GET", "/v1/status", None),
]
FIRST_GENERATION = [(method, path.removeprefix("/v1"), body) for method, path, body in PRICED[:6]]


@pytest.mark.parametrize(("method", "path", "body"), PRICED + FIRST_GENERATION)
def test_a_good_answer_has_its_id_its_time_and_its_credits(
    client: Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = ask(client.app, method, path, json=body) if body else ask(client.app, method, path)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert list(told)[-2:] == ["request_id", "response_time"]
    assert ID.fullmatch(told["request_id"])
    assert answer.headers.get_list("x-request-id") == [told["request_id"]]
    assert re.search(r'"response_time":\d+\.\d{6}}$', answer.text)
    assert [answer.headers.get_list(name) for name in CREDIT_HEADERS] == [["0"]] * 4
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("method", "path", "body"), FIRST_GENERATION)
def test_the_paths_of_the_first_generation_ask_for_the_key_too(
    client: Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    more = {"json": body} if body else {}
    assert ask(client.app, method, path, key=None, **more).status_code == 401


@pytest.mark.parametrize("headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}])
def test_the_key_may_stand_in_either_header(client: Client, headers: dict[str, str]) -> None:
    assert client.get("/v1/markets", key=None, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/v1/orderbook", 405),
        ("DELETE", "/v1/markets", 405),
        ("PUT", "/v1/deltas", 405),
        ("POST", "/healthz", 405),
        ("GET", "/healthz", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/docs", 200),
        ("OPTIONS", "/v1/markets", 204),
    ],
)
def test_every_response_has_a_request_id(client: Client, method: str, path: str, status: int) -> None:
    answer = ask(client.app, method, path)
    assert answer.status_code == status
    assert ID.fullmatch(answer.headers["x-request-id"])
    assert answer.headers["access-control-allow-origin"] == "*"
    if status >= 400:
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert ("allow" in answer.headers) == (status in {405, 204})


def test_no_two_requests_share_an_id(client: Client) -> None:
    assert len({client.get("/healthz").headers["x-request-id"] for _ in range(20)}) == 20


def test_a_free_path_shows_no_credits(client: Client) -> None:
    for path in ("/healthz", "/docs", "/v1/nothing"):
        assert not set(map(str.lower, CREDIT_HEADERS)) & set(client.get(path).headers)


def test_a_browser_may_ask_and_may_read_our_headers(client: Client) -> None:
    asks = {
        "Origin": "https://app.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key, content-type",
    }
    allowed = ask(client.app, "OPTIONS", "/v1/orderbook", key=None, headers=asks)
    assert (allowed.status_code, allowed.content) == (204, b"")
    assert allowed.headers["access-control-allow-origin"] == "*"
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert {"Authorization", "X-API-Key", "Content-Type"} <= set(
        allowed.headers["access-control-allow-headers"].split(", ")
    )
    answer = client.get("/v1/nothing", headers={"Origin": "https://app.example.com"})
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"X-Request-Id", *CREDIT_HEADERS, "Retry-After", "X-Complete", "X-Gaps"} <= exposed


def test_a_failure_beneath_the_framework_is_an_envelope_too() -> None:
    async def broken(_: Scope, __: Receive, ___: Send) -> None:
        raise RuntimeError("a secret of ours")

    answer = ask(Edge(broken, re.compile("/priced"), "http://books.test/docs/errors"), "GET", "/priced")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["x-credits-cost"] == "0"
    assert "secret" not in answer.text


def test_half_an_answer_is_cut_and_not_completed() -> None:
    async def broken(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("in the middle")

    edge = Edge(broken, re.compile("/priced"), "http://books.test/docs/errors")

    async def send() -> None:
        transport = httpx.ASGITransport(app=edge)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://books.test") as client:
            await client.get("/")

    with pytest.raises(RuntimeError, match="in the middle"):
        asyncio.run(send())
