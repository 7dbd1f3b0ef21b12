"""Changes by range over HTTP."""

from typing import Any

import httpx

from tests.server.conftest import CONN, EMPTY, GOLD, UNHEARD, Client, text

FIELDS = ["market_ticker", "ts", "ts_exchange", "conn", "seq", "price_cents", "delta_amount", "side"]


def deltas(client: Client, **more: Any) -> httpx.Response:
    question = {"market_ticker": GOLD, "start_time": text(0), "end_time": text(100), **more}
    answer = client.post("/v1/deltas", question)
    assert answer.status_code == 200, answer.text
    return answer


def test_a_page_is_told_exactly(client: Client) -> None:
    answer = deltas(client)
    assert answer.text.partition(',"request_id"')[0] == (
        f'{{"data":[{{"market_ticker":"{GOLD}","ts":"{text(11)}","ts_exchange":"{text(10.5)}","conn":{CONN},"seq":2,'
        '"price_cents":45,"delta_amount":-20,"side":"yes"},'
        f'{{"market_ticker":"{GOLD}","ts":"{text(12)}","ts_exchange":"{text(11.5)}","conn":{CONN},"seq":3,'
        '"price_cents":45.01,"delta_amount":0.5,"side":"yes"}],"next_cursor":null,"has_more":false,"complete":false,'
        f'"gaps":[{{"from":"{text(0)}","to":"{text(10)}","reason":"late_start"}},'
        f'{{"from":"{text(20)}","to":"{text(30)}","reason":"seq_gap"}}],"why_empty":null'
    )
    assert (answer.headers["x-complete"], answer.headers["x-gaps"]) == ("false", "2")


def test_orphans_are_left_out_unless_asked_for(client: Client) -> None:
    assert all(list(row) == FIELDS for row in deltas(client).json()["data"])
    rows = deltas(client, orphans=True).json()["data"]
    assert all(list(row) == [*FIELDS, "kind"] for row in rows)
    assert [row["ts_exchange"] for row in rows] == [text(10.5), text(11.5), None]
    assert [(row["seq"], row["kind"]) for row in rows] == [(2, "delta"), (3, "delta"), (9, "orphan")]


def test_pages_follow_one_another(client: Client) -> None:
    first = deltas(client, limit=1).json()
    assert (len(first["data"]), first["has_more"]) == (1, True)
    second = deltas(client, limit=1, cursor=first["next_cursor"]).json()
    assert (second["has_more"], second["next_cursor"]) == (False, None)
    assert [*first["data"], *second["data"]] == deltas(client).json()["data"]


def test_a_range_is_half_open(client: Client) -> None:
    assert [row["seq"] for row in deltas(client, start_time=text(11), end_time=text(12)).json()["data"]] == [2]


def test_a_range_without_a_gap_is_complete(client: Client) -> None:
    answer = deltas(client, start_time=text(10), end_time=text(15))
    assert (answer.json()["complete"], answer.json()["gaps"]) == (True, [])
    assert (answer.headers["x-complete"], answer.headers["x-gaps"]) == ("true", "0")


def test_an_empty_range_says_why(client: Client) -> None:
    assert deltas(client, market_ticker=EMPTY, start_time=text(20)).json()["why_empty"] == "no_activity"
    assert deltas(client, market_ticker=UNHEARD).json()["why_empty"] == "not_recorded"
    assert deltas(client, start_time=text(700), end_time=text(800)).json()["why_empty"] == "pending"
