"""What counts as a new version: of documents, and of messages laid over them."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from book.errors import FrameError
from book.records import HOUR_US
from book.wire.decode import decode
from book.wire.merging import OVER
from book.wire.messages import Lifecycle
from book.wire.rest import decode_event, decode_market, decode_series
from collector.versions import PAID_KEPT_US, UNSEEN_KEPT_US, Versions

MARKET: dict[str, Any] = {
    "ticker": "KXB-1-T94749.99",
    "event_ticker": "KXB-1",
    "status": "active",
    "yes_sub_title": "above",
    "title": "",
    "open_time": "2026-11-23T22:00:00Z",
    "close_time": "2026-11-24T22:00:00Z",
    "floor_strike": Decimal("94749.99"),
    "yes_bid_dollars": "0.4200",
    "volume_fp": "1.00",
    "open_interest_fp": "2.00",
    "liquidity_dollars": "0.1",
    "updated_time": "2026-11-23T22:00:03Z",
    "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
    "custom": {"b": [1, 2], "a": None},
}
EVENT: dict[str, Any] = {"event_ticker": "KXB-1", "series_ticker": "KXB", "title": "t", "category": "Crypto"}
SERIES: dict[str, Any] = {"ticker": "KXB", "title": "Bitcoin", "category": "Crypto", "frequency": "hourly"}


T0 = 500_000 * HOUR_US


def market(**changes: Any) -> Any:
    return decode_market(MARKET | changes)


def test_a_market_is_a_version_once() -> None:
    versions = Versions()
    made = versions.market(market(), 5)
    assert made is not None
    row = made.row
    assert (made.table, row["ticker"], row["valid_from"], row["title"]) == ("markets", MARKET["ticker"], 5, "above")
    assert (row["result"], row["source"], row["determined_time"]) == (None, "rest", None)
    assert versions.market(market(), 6) is None


@pytest.mark.parametrize(
    "moved",
    ["yes_bid_dollars", "volume_fp", "open_interest_fp", "liquidity_dollars", "updated_time", "yes_ask_size_fp"],
)
def test_what_moves_with_trading_makes_no_version(moved: str) -> None:
    versions = Versions()
    versions.market(market(), 5)
    assert versions.market(market(**{moved: "9.0000" if "time" not in moved else "2026-11-23T23:00:00Z"}), 6) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("status", "closed"), ("close_time", "2026-11-24T23:00:00Z"), ("floor_strike", Decimal("94750.01")), ("new", 1),
     ("price_ranges", []), ("settlement_value_dollars", "1.0000"), ("custom", {"b": [1, 3], "a": None})],
)  # fmt: skip
def test_what_lasts_makes_one(name: str, value: Any) -> None:
    versions = Versions()
    versions.market(market(), 5)
    assert versions.market(market(**{name: value}), 6) is not None
    assert versions.market(market(**{name: value}), 7) is None


def test_the_order_of_keys_makes_no_version() -> None:
    versions = Versions()
    versions.market(market(), 5)
    assert versions.market(decode_market(dict(reversed(MARKET.items()))), 6) is None


def test_a_market_takes_series_and_category_from_its_event() -> None:
    versions = Versions()
    versions.event(decode_event(EVENT), 4)
    made = versions.market(market(), 5)
    assert made is not None
    row = made.row
    assert (row["series_ticker"], row["category"]) == ("KXB", "Crypto")


def test_an_event_is_the_same_whatever_markets_it_carries() -> None:
    versions = Versions()
    made = versions.event(decode_event(EVENT | {"markets": [MARKET]}), 4)
    assert made is not None
    assert "markets" not in made.row["record"]
    assert versions.event(decode_event(EVENT), 5) is None
    assert versions.event(decode_event(EVENT | {"title": "u"}), 6) is not None


def test_series_are_versions_too() -> None:
    versions = Versions()
    assert not versions.knows("series", "KXB")
    assert versions.series(decode_series(SERIES), 4) is not None
    assert versions.knows("series", "KXB")
    assert versions.series(decode_series(SERIES), 5) is None


@pytest.mark.parametrize("status", sorted(OVER))
def test_a_market_is_unfinished_until_it_has_its_result(status: str) -> None:
    versions = Versions()
    versions.market(market(), 5)
    versions.market(market(status="closed"), 6)
    assert versions.unfinished == {MARKET["ticker"]}
    versions.market(market(status=status), 7)
    assert versions.unfinished == set()


def said(kind: str, ticker: str = MARKET["ticker"], channel: str = "market_lifecycle_v2", **fields: Any) -> Lifecycle:
    body = {"event_type": kind, "market_ticker": ticker, **fields}
    if channel != "market_lifecycle_v2":
        body = fields
    message = decode(msgspec.json.encode({"type": channel, "sid": 1, "seq": 1, "msg": body}))
    assert isinstance(message, Lifecycle)
    return message


RANGES = [{"start": "0.0000", "end": "1.0000", "step": "0.0010"}]


@pytest.mark.parametrize(
    ("message", "columns", "followed_by"),
    [
        (said("deactivated", is_deactivated=True), {"status": "inactive"}, {"status": "inactive"}),
        (said("close_date_updated", close_ts=1_795_615_200), {"close_time": 1_795_615_200_000_000},
         {"close_time": "2026-11-25T14:00:00Z"}),
        (said("price_level_structure_updated", price_level_structure="deci_cent", price_ranges=RANGES),
         {"price_level_structure": "deci_cent", "price_ranges": msgspec.json.encode(RANGES).decode()},
         {"price_level_structure": "deci_cent", "price_ranges": RANGES}),
        (said("metadata_updated", floor_strike=94801.33, yes_sub_title="Target"), {"title": "Target"},
         {"floor_strike": Decimal("94801.33"), "yes_sub_title": "Target"}),
        (said("determined", result="no", settlement_value="0.0000", determination_ts=1_795_626_000),
         {"status": "determined", "result": "no", "settlement_value_e4": 0, "determined_time": 1_795_626_000_000_000},
         {"status": "determined", "result": "no", "settlement_value_dollars": "0.0000"}),
        (said("settled", settled_ts=1_795_629_605),
         {"status": "finalized", "settled_time": 1_795_629_605_000_000},
         {"status": "finalized", "settlement_ts": "2026-11-25T18:00:05Z"}),
    ],
)  # fmt: skip
def test_a_message_makes_a_version_at_its_stamp_and_the_document_that_follows_none(
    message: Lifecycle, columns: dict[str, Any], followed_by: dict[str, Any]
) -> None:
    versions = Versions()
    before = versions.market(market(), T0)
    made = versions.heard(message, T0 + 5)
    assert before is not None
    assert made is not None
    row = made.row
    assert (row["valid_from"], row["source"]) == (T0 + 5, "lifecycle")
    assert {name: row[name] for name in columns} == columns
    same = set(before.row) - set(columns) - {"valid_from", "source", "record", "status"}
    assert {name: row[name] for name in same} == {name: before.row[name] for name in same}
    assert versions.market(market(**followed_by), T0 + 9, T0 + 6) is None
    further = versions.market(market(**followed_by, expiration_value="7"), T0 + 10, T0 + 6)
    assert further is not None
    assert further.row["source"] == "rest"


def test_the_record_of_a_message_says_nothing_of_prices() -> None:
    versions = Versions()
    versions.market(market(), T0)
    made = versions.heard(said("deactivated"), T0 + 5)
    assert made is not None
    assert "yes_bid_dollars" not in made.row["record"]
    assert '"floor_strike":94749.99' in made.row["record"]


CREATED: dict[str, Any] = {
    "exchange_index": 2, "open_ts": 1_795_551_300, "close_ts": 1_795_552_200, "price_level_structure": "deci_cent",
    "price_ranges": RANGES,
    "additional_metadata": {
        "name": "n", "title": "BTC up?", "yes_sub_title": "y", "no_sub_title": "n", "rules_primary": "p",
        "rules_secondary": "", "can_close_early": True, "event_ticker": "KXC-1",
        "expected_expiration_ts": 1_795_552_500, "strike_type": "greater",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("at_us", "status"), [(1_795_551_299_999_999, "initialized"), (1_795_551_300_000_000, "active")]
)
def test_a_market_is_known_whole_from_the_message_that_creates_it(at_us: int, status: str) -> None:
    made = Versions().heard(said("created", "NEW", **CREATED), at_us)
    assert made is not None
    row = made.row
    assert (row["ticker"], row["event_ticker"], row["title"], row["status"]) == ("NEW", "KXC-1", "BTC up?", status)
    assert (row["open_time"], row["close_time"]) == (1_795_551_300_000_000, 1_795_552_200_000_000)
    assert row["price_ranges"] == msgspec.json.encode(RANGES).decode()
    assert '"expected_expiration_time":"2026-11-24T20:35:00Z"' in row["record"]
    assert '"exchange_index":2' in row["record"]


@pytest.mark.parametrize("kind", ["activated", "metadata_updated", "settled", "something_new"])
def test_of_a_market_never_heard_of_only_its_creation_says_enough(kind: str) -> None:
    assert Versions().heard(said(kind, settled_ts=5, yes_sub_title="x"), T0) is None


def test_a_kind_not_known_yet_changes_nothing() -> None:
    versions = Versions()
    versions.market(market(), T0)
    assert versions.heard(said("something_new", close_ts=1_795_615_200), T0 + 1) is None


@pytest.mark.parametrize("kind", ["created", "activated", "deactivated", "determined"])
def test_no_message_takes_a_market_back(kind: str) -> None:
    versions = Versions()
    versions.market(market(status="finalized", result="yes"), T0)
    fields = CREATED if kind == "created" else {"result": "yes"} if kind == "determined" else {}
    assert versions.heard(said(kind, **fields), T0 + 1) is None
    assert versions.unfinished == set()


def test_a_document_asked_for_before_a_message_says_nothing() -> None:
    versions = Versions()
    versions.market(market(), T0)
    assert versions.heard(said("deactivated"), T0 + 5) is not None
    assert versions.market(market(), T0 + 9, T0 + 4) is None
    assert versions.market(market(), T0 + 9, T0 + 5) is None
    assert versions.market(market(), T0 + 9, T0 + 6) is not None


def test_nor_does_one_asked_for_before_a_message_that_says_nothing_known() -> None:
    versions = Versions()
    versions.market(market(), T0)
    assert versions.heard(said("something_new"), T0 + 5) is None
    assert versions.market(market(status="inactive"), T0 + 9, T0 + 4) is None
    assert versions.market(market(status="inactive"), T0 + 9, T0 + 6) is not None


@pytest.mark.parametrize("kind", ["activated", "deactivated", "determined"])
def test_a_market_that_is_determined_stays_so_until_it_is_paid_out(kind: str) -> None:
    versions = Versions()
    versions.market(market(status="amended", result="yes"), T0)
    assert versions.heard(said(kind, result="yes"), T0 + 1) is None
    settled = versions.heard(said("settled", settled_ts=5), T0 + 2)
    assert settled is not None
    assert settled.row["status"] == "finalized"


def test_versions_of_a_record_have_stamps_that_grow_within_their_hour() -> None:
    versions = Versions()
    versions.market(market(), T0)
    made = versions.heard(said("deactivated"), T0)
    assert made is not None
    assert made.row["valid_from"] == T0 + 1
    last = Versions()
    last.market(market(), T0 - 1)
    assert last.heard(said("deactivated"), T0 - 1) is None
    assert last.market(market(status="inactive"), T0 + 5) is not None


def test_when_it_was_determined_is_kept_by_the_versions_that_follow_and_told_where_it_comes_late() -> None:
    versions = Versions()
    versions.market(market(status="determined", result="no", settlement_value_dollars="0.0000"), T0)
    determined = said("determined", result="no", settlement_value="0.0000", determination_ts=1_795_626_000)
    late = versions.heard(determined, T0 + 1)
    assert late is not None
    assert late.row["determined_time"] == 1_795_626_000_000_000
    done = market(
        status="finalized", result="no", settlement_value_dollars="0.0000", settlement_ts="2026-11-25T18:00:05Z"
    )
    settled = versions.market(done, T0 + 2)
    assert settled is not None
    assert settled.row["determined_time"] == 1_795_626_000_000_000
    assert versions.market(done, T0 + 3) is None


def test_an_event_is_known_from_its_creation_and_its_fees_are_followed() -> None:
    versions = Versions()
    created = said(
        "", channel="event_lifecycle", event_ticker="KXC-1", title="T", subtitle="S", collateral_return_type="MECNET",
        series_ticker="KXC", strike_date=1_795_582_800, exchange_index=0,
    )  # fmt: skip
    made = versions.heard(created, T0)
    assert made is not None
    assert (made.table, made.row["series_ticker"], made.row["sub_title"]) == ("events", "KXC", "S")
    assert '"strike_date":"2026-11-25T05:00:00Z"' in made.row["record"]
    fee = {"event_ticker": "KXC-1", "fee_type_override": "quadratic", "fee_multiplier_override": 1}
    raised = versions.heard(said("", channel="event_fee_update", **fee), T0 + 1)
    assert raised is not None
    assert '"fee_type_override":"quadratic"' in raised.row["record"]
    cleared = versions.heard(
        said("", channel="event_fee_update", **fee | {"fee_type_override": None, "fee_multiplier_override": None}),
        T0 + 2,
    )
    assert cleared is not None
    assert "fee_" not in cleared.row["record"]
    row = versions.market(market(event_ticker="KXC-1"), T0 + 3)
    assert row is not None
    assert row.row["series_ticker"] == "KXC"


def test_a_message_that_cannot_be_read_into_a_record_is_said() -> None:
    versions = Versions()
    versions.market(market(), T0)
    with pytest.raises(FrameError):
        versions.heard(said("metadata_updated", yes_sub_title=5), T0 + 1)
    assert versions.market(market(), T0 + 9) is None


def test_what_is_paid_out_is_let_go_and_what_is_open_is_not() -> None:
    versions = Versions()
    versions.market(market(), T0)
    for number in range(100):
        versions.market(market(ticker=f"M{number}", status="finalized"), T0)
    assert versions.tidy(T0 + PAID_KEPT_US) == 0
    assert versions.tidy(T0 + PAID_KEPT_US + 1) == 100
    assert len(versions) == 1
    assert versions.market(market(), T0 + PAID_KEPT_US + 2) is None


def test_what_was_let_go_and_is_spoken_of_again_is_a_version_once_more_and_no_oftener() -> None:
    versions = Versions()
    made = []
    for hour in range(1000):
        now_us = T0 + hour * HOUR_US
        made.append(versions.market(market(status="finalized"), now_us))
        versions.tidy(now_us)
    assert sum(one is not None for one in made) == 1
    later_us = T0 + 1000 * HOUR_US + PAID_KEPT_US
    versions.tidy(later_us)
    again = [versions.market(market(status="finalized"), later_us + number) for number in range(3)]
    assert [one is not None for one in again] == [True, False, False]


def test_a_market_that_nobody_speaks_of_any_more_is_not_waited_for_for_ever() -> None:
    versions = Versions()
    versions.market(market(), T0)
    versions.event(decode_event(EVENT), T0)
    versions.tidy(T0 + UNSEEN_KEPT_US + 1)
    assert (len(versions), versions.unfinished) == (0, set())
