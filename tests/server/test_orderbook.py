"""One book over HTTP: each field, its order and its exact text, and each way of asking."""

import json
from typing import Any

import pytest

from book.digest import digest
from tests.server.conftest import CONN, EMPTY, GOLD, NO, OVER, YES, Client, text

FIELDS = [
    "market_ticker",
    "timestamp",
    "snapshot_basis",
    "deltas_applied",
    "yes",
    "no",
    "best_yes_bid",
    "best_yes_ask",
    "spread",
    "mid",
    "quality",
    "request_id",
    "response_time",
]
QUALITY = [
    "complete",
    "basis",
    "basis_at",
    "conn",
    "seq",
    "last_change_at",
    "known_until",
    "last_audit_at",
    "gap",
    "digest",
]
LEVELS = [(YES, 910, 5537), (YES, 4500, 10_000), (YES, 4501, 50), (NO, 1, 1), (NO, 5405, 100)]


def book(client: Client, **question: Any) -> dict[str, Any]:
    answer = client.post("/v1/orderbook", {"market_ticker": GOLD, **question})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_fields_stand_in_their_order(client: Client) -> None:
    found = book(client, timestamp=text(12))
    assert list(found) == FIELDS
    assert list(found["quality"]) == QUALITY


def test_a_book_is_told_exactly(client: Client) -> None:
    answer = client.post("/v1/orderbook", {"market_ticker": GOLD, "timestamp": text(12)})
    told, _, _ = answer.text.partition(',"request_id"')
    assert told == (
        f'{{"market_ticker":"{GOLD}","timestamp":"{text(12)}","snapshot_basis":"{text(10)}","deltas_applied":2,'
        '"yes":[{"price":45.01,"quantity":0.5},{"price":45,"quantity":100},{"price":9.1,"quantity":55.37}],'
        '"no":[{"price":54.05,"quantity":1},{"price":0.01,"quantity":0.01}],'
        '"best_yes_bid":45.01,"best_yes_ask":45.95,"spread":0.94,"mid":45.48,'
        f'"quality":{{"complete":true,"basis":"snapshot","basis_at":"{text(10)}","conn":{CONN},"seq":3,'
        f'"last_change_at":"{text(12)}","known_until":"{text(599)}","last_audit_at":null,"gap":null,'
        f'"digest":"{digest(LEVELS)}"}}'
    )


def test_the_middle_may_end_in_half_a_hundredth(client: Client) -> None:
    assert '"spread":0.95,"mid":45.475,' in client.get(f"/v1/orderbook/{GOLD}?at={text(11)}").text


def test_depth_cuts_what_is_shown_and_not_the_digest(client: Client) -> None:
    whole, cut = book(client, timestamp=text(12)), book(client, timestamp=text(12), depth=1)
    assert (len(whole["yes"]), len(whole["no"])) == (3, 2)
    assert (cut["yes"], cut["no"]) == (whole["yes"][:1], whole["no"][:1])
    assert {**cut, "yes": 0, "no": 0, "request_id": 0, "response_time": 0} == {
        **whole,
        "yes": 0,
        "no": 0,
        "request_id": 0,
        "response_time": 0,
    }


def test_an_empty_side_leaves_null(client: Client) -> None:
    newest = book(client)
    assert (newest["best_yes_bid"], newest["best_yes_ask"], newest["spread"], newest["mid"]) == (46, None, None, None)
    empty = client.get(f"/v1/orderbook/{EMPTY}").json()
    assert (empty["yes"], empty["no"], empty["best_yes_bid"], empty["quality"]["digest"]) == ([], [], None, digest([]))


def test_without_a_timestamp_it_is_the_newest_known(client: Client) -> None:
    found = book(client)
    assert found["timestamp"] == found["quality"]["known_until"] == text(599)
    assert found["quality"]["last_audit_at"] == text(17)


@pytest.mark.parametrize(
    "asked", [text(12), "2026-08-01T16:00:12", "2026-08-01T18:00:12+02:00", 1_785_600_012_000, "1785600012000"]
)
def test_every_way_of_writing_an_instant_is_the_same(client: Client, asked: str | int) -> None:
    assert book(client, timestamp=asked)["timestamp"] == text(12)
    by_path = client.get(f"/v1/orderbook/{GOLD}", params={"at": asked})
    assert by_path.json()["timestamp"] == text(12)


def test_both_ways_of_asking_answer_alike(client: Client) -> None:
    by_body = book(client, timestamp=text(25), depth=2, on_gap="last", clock="received")
    path = f"/v1/orderbook/{GOLD}?at={text(25)}&depth=2&on_gap=last&clock=received"
    by_path = client.get(path).json()
    for found in (by_body, by_path):
        del found["request_id"], found["response_time"]
    assert by_body == by_path


def test_in_a_gap_the_last_known_book_is_marked(client: Client) -> None:
    found = book(client, timestamp=text(25), on_gap="last")
    assert found["quality"]["complete"] is False
    assert list(found["quality"]["gap"].items()) == [("from", text(20)), ("to", text(30)), ("reason", "seq_gap")]
    assert found["quality"]["digest"] == digest(LEVELS)


def test_the_exchange_s_clock_can_be_asked(client: Client) -> None:
    assert book(client, timestamp=text(10.7), clock="exchange")["deltas_applied"] == 1
    assert book(client, timestamp=text(10.7), clock="received")["deltas_applied"] == 0


def test_numbers_are_numbers(client: Client) -> None:
    levels = json.loads(client.get(f"/v1/orderbook/{GOLD}?at={text(12)}").text, parse_float=str)["yes"]
    assert levels[0] == {"price": "45.01", "quantity": "0.5"}


def test_after_the_end_it_names_the_end(client: Client) -> None:
    error = client.get(f"/v1/orderbook/{OVER}?at={text(150)}").json()["error"]
    assert (error["code"], error["closed_at"], error["result"]) == ("market_closed", text(100), "yes")
