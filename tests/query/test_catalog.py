"""The newest versions, in whatever order they are read, and how little is held of each."""

import random
from typing import Any

import pyarrow as pa
import pytest

from lake.schemas import MARKETS
from query import catalog as catalog_module
from query import ticker_table
from query.catalog import market_versions
from query.log import Log
from query.ticker_table import TickerTable

HOUR = 3_600_000_000
H0 = 496_000
T0 = H0 * HOUR
CONN = (T0 // 1000 - 1000) * 1024


def rows(*versions: tuple[str, int, str, str | None]) -> pa.Table:
    """Return rows of markets: ticker, valid_from, status, result."""
    base = {"event_ticker": "E", "title": "t", "source": "rest"}
    return pa.Table.from_pylist(
        [
            base | {"ticker": t, "valid_from": at, "status": status, "result": result, "record": f"{t}{at}{status}"}
            for t, at, status, result in versions
        ],
        schema=MARKETS,
    )


def known(table: TickerTable) -> dict[str, tuple[Any, ...]]:
    named = ("valid_from_us", "status", "discovered_us", "resulted_us")
    return {row["ticker"]: tuple(row[name] for name in named) for row in table.frame().iter_rows(named=True)}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_order_of_reading_the_newest_counts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker_table, "MOST_RECENT", 2)
    rng = random.Random(seed)
    versions = [
        (ticker, at_us, f"s{number}", "yes" if number > 2 else None)
        for ticker in "ABC"
        for number, at_us in enumerate(sorted(rng.sample(range(100), 5)))
    ]
    found = []
    for _ in range(2):
        rng.shuffle(versions)
        table = TickerTable(catalog_module._COLUMNS, catalog_module._newest_markets)
        while_adding = list(versions)
        while while_adding:
            part = [while_adding.pop() for _ in range(min(len(while_adding), rng.randrange(1, 5)))]
            table.add(catalog_module._in_columns(rows(*part), 0, 0))
        found.append(known(table))
        for ticker in "ABC":
            alone = catalog_module._folded(table.rows(ticker))
            assert (alone["valid_from_us"], alone["discovered_us"], alone["resulted_us"]) == (
                found[-1][ticker][0], found[-1][ticker][2], found[-1][ticker][3],
            )  # fmt: skip
    assert found[0] == found[1]
    for ticker in "ABC":
        own = sorted(one for one in versions if one[0] == ticker)
        assert found[0][ticker] == (own[-1][1], own[-1][2], own[0][1], own[3][1])


def test_a_version_has_every_column_but_the_record() -> None:
    (version,) = market_versions(rows(("A", 5, "active", None)))
    assert (version.ticker, version.valid_from_us, version.discovered_us, version.status) == ("A", 5, 5, "active")
    assert not hasattr(version, "record")


def test_some_hundred_bytes_a_market_are_held_however_long_its_record() -> None:
    table = TickerTable(catalog_module._COLUMNS, catalog_module._newest_markets)
    for version in range(3):
        batch = rows(*((f"KXSERIES-26NOV24{n:06d}-T{n}.5", version * 10**6 + n, "active", None) for n in range(30_000)))
        batch = batch.set_column(batch.schema.get_field_index("record"), "record", pa.array(["x" * 3000] * 30_000))
        table.add(catalog_module._in_columns(batch, 0, 0))
    assert len(table) == 30_000
    assert table.size_bytes < 300 * 30_000


def test_events_and_series_are_found_in_folders_and_in_the_lake(journal: Any, press: Any) -> None:
    journal.row("events", event_ticker="E", valid_from=T0, series_ticker="S", title="old", category="c", record="{}")
    journal.row("events", event_ticker="E", valid_from=T0 + 5, series_ticker="S", title="new", record="{}")
    journal.row("series", series_ticker="S", valid_from=T0, title="series", category="k", record="{}")
    journal.heard(CONN, T0 + HOUR)
    journal.flush(H0)
    for finish in (lambda: None, lambda: press.finish(journal, H0)):
        finish()
        log: Log = press.log()
        with log.asked():
            event, series = log.catalog.event("E"), log.catalog.series("S")
            assert (event and event.title, series and series.category) == ("new", "k")
            assert log.catalog.event("F") is None
            assert log.catalog.series("T") is None


def test_a_table_is_as_its_columns_say() -> None:
    frame = catalog_module._in_columns(rows(("A", 5, "active", None)), 3, 7)
    assert frame.select("place", "row").row(0) == (3, 7)
    assert frame.columns == list(catalog_module._COLUMNS)
