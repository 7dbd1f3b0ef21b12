"""Every code of the table, provoked over HTTP: status, envelope, fields, headers; and the page that explains it."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from book.errors import API_CODES, ApiError
from server.app import create_app
from tests.server.conftest import DROPPED, GOLD, KEY, NOW, OVER, UNHEARD, Client, ask, settings, text

CREDITS = ["x-credits-cost", "x-credits-remaining", "x-credits-used", "x-credits-total"]
RANGE = {"market_ticker": GOLD, "start_time": text(0), "end_time": text(60)}
Ask = Callable[[Client], httpx.Response]


class Fails:
    """Stands in for the log where a question must fail."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> Any:
            raise self._error

        return fail


class Hangs(Fails):
    """Stands in for a log whose answers wait for ``release``."""

    def __init__(self, release: threading.Event) -> None:
        super().__init__(LookupError("released"))
        self._release = release

    def __getattr__(self, name: str) -> Callable[..., Any]:
        self._release.wait(30)
        return super().__getattr__(name)


def over(questions: Any, **more: Any) -> httpx.Response:
    """Ask for a book where ``questions`` stands in for the log."""
    return ask(create_app(settings(Path(), **more), questions), "GET", f"/v1/orderbook/{GOLD}")


def hanging(**more: Any) -> httpx.Response:
    release = threading.Event()
    try:
        return over(Hangs(release), **more)
    finally:
        release.set()


def book(client: Client, ticker: str, at: str) -> httpx.Response:
    return client.get(f"/v1/orderbook/{ticker}", params={"at": at})


PROVOKED: dict[str, Ask] = {
    "invalid_payload": lambda c: c.post("/v1/orderbook", {"market_ticker": GOLD, "at": 1}),
    "invalid_timestamp": lambda c: book(c, GOLD, "yesterday"),
    "invalid_cursor": lambda c: c.post("/v1/deltas", RANGE | {"cursor": "nonsense"}),
    "invalid_api_key": lambda c: c.get(f"/v1/orderbook/{GOLD}", key=None),
    "market_not_found": lambda c: c.get("/v1/orderbook/KXNOSUCH"),
    "no_data_available": lambda c: book(c, GOLD, text(5)),
    "not_found": lambda c: c.get("/v1/nothing"),
    "method_not_allowed": lambda c: c.get("/v1/orderbook"),
    "not_acceptable": lambda c: c.get("/v1/markets", headers={"Accept": "text/csv"}),
    "data_gap": lambda c: book(c, GOLD, text(25)),
    "not_yet_known": lambda c: book(c, GOLD, text(6000)),
    "market_closed": lambda c: book(c, OVER, text(150)),
    "payload_too_large": lambda c: c.post("/v1/orderbook", {"market_ticker": "A" * 1_100_000}),
    "unsupported_media_type": lambda c: c.post("/v1/orderbook", content=b"{}", headers={"Content-Type": "text/plain"}),
    "validation_error": lambda c: c.post("/v1/orderbook", {"market_ticker": GOLD, "depth": 0}),
    "internal_error": lambda _: over(Fails(RuntimeError("a secret of ours"))),
    "overloaded": lambda _: hanging(threads=0, waiting=0),
    "deadline_exceeded": lambda _: hanging(deadline_s=0.01),
}
"""How to get each code; one that cannot occur yet would stand in NOT_YET instead."""
NOT_YET: frozenset[str] = frozenset()


def test_every_code_of_the_table_is_provoked_or_cannot_occur_yet() -> None:
    assert set(PROVOKED) | NOT_YET == set(API_CODES)
    assert not set(PROVOKED) & NOT_YET


@pytest.mark.parametrize("code", PROVOKED)
def test_a_refusal_has_the_one_envelope(client: Client, code: str) -> None:
    answer = PROVOKED[code](client)
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert list(body) == ["error", "request_id"]
    error = body["error"]
    assert list(error)[:5] == ["code", "message", "status", "hint", "docs_url"]
    row = API_CODES[code]
    assert (error["code"], error["status"], error["hint"]) == (code, row.status, row.remedy)
    assert answer.status_code == row.status
    assert error["docs_url"] == f"http://books.test/docs/errors#{code}"
    assert error["message"]
    assert re.fullmatch("req_[0-9a-f]{12}", body["request_id"])
    assert answer.headers.get_list("x-request-id") == [body["request_id"]]


@pytest.mark.parametrize("code", sorted(PROVOKED.keys() - {"not_found"}))
def test_a_refusal_on_a_priced_path_shows_credits_once(client: Client, code: str) -> None:
    headers = PROVOKED[code](client).headers
    assert [headers.get_list(name) for name in CREDITS] == [["0"]] * 4


@pytest.mark.parametrize(
    ("code", "seconds"), [("not_yet_known", "3600"), ("overloaded", "1"), ("deadline_exceeded", "1")]
)
def test_what_may_come_later_says_when(client: Client, code: str, seconds: str) -> None:
    assert PROVOKED[code](client).headers["retry-after"] == seconds


def test_an_instant_soon_to_come_is_asked_again_soon(client: Client) -> None:
    assert book(client, GOLD, text(599.5)).headers["retry-after"] == "1"
    assert book(client, GOLD, text(610)).headers["retry-after"] == "11"


def test_a_gap_names_its_bounds_and_what_is_known_around_it(client: Client) -> None:
    error = book(client, GOLD, text(25)).json()["error"]
    assert list(error.items())[5:] == [
        ("from", text(20)),
        ("to", text(30)),
        ("reason", "seq_gap"),
        ("last_known", text(19.999999)),
        ("next_known", text(30)),
    ]


@pytest.mark.parametrize(
    ("ticker", "at", "reason", "earliest"),
    [
        (GOLD, text(5), "before_first_data", text(10)),
        (UNHEARD, text(5), "not_recorded", None),
        (DROPPED, text(50), "unsubscribed", None),
    ],
)
def test_data_that_is_not_there_says_why(
    client: Client, ticker: str, at: str, reason: str, earliest: str | None
) -> None:
    error = book(client, ticker, at).json()["error"]
    assert (error["code"], error["reason"], error["earliest"]) == ("no_data_available", reason, earliest)


def test_what_is_not_yet_known_says_what_is(client: Client) -> None:
    error = book(client, GOLD, text(6000)).json()["error"]
    assert (error["timestamp"], error["known_until"]) == (text(6000), text(599))


def test_the_bounds_stand_in_the_refusal(client: Client) -> None:
    error = client.post("/v1/orderbook", {"market_ticker": GOLD, "depth": 1001}).json()["error"]
    assert (error["field"], error["minimum"], error["maximum"]) == ("depth", 1, 1000)
    error = client.get("/v1/markets?limit=10001").json()["error"]
    assert (error["field"], error["minimum"], error["maximum"]) == ("limit", 1, 10_000)
    error = client.get(f"/v1/orderbook/{GOLD}?clock=wall").json()["error"]
    assert (error["field"], error["allowed"]) == ("clock", ["exchange", "received"])


def test_a_range_that_holds_no_instant_is_refused(client: Client) -> None:
    for path in ("/v1/deltas", "/v1/trades"):
        error = client.post(path, RANGE | {"end_time": RANGE["start_time"]}).json()["error"]
        assert (error["code"], error["field"]) == ("validation_error", "end_time")


def test_a_cursor_of_another_question_is_refused(client: Client) -> None:
    cursor = client.post("/v1/deltas", RANGE | {"limit": 1}).json()["next_cursor"]
    error = client.post("/v1/trades", RANGE | {"limit": 1, "cursor": cursor}).json()["error"]
    assert error["code"] == "invalid_cursor"


def test_a_missing_key_and_a_wrong_one_are_told_apart(client: Client) -> None:
    missing, wrong = client.get("/v1/markets", key=None), client.get("/v1/markets", key=KEY + "x")
    assert missing.json()["error"]["code"] == wrong.json()["error"]["code"] == "invalid_api_key"
    assert missing.json()["error"]["message"] != wrong.json()["error"]["message"]
    assert missing.headers["www-authenticate"] == "Bearer"
    assert KEY not in wrong.text


def test_the_key_is_asked_for_before_anything_is_said(client: Client) -> None:
    assert client.post("/v1/orderbook", {"nonsense": 1}, key=None).status_code == 401
    assert client.get("/v1/markets/KXNOSUCH", key=None).status_code == 401


def test_a_defect_says_nothing_of_itself(client: Client) -> None:
    answer = PROVOKED["internal_error"](client)
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text


def test_a_refusal_of_the_question_keeps_its_words() -> None:
    answer = over(Fails(ApiError("internal_error", "the level was withheld", known_until=NOW, note=None)))
    error = answer.json()["error"]
    assert (error["message"], error["known_until"], error["note"]) == ("the level was withheld", text(600), None)


def test_the_body_s_bound_is_one_mebibyte(client: Client) -> None:
    fits = b'{"market_ticker":"' + GOLD.encode() + b'"}'
    json_type = {"Content-Type": "application/json"}
    padded = fits + b" " * (1_048_576 - len(fits))
    assert client.post("/v1/orderbook", content=padded, headers=json_type).status_code == 200
    assert client.post("/v1/orderbook", content=padded + b" ", headers=json_type).status_code == 413


def test_the_page_of_errors_tells_every_code(client: Client) -> None:
    page = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert [(code, int(status), remedy) for code, status, _, remedy in rows] == list(API_CODES.values())
