"""Tests of query.corrections: hours published, and published again where their log had more to say."""

from pathlib import Path

import pytest

from book.errors import ApiError
from lake.publishing import publish
from query.corrections import Correction, CorrectionPage, CorrectionReader
from tests.query.conftest import H0, HOUR, Journal

SECOND = 1_000_000
CONN = (H0 * HOUR // 1000 << 10) + 1024
PUBLISHED_US = (H0 + 2) * HOUR
TICKERS = ("KXA", "KXB", "KXC")


def at(second: float) -> int:
    return H0 * HOUR + int(second * SECOND)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """One hour of three markets, then what was found out in the next hour, market by market, and published."""
    home, lake = tmp_path / "home", tmp_path / "lake"
    log = Journal(home)
    for n, ticker in enumerate(TICKERS):
        log.snapshot(ticker, at(10), CONN, 3 * n + 1, [(0, 4500, 100)])
        log.delta(ticker, at(20), CONN, 3 * n + 2, 0, 4500, 50, at(20))
        log.delta(ticker, at(30), CONN, 3 * n + 3, 0, 4500, 50, at(30))
    log.heard(CONN, at(3600), 9)
    log.flush()
    _publish(home, lake, "hour", 0)
    for n, ticker in enumerate(TICKERS[:2]):
        log.close(ticker, at(21), CONN, 3 * n + 2, "audit_mismatch")
        log.heard(CONN, at(3700 + n), 9)
        log.flush(H0 + 1)
        _publish(home, lake, "late", n + 1)
    return lake


def _publish(home: Path, lake: Path, reason: str, second: int) -> None:
    assert publish.publish_hours(lake, home, [H0], now_us=lambda: PUBLISHED_US + second * SECOND, reason=reason)


def ask(lake: Path, since_us: int | None = None, limit: int = 100, cursor: str | None = None) -> CorrectionPage:
    return CorrectionReader(lake).page(since_us, limit, cursor)


def test_each_new_version_tells_what_it_changed_once(lake: Path) -> None:
    page = ask(lake)

    assert [(row.ticker, row.old_version, row.new_version) for row in page.corrections] == [
        ("KXA", 1, 2),
        ("KXB", 2, 3),
    ]
    assert [row.ts_us for row in page.corrections] == [PUBLISHED_US + SECOND, PUBLISHED_US + 2 * SECOND]
    assert {(row.hour_us, row.reason) for row in page.corrections} == {(H0 * HOUR, "correction")}
    assert all("audit_mismatch" in row.detail for row in page.corrections)
    assert (page.next_cursor, page.has_more) == (None, False)


@pytest.mark.parametrize(("since", "tickers"), [(0, "AB"), (1, "AB"), (1.000001, "B"), (2, "B"), (2.000001, "")])
def test_since_is_the_time_of_publication(lake: Path, since: float, tickers: str) -> None:
    page = ask(lake, PUBLISHED_US + round(since * SECOND))

    assert [row.ticker for row in page.corrections] == [f"KX{each}" for each in tickers]


def test_pages_come_to_the_whole(lake: Path) -> None:
    reader = CorrectionReader(lake)
    whole = reader.page(None, 100, None).corrections
    found: list[Correction] = []
    cursor = None
    for _ in whole:
        page = reader.page(None, 1, cursor)
        found += page.corrections
        cursor = page.next_cursor
        assert page.has_more == (cursor is not None) == (len(found) < len(whole))
    assert found == whole


def test_a_page_goes_on_where_it_ended_when_more_was_published_meanwhile(tmp_path: Path, lake: Path) -> None:
    reader = CorrectionReader(lake)
    first = reader.page(None, 1, None)
    log = Journal(tmp_path / "home", shard=1)  # a second recorder, found late
    log.snapshot("KXD", at(40), CONN + 1, 1, [(1, 300, 100)])
    log.heard(CONN + 1, at(3599), 1)
    log.flush()
    _publish(tmp_path / "home", lake, "late", 3)

    assert [row.ticker for row in reader.page(None, 100, first.next_cursor).corrections] == ["KXB", "KXD"]
    assert reader.page(None, 100, None).corrections[-1].reason == "late"


def test_a_cursor_of_another_question_is_refused(lake: Path) -> None:
    cursor = ask(lake, limit=1).next_cursor
    with pytest.raises(ApiError) as caught:
        ask(lake, PUBLISHED_US, cursor=cursor)

    assert caught.value.code == "invalid_cursor"


def test_a_lake_that_is_not_there_yet_has_none(tmp_path: Path) -> None:
    assert ask(tmp_path / "none") == CorrectionPage([], None, False)
