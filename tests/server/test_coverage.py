"""Coverage and gaps over HTTP."""

import pytest

from server.instants import iso
from tests.server.conftest import CONN, GOLD, NOW, Client, text

LATE = {"from": text(0), "to": text(10), "reason": "late_start"}
LOST = {"from": text(20), "to": text(30), "reason": "seq_gap"}
SILENT = {"from": text(200), "to": text(210), "reason": "stall"}


def test_coverage_lists_spans_gaps_and_audits(client: Client) -> None:
    answer = client.get(f"/v1/coverage/{GOLD}").json()
    assert list(answer) == ["data", "request_id", "response_time"]
    found = answer["data"]
    assert list(found) == ["market_ticker", "spans", "gaps", "audits"]
    assert [list(span.items()) for span in found["spans"]] == [
        [("from", text(10)), ("to", text(20)), ("conn", CONN), ("end_reason", "seq_gap")],
        [("from", text(30)), ("to", None), ("conn", CONN), ("end_reason", None)],
    ]
    assert found["gaps"] == [LATE, LOST, SILENT]
    assert [list(gap) for gap in found["gaps"]] == [["from", "to", "reason"]] * 3
    assert [list(audit.items()) for audit in found["audits"]] == [
        [("ts", text(17)), ("equal", True), ("conn", CONN), ("seq", 7)]
    ]


def test_gaps_of_one_market(client: Client) -> None:
    answer = client.get(f"/v1/gaps?market_ticker={GOLD}").json()
    assert list(answer) == ["data", "next_cursor", "has_more", "request_id", "response_time"]
    assert answer["data"] == [{"market_ticker": GOLD, "channel": "orderbook", **gap} for gap in (LATE, LOST, SILENT)]
    assert list(answer["data"][0]) == ["market_ticker", "channel", "from", "to", "reason"]


def test_gaps_of_all_markets_come_in_pages(client: Client) -> None:
    whole = client.get("/v1/gaps").json()["data"]
    assert len({row["market_ticker"] for row in whole}) > 1
    rows, cursor = [], ""
    while True:
        page = client.get(f"/v1/gaps?limit=2{cursor}").json()
        rows += page["data"]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert rows == whole


@pytest.mark.parametrize(
    ("start", "end", "reasons"),
    [(20, 21, ["seq_gap"]), (29.999999, 30, ["seq_gap"]), (30, 31, []), (9, 201, ["late_start", "seq_gap", "stall"])],
)
def test_gaps_are_those_that_overlap_the_range(client: Client, start: float, end: float, reasons: list[str]) -> None:
    query = f"market_ticker={GOLD}&start_time={text(start)}&end_time={text(end)}"
    assert [row["reason"] for row in client.get(f"/v1/gaps?{query}").json()["data"]] == reasons


def test_coverage_and_gaps_are_of_this_generation_only(client: Client) -> None:
    assert client.get(f"/coverage/{GOLD}").status_code == 404
    assert client.get("/gaps").status_code == 404


def test_a_firehose_has_coverage_and_gaps_of_its_own(client: Client) -> None:
    lapse = {"from": text(60), "to": text(62), "reason": "seq_gap", "filled": False}
    found = client.get("/v1/coverage/*?channel=trades").json()["data"]
    assert found["gaps"] == [lapse]
    assert [(span["from"], span["to"], span["conn"], span["end_reason"]) for span in found["spans"]] == [
        (text(5), text(60), None, "seq_gap"),
        (text(62), iso(NOW - 1_000_000 + 1), None, None),
    ]
    row = {"market_ticker": "*", "channel": "trades", **lapse}
    for query in ("channel=trades", "market_ticker=*", f"channel=trades&start_time={text(61)}&end_time={text(70)}"):
        assert client.get(f"/v1/gaps?{query}").json()["data"] == [row]
    assert client.get(f"/v1/gaps?channel=trades&start_time={text(62)}").json()["data"] == []
    assert client.get("/v1/gaps?channel=tickers").json()["data"] == []
    assert all(one["channel"] == "orderbook" for one in client.get("/v1/gaps").json()["data"])


def test_a_firehose_concerns_every_market(client: Client) -> None:
    rows = client.get("/v1/gaps?channel=trades").json()["data"]
    assert client.get(f"/v1/gaps?channel=trades&market_ticker={GOLD}").json()["data"] == rows
    assert client.get(f"/v1/coverage/{GOLD}?channel=trades").json()["data"]["market_ticker"] == "*"
    assert (
        client.get("/v1/gaps?market_ticker=*&channel=orderbook").json()["data"] == client.get("/v1/gaps").json()["data"]
    )
    assert client.get("/v1/coverage/*").status_code == 404
