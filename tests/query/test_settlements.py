"""What markets came to, asked of the API's reader and of SQL."""

from typing import Any

import pytest

from book.errors import ApiError
from query.log import Log
from query.settlements import Settlement, SettlementFilter, settlement, settlements
from query.sql.session import Session

HOUR = 3_600_000_000
H0 = 496_000
T0 = H0 * HOUR
CONN = (T0 // 1000 - 1000) * 1024


@pytest.fixture
def ended(journal: Any) -> Any:
    journal.row("events", event_ticker="E", valid_from=T0, series_ticker="S", title="e", record="{}")
    journal.market("A", T0 + 1, event_ticker="E")
    journal.market(
        "A", T0 + 30, event_ticker="E", status="determined", result="yes", settlement_value_e4=10_000,
        determined_time=T0 + 20, source="lifecycle",
    )  # fmt: skip
    journal.market(
        "A", T0 + 60, event_ticker="E", status="finalized", result="yes", settlement_value_e4=10_000,
        determined_time=T0 + 20, settled_time=T0 + 50,
    )  # fmt: skip
    journal.market("B", T0 + 40, event_ticker="E", status="determined", result="no", settlement_value_e4=0)
    journal.market("B", T0 + 70, event_ticker="E", status="amended", result="scalar", settlement_value_e4=4_200)
    journal.market("C", T0 + 5, event_ticker="F", status="determined", result="no", series_ticker="T")
    journal.market("OPEN", T0 + 6, event_ticker="E")
    journal.heard(CONN, T0 + HOUR)
    journal.flush(H0)
    return journal


A = Settlement("A", "E", None, "yes", 10_000, T0 + 20, T0 + 50)
B = Settlement("B", "E", None, "scalar", 4_200, T0 + 40, None)
C = Settlement("C", "F", "T", "no", None, T0 + 5, None)


def found(log: Log, **chosen: Any) -> list[Settlement]:
    return settlements(log, SettlementFilter(**chosen)).settlements


def test_determined_last_first(ended: Any, log: Log) -> None:
    assert found(log) == [B, A, C]


def test_filters(ended: Any, log: Log) -> None:
    assert found(log, event_ticker="E") == [B, A]
    assert found(log, series_ticker="S") == [B, A]
    assert found(log, series_ticker="T") == [C]
    assert found(log, result="yes") == [A]
    assert found(log, from_us=T0 + 20, to_us=T0 + 40) == [A]
    assert found(log, from_us=T0 + 21) == [B]
    assert found(log, to_us=T0 + 20) == [C]


def test_pages(ended: Any, log: Log) -> None:
    first = settlements(log, limit=2)
    assert (first.settlements, first.has_more) == ([B, A], True)
    second = settlements(log, limit=2, cursor=first.next_cursor)
    assert (second.settlements, second.has_more, second.next_cursor) == ([C], False, None)
    with pytest.raises(ApiError) as caught:
        settlements(log, SettlementFilter(result="no"), 2, first.next_cursor)
    assert caught.value.code == "invalid_cursor"


def test_one(ended: Any, log: Log) -> None:
    assert settlement(log, "A") == A
    assert settlement(log, "OPEN") is None
    assert settlement(log, "NOSUCH") is None


def test_sql_says_the_same(ended: Any, press: Any) -> None:
    press.finish(ended, H0)
    sql = Session(press.lake)
    rows = sql.connection.execute(
        "SELECT market_ticker, event_ticker, result, settlement_value_e4, epoch_us(determined_at), "
        "epoch_us(settled_at) FROM settlements ORDER BY determined_at DESC"
    ).fetchall()
    assert rows == [(s.ticker, s.event_ticker, s.result, s.settlement_value_e4, s.determined_us, s.settled_us)
                    for s in (B, A, C)]  # fmt: skip
    assert [str(row[0]) for row in sql.connection.execute(
        "SELECT settlement_value FROM settlements WHERE settlement_value IS NOT NULL ORDER BY 1"
    ).fetchall()] == ["0.4200", "1.0000"]  # fmt: skip
    sql.close()
