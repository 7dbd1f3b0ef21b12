"""Trades by range over HTTP."""

from tests.server.conftest import GOLD, Client, text

FIELDS = [
    "trade_id",
    "market_ticker",
    "yes_price",
    "no_price",
    "count",
    "taker_side",
    "block",
    "ts",
    "ts_exchange",
]


def test_trades_are_told_exactly(client: Client) -> None:
    question = {"market_ticker": GOLD, "start_time": text(44), "end_time": text(48)}
    answer = client.post("/v1/trades", question)
    assert answer.text.partition(',"request_id"')[0] == (
        f'{{"data":[{{"trade_id":"trade-4","market_ticker":"{GOLD}","yes_price":45.54,"no_price":54.46,"count":4.37,'
        f'"taker_side":"yes","block":false,"ts":"{text(44)}","ts_exchange":"{text(44)}"}},'
        f'{{"trade_id":"trade-5","market_ticker":"{GOLD}","yes_price":45,"no_price":55,"count":1,'
        f'"taker_side":"no","block":true,"ts":"{text(46)}","ts_exchange":null}},'
        f'{{"trade_id":"trade-6","market_ticker":"{GOLD}","yes_price":45,"no_price":55,"count":1,'
        f'"taker_side":null,"block":null,"ts":"{text(47)}","ts_exchange":"{text(47)}"}}],'
        '"next_cursor":null,"has_more":false,"complete":true,"gaps":[],"why_empty":null'
    )
    assert (answer.headers["x-complete"], answer.headers["x-gaps"]) == ("true", "0")


def test_pages_hold_every_trade_once(client: Client) -> None:
    question = {"market_ticker": GOLD, "start_time": text(0), "end_time": text(100), "limit": 3}
    rows = []
    while True:
        page = client.post("/v1/trades", question).json()
        rows += page["data"]
        assert page["has_more"] == (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        question["cursor"] = page["next_cursor"]
    assert [row["trade_id"] for row in rows] == [f"trade-{n}" for n in range(7)]
    assert all(list(row) == FIELDS for row in rows)
