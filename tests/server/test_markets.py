"""Markets over HTTP: the list, its filters and pages, and one market in full."""

import pytest

from tests.server.conftest import DROPPED, GOLD, OVER, RECORD, UNHEARD, Client, text

FIELDS = [
    "ticker",
    "title",
    "event_ticker",
    "series_ticker",
    "status",
    "category",
    "open_time",
    "close_time",
    "result",
    "first_data_at",
    "last_data_at",
    "recorded_pct",
]
DETAIL = ["rules", "strike_price", "discovered_at", "metadata", "snapshot_count", "delta_count"]


def test_the_list_is_newest_discovered_first(client: Client) -> None:
    answer = client.get("/v1/markets").json()
    assert list(answer) == ["data", "next_cursor", "has_more", "request_id", "response_time"]
    assert [row["ticker"] for row in answer["data"]] == [UNHEARD, OVER, GOLD]
    assert all(list(row) == FIELDS for row in answer["data"])
    assert (answer["next_cursor"], answer["has_more"]) == (None, False)


def test_a_row_is_told_exactly(client: Client) -> None:
    told = client.get("/v1/markets?q=gold").text.partition(',"recorded_pct"')[0]
    assert told == (
        f'{{"data":[{{"ticker":"{GOLD}","title":"Gold above 4,000?","event_ticker":"KXGOLD-26AUG01",'
        f'"series_ticker":"KXGOLD","status":"active","category":"Commodities","open_time":"{text(0)}",'
        f'"close_time":"{text(7200)}","result":null,"first_data_at":"{text(10)}","last_data_at":"{text(30)}"'
    )


@pytest.mark.parametrize(
    ("query", "tickers"),
    [
        ("status=finalized", [OVER]),
        ("event_ticker=KXGOLD-26AUG01", [GOLD]),
        ("series_ticker=KXGOLD", [GOLD]),
        ("category=Commodities", [GOLD]),
        ("q=GOLD", [GOLD]),
        ("q=nothing+of+the+kind", []),
        (f"recorded_from={text(20)}", [GOLD]),
        (f"recorded_to={text(12)}", [GOLD]),
        (f"updated_since={text(-60)}", [UNHEARD, OVER]),
    ],
)
def test_each_filter_narrows(client: Client, query: str, tickers: list[str]) -> None:
    assert [row["ticker"] for row in client.get(f"/v1/markets?{query}").json()["data"]] == tickers


def test_pages_follow_one_another(client: Client) -> None:
    first = client.get("/v1/markets?limit=2").json()
    assert first["has_more"]
    second = client.get(f"/v1/markets?limit=2&cursor={first['next_cursor']}").json()
    assert [row["ticker"] for row in first["data"] + second["data"]] == [UNHEARD, OVER, GOLD]
    assert not second["has_more"]


def test_one_market_adds_the_rest(client: Client) -> None:
    answer = client.get(f"/v1/markets/{GOLD}")
    assert list(answer.json()) == ["data", "request_id", "response_time"]
    market = answer.json()["data"]
    assert list(market) == [*FIELDS, *DETAIL]
    assert market["rules"] == "If gold is above 4,000, YES.\n\nElse NO."
    assert '"strike_price":4000.25,' in answer.text
    assert (market["discovered_at"], market["metadata"]) == (text(-3600), RECORD)
    assert (market["snapshot_count"], market["delta_count"]) == (2, 2)


def test_a_market_that_was_never_listed_has_what_was_recorded(client: Client) -> None:
    market = client.get(f"/v1/markets/{DROPPED}").json()["data"]
    assert (market["title"], market["metadata"], market["first_data_at"]) == (None, None, text(15))


def test_a_record_that_cannot_be_read_is_shown_all_the_same(client: Client) -> None:
    market = client.get(f"/v1/markets/{OVER}").json()["data"]
    assert (market["rules"], market["strike_price"], market["metadata"]["ticker"]) == (None, None, OVER)
