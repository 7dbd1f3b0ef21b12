"""Rows by ticker against a plain dictionary."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from query import ticker_table
from query.ticker_table import TickerTable

SCHEMA = {"ticker": pl.String, "first": pl.Int64, "last": pl.Int64, "word": pl.Categorical}
ROWS = st.lists(st.tuples(st.sampled_from("ABCDEFGH"), st.integers(0, 50), st.sampled_from("xyz")), max_size=12)


def fold(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("ticker", maintain_order=True).agg(
        pl.col("first").min(), pl.col("last").max(), pl.col("word").last()
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=8), st.sampled_from((0, 3, 1000)))
def test_it_says_what_a_dictionary_says(batches: list[list[tuple[str, int, str]]], most_recent: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ticker_table, "MOST_RECENT", most_recent)
        table, plain = TickerTable(SCHEMA, fold), dict[str, tuple[int, int, str]]()
        for batch in batches:
            table.add(pl.DataFrame([(t, n, n, w) for t, n, w in batch], SCHEMA, orient="row"))
            for ticker, number, word in batch:
                first, last, _ = plain.get(ticker, (number, number, word))
                plain[ticker] = (min(first, number), max(last, number), word)
            for ticker in "ABCDEFGHI":
                rows = table.rows(ticker)
                assert (ticker in table) == (ticker in plain) == bool(rows)
                if rows:
                    found = min(r["first"] for r in rows), max(r["last"] for r in rows), rows[-1]["word"]
                    assert found == plain[ticker]
            assert {row[0]: row[1:] for row in table.frame().rows()} == plain
            assert len(table) == len(plain)
