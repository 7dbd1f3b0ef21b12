"""The list of markets and its filters."""

from typing import Any

import pytest

from book.errors import ApiError
from query.log import Log
from query.markets import MarketFilter, market, markets

HOUR = 3_600_000_000
H0 = 496_000
T0 = H0 * HOUR + HOUR // 2
CONN = (T0 // 1000 - 1000) * 1024


@pytest.fixture
def listed(journal: Any) -> Any:
    journal.row("series", series_ticker="KXGOLD", valid_from=T0, title="Gold", category="Commodities", record="{}")
    journal.row(
        "events", event_ticker="KXGOLD-1", valid_from=T0, series_ticker="KXGOLD", title="Gold at 1", record="{}"
    )
    journal.market("KXGOLD-1-T1", T0, event_ticker="KXGOLD-1", title="Above 1?")
    journal.market("KXGOLD-1-T2", T0 + 1, event_ticker="KXGOLD-1", title="Above 2?")
    journal.market("KXRAIN-9", T0 + 2, event_ticker="KXRAIN", category="Climate", series_ticker="KXRAIN", title="Rain?")
    journal.snapshot("KXGOLD-1-T1", T0 + 10, CONN, 1, [])
    journal.delta("KXGOLD-1-T1", T0 + 20, CONN, 2, 0, 100, 1)
    journal.snapshot("KXRAIN-9", T0 + 500, CONN, 3, [])
    journal.heard(CONN, T0 + 600)
    journal.flush()
    return journal


def tickers(log: Log, **chosen: Any) -> list[str]:
    return [view.ticker for view in markets(log, MarketFilter(**chosen)).markets]


def test_newest_discovered_first(listed: Any, log: Log) -> None:
    assert tickers(log) == ["KXRAIN-9", "KXGOLD-1-T2", "KXGOLD-1-T1"]
    listed.market("KXGOLD-1-T1", T0 + 1000, event_ticker="KXGOLD-1", title="Above 1!", status="settled", result="yes")
    listed.flush()
    assert tickers(log) == ["KXRAIN-9", "KXGOLD-1-T2", "KXGOLD-1-T1"]
    found = market(log, "KXGOLD-1-T1").market
    assert found is not None
    assert (found.title, found.result, found.discovered_us, found.valid_from_us) == ("Above 1!", "yes", T0, T0 + 1000)


def test_filters(listed: Any, log: Log) -> None:
    listed.market("KXGOLD-1-T2", T0 + 1000, event_ticker="KXGOLD-1", title="Above 2?", status="settled", result="no")
    listed.flush()
    gold = ["KXGOLD-1-T2", "KXGOLD-1-T1"]
    assert tickers(log, status="settled") == ["KXGOLD-1-T2"]
    assert tickers(log, event_ticker="KXGOLD-1") == gold
    assert tickers(log, series_ticker="KXGOLD") == gold
    assert tickers(log, category="Commodities") == gold
    assert tickers(log, category="Climate") == ["KXRAIN-9"]
    assert tickers(log, q="above") == gold
    assert tickers(log, q="kxrain") == ["KXRAIN-9"]
    assert tickers(log, recorded_from_us=T0 + 21) == ["KXRAIN-9"]
    assert tickers(log, recorded_to_us=T0 + 500) == ["KXGOLD-1-T1"]
    assert tickers(log, recorded_from_us=T0, recorded_to_us=T0 + 501) == ["KXRAIN-9", "KXGOLD-1-T1"]
    assert tickers(log, updated_since_us=T0 + 3) == ["KXGOLD-1-T2"]
    assert tickers(log, status="settled", q="rain") == []


def test_pages(listed: Any, log: Log) -> None:
    first = markets(log, limit=2)
    assert ([view.ticker for view in first.markets], first.has_more) == (["KXRAIN-9", "KXGOLD-1-T2"], True)
    listed.market("KXNEW", T0 + 2000)
    listed.flush()
    second = markets(log, limit=2, cursor=first.next_cursor)
    assert ([view.ticker for view in second.markets], second.has_more) == (["KXGOLD-1-T1"], False)
    with pytest.raises(ApiError):
        markets(log, MarketFilter(status="active"), 2, first.next_cursor)


def test_one_market(listed: Any, log: Log) -> None:
    listed.snapshot("UNLISTED", T0 + 700, CONN, 9, [])
    listed.flush()
    view = market(log, "KXGOLD-1-T1")
    assert (view.series_ticker, view.category, view.stats.delta_count, view.stats.first_data_us) == (
        "KXGOLD",
        "Commodities",
        1,
        T0 + 10,
    )
    assert view.event is not None
    assert view.event.title == "Gold at 1"
    unlisted = market(log, "UNLISTED")
    assert (unlisted.market, unlisted.stats.snapshot_count) == (None, 1)
    with pytest.raises(ApiError) as caught:
        market(log, "NOSUCH")
    assert caught.value.code == "market_not_found"
