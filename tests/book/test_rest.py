"""REST documents both ways: nothing lost, nothing rounded, legacy forms read."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.errors import FrameError
from book.wire import lifecycle
from book.wire.rest import (
    EventDoc,
    MarketDoc,
    Quote,
    SeriesDoc,
    TradeDoc,
    decode_event,
    decode_market,
    decode_orderbook,
    decode_series,
    decode_trade,
    encode_event,
    encode_market,
    encode_series,
    orderbook_body,
    parse_document,
    parse_time_us,
    render_document,
    time_text,
    trade_body,
)

MARKET = b"""{"ticker":"KXBTCD-26NOV2417-T94749.99","event_ticker":"KXBTCD-26NOV2417","market_type":"binary",
"yes_sub_title":"$94,750 or above","no_sub_title":"$94,750 or above","status":"active",
"created_time":"2026-11-23T22:00:03.114Z","updated_time":"2026-11-23T22:00:03.114Z","open_time":"2026-11-23T22:00:00Z",
"close_time":"2026-11-24T22:00:00Z","expected_expiration_time":"2026-11-24T22:05:00Z",
"latest_expiration_time":"2026-12-01T22:00:00Z","settlement_timer_seconds":60,"yes_bid_dollars":"0.4200",
"result":"","strike_type":"greater","floor_strike":94749.99,"rules_primary":"...","rules_secondary":"","title":"t",
"price_level_structure":"linear_cent","price_ranges":[{"start":"0.0000","end":"1.0000","step":"0.0100"}],
"exchange_index":2,"a_new_key":{"x":1.10}}"""


def test_a_market_loses_nothing() -> None:
    document = parse_document(MARKET)
    market = decode_market(document)
    assert encode_market(market) == document
    assert json.loads(render_document(encode_market(market))) == json.loads(MARKET)
    assert (market.floor_strike, market.cap_strike) == ("94749.99", None)
    assert market.open_us == parse_time_us("2026-11-23T22:00:00Z")
    assert market.settlement_value_e4 is None


def test_a_quote_is_laid_over_the_document() -> None:
    market = decode_market(parse_document(MARKET))
    shown = encode_market(market, Quote(yes_bid=(4200, 5537), yes_ask=(4400, 14650), last_price_e4=4300, volume_e2=100))
    assert (shown["yes_bid_dollars"], shown["yes_bid_size_fp"], shown["no_ask_dollars"]) == (
        "0.4200",
        "55.37",
        "0.5800",
    )
    assert (shown["yes_ask_dollars"], shown["no_bid_dollars"], shown["volume_fp"]) == ("0.4400", "0.5600", "1.00")
    empty = encode_market(market, Quote())
    assert (empty["yes_bid_dollars"], empty["yes_ask_dollars"], empty["last_price_dollars"]) == (
        "0.0000", "1.0000", "0.0000",
    )  # fmt: skip


def test_settlement_and_absent_fields() -> None:
    market = MarketDoc(ticker="A", event_ticker="E", settlement_value_e4=10_000, settlement_us=1_500_000, result="yes")
    document = encode_market(market)
    assert (document["settlement_value_dollars"], document["settlement_ts"]) == ("1.0000", "1970-01-01T00:00:01.5Z")
    assert "open_time" not in document
    again = decode_market(document)
    assert (again.settlement_value_e4, again.settlement_us, again.result) == (10_000, 1_500_000, "yes")


@pytest.mark.parametrize(
    "change",
    [{"ticker": None}, {"ticker": 5}, {"open_time": "yesterday"}, {"open_time": "2026-11-24T22:00:00"},
     {"settlement_value_dollars": "0.33333"}],
)  # fmt: skip
def test_an_unreadable_market_is_refused_by_name(change: dict[str, Any]) -> None:
    document = parse_document(MARKET) | change
    with pytest.raises(FrameError, match="market: "):
        decode_market(document)
    del document["ticker"]
    with pytest.raises(FrameError, match="missing 'ticker'"):
        decode_market(document)


@given(st.integers(-(10**15), 10**16))
def test_times_round_trip(time_us: int) -> None:
    assert parse_time_us(time_text(time_us)) == time_us


def test_zero_time_is_none_and_zones_are_read() -> None:
    assert decode_event({"event_ticker": "E", "strike_date": "0001-01-01T00:00:00Z"}).strike_us is None
    assert parse_time_us("1970-01-01T01:00:00.0000015+01:00") == 1


def test_events_and_series_lose_nothing() -> None:
    event = {
        "event_ticker": "E",
        "series_ticker": "S",
        "title": "t",
        "sub_title": "",
        "mutually_exclusive": True,
        "x": 1,
    }
    assert encode_event(decode_event(event | {"markets": [1]})) == event
    assert decode_event(event) == EventDoc(
        event_ticker="E", series_ticker="S", title="t", mutually_exclusive=True, raw=event
    )
    series = {"ticker": "S", "title": "t", "frequency": "daily", "category": "Crypto", "fee_multiplier": Decimal("0.5")}
    assert encode_series(decode_series(series)) == series
    assert decode_series(series) == SeriesDoc(ticker="S", title="t", category="Crypto", frequency="daily", raw=series)
    for decode in (decode_event, decode_series):
        with pytest.raises(FrameError, match="missing"):
            decode({})


levels = st.dictionaries(
    st.tuples(st.sampled_from([0, 1]), st.integers(0, 10_000)), st.integers(1, 10**10), max_size=20
).map(lambda found: sorted((s, p, q) for (s, p), q in found.items()))


@given(levels)
def test_orderbook_round_trip(rows: list[tuple[int, int, int]]) -> None:
    assert decode_orderbook(orderbook_body(rows)) == rows


def test_depth_keeps_the_best() -> None:
    body = orderbook_body([(0, 100, 1), (0, 300, 3), (0, 200, 2), (1, 5000, 4)], depth=2)
    assert body["orderbook_fp"] == {
        "yes_dollars": [["0.0200", "0.02"], ["0.0300", "0.03"]], "no_dollars": [["0.5000", "0.04"]],
    }  # fmt: skip


def test_legacy_orderbooks() -> None:
    assert decode_orderbook({"orderbook": {"yes": [[42, 7]], "no": None}}) == [(0, 4200, 700)]
    assert decode_orderbook({"orderbook": {"no_dollars": [["0.5600", 3]]}}) == [(1, 5600, 300)]
    assert decode_orderbook({"orderbook": {"yes": None, "no": None}}) == []
    for bad in (
        {"orderbook": {"yes": [[420, 7]]}},
        {"orderbook_fp": {"yes_dollars": [["0.00001", "1"]]}},
        {"orderbook": 5},
    ):
        with pytest.raises(FrameError, match="orderbook: "):
            decode_orderbook(bad)


@given(
    st.builds(
        TradeDoc, ticker=st.just("A"), trade_id=st.just("x"), yes_price_e4=st.integers(0, 10_000),
        qty_e2=st.integers(0, 10**9), taker_side=st.sampled_from([None, 0, 1]), block=st.none() | st.booleans(),
        created_us=st.one_of(st.none(), st.integers(0, 10**16)),
    )
)  # fmt: skip
def test_trade_round_trip(trade: TradeDoc) -> None:
    assert decode_trade(trade_body(trade)) == trade


def test_legacy_trade() -> None:
    old = {"trade_id": "x", "ticker": "A", "yes_price": 27, "count": 7, "taker_side": "no"}
    assert decode_trade(old) == TradeDoc(ticker="A", trade_id="x", yes_price_e4=2700, qty_e2=700, taker_side=1)
    with pytest.raises(FrameError, match="trade: "):
        decode_trade(old | {"count": "0.005"})


def test_bodies_that_are_no_documents() -> None:
    for body in (b"", b"[]", b"<html>", b"\xff"):
        with pytest.raises(FrameError):
            parse_document(body)


def test_lifecycle_bodies() -> None:
    market = decode_market(parse_document(MARKET))
    body = lifecycle.created(market)
    assert (body["open_ts"], body["close_ts"]) == (1795471200, 1795557600)
    more = body["additional_metadata"]
    assert {"name", "title", "yes_sub_title", "no_sub_title", "rules_primary", "rules_secondary", "can_close_early",
            "event_ticker", "expected_expiration_ts"} <= more.keys()  # fmt: skip
    assert b'"floor_strike":94749.99' in render_document(body)
    assert lifecycle.determined("A", "no", 0, 1_784_501_722_900_000) == {
        "event_type": "determined", "market_ticker": "A", "result": "no", "settlement_value": "0.0000",
        "determination_ts": 1784501722,
    }  # fmt: skip
    assert lifecycle.settled("A", 5_000_000)["settled_ts"] == 5
    assert lifecycle.close_date_updated("A", 5_000_000)["close_ts"] == 5
    assert (lifecycle.deactivated("A")["is_deactivated"], lifecycle.activated("A")["is_deactivated"]) == (True, False)
    assert (
        lifecycle.event_created(EventDoc(event_ticker="E", series_ticker="S", strike_us=1_000_000))["strike_date"] == 1
    )


def test_recorded_metadata_reads(recorded_data: Path | None) -> None:
    if recorded_data is None:
        pytest.skip("no recorded metadata here")
    files = sorted((recorded_data / "kalshi-gold15m" / "metadata").glob("*.json"))
    assert files
    for path in files:
        document = parse_document(path.read_bytes())["response"]
        market = decode_market(document["markets"][0])
        assert encode_market(market) == document["markets"][0]
        assert market.result in {"yes", "no"}
        assert encode_event(decode_event(document["event"])) == document["event"]
