"""What counts as a new version, and that a restart remembers."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from book.wire.rest import decode_event, decode_market, decode_series
from collector.journal import Journal
from collector.metadata import FINISHED, Versions
from collector.rows import TableRows
from collector.session import Taken
from lake import paths

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


def market(**changes: Any) -> Any:
    return decode_market(MARKET | changes)


def test_a_market_is_a_version_once() -> None:
    versions = Versions()
    row = versions.market(market(), 5)
    assert row is not None
    assert (row["ticker"], row["valid_from"], row["title"], row["result"]) == (MARKET["ticker"], 5, "above", None)
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
    row = versions.market(market(), 5)
    assert row is not None
    assert (row["series_ticker"], row["category"]) == ("KXB", "Crypto")


def test_an_event_is_the_same_whatever_markets_it_carries() -> None:
    versions = Versions()
    row = versions.event(decode_event(EVENT | {"markets": [MARKET]}), 4)
    assert row is not None
    assert "markets" not in row["record"]
    assert versions.event(decode_event(EVENT), 5) is None
    assert versions.event(decode_event(EVENT | {"title": "u"}), 6) is not None


def test_series_are_versions_too() -> None:
    versions = Versions()
    assert not versions.knows("series", "KXB")
    assert versions.series(decode_series(SERIES), 4) is not None
    assert versions.knows("series", "KXB")
    assert versions.series(decode_series(SERIES), 5) is None


@pytest.mark.parametrize("status", sorted(FINISHED))
def test_a_market_is_unfinished_until_it_has_its_result(status: str) -> None:
    versions = Versions()
    versions.market(market(), 5)
    versions.market(market(status="closed"), 6)
    assert versions.unfinished == {MARKET["ticker"]}
    versions.market(market(status=status), 7)
    assert versions.unfinished == set()


def test_a_restart_makes_no_second_version_of_anything(tmp_path: Path) -> None:
    before = Versions()
    tables = {name: TableRows(name) for name in ("markets", "events", "series")}
    tables["events"].add(**(before.event(decode_event(EVENT), 4) or {}))
    tables["series"].add(**(before.series(decode_series(SERIES), 4) or {}))
    tables["markets"].add(**(before.market(market(), 5) or {}))
    tables["markets"].add(**(before.market(market(status="closed"), 6) or {}))
    journal = Journal(tmp_path, 0, seal_s=9.0, monotonic_s=lambda: 0.0)
    journal.write(7, Taken({name: rows.take() for name, rows in tables.items()}, {}, [], set(), 9))
    journal.close()
    after = Versions()
    after.load(tmp_path, 0)
    assert after.market(market(status="closed"), 9) is None
    assert after.event(decode_event(EVENT), 9) is None
    assert after.series(decode_series(SERIES), 9) is None
    assert after.series_of == {"KXB-1": "KXB"}
    assert after.unfinished == {MARKET["ticker"]}
    assert after.market(market(), 9) is not None


def test_an_hour_that_cannot_be_read_is_passed_over_and_named(tmp_path: Path) -> None:
    versions = Versions()
    journal = Journal(tmp_path, 0, seal_s=9.0, monotonic_s=lambda: 0.0)
    for hour, status in ((7, "active"), (8, "closed")):
        rows = TableRows("markets")
        rows.add(**(versions.market(market(status=status), hour) or {}))
        journal.write(hour, Taken({"markets": rows.take()}, {}, [], set(), hour))
    journal.close()
    path = paths.hour_dir(tmp_path, 0, 7) / paths.segment_name("markets", 0)
    path.write_bytes(path.read_bytes()[:-40])
    after = Versions()
    after.load(tmp_path, 0)
    assert len(after.unreadable) == 1
    assert after.market(market(status="closed"), 9) is None
