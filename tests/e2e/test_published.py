"""The main job with publication on: the same instants in published hours, in segments, and while being published."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.capture import Tally, ask, interrogate, play, tickers
from tests.e2e.client import changes, instants, spans
from tests.e2e.oracle import Oracle, micros
from tests.e2e.publication import Witness, published_hours, within
from tests.e2e.sql import SqlLake
from tests.e2e.stack import Stack, running, until

Question = tuple[str, int]


@pytest.mark.parametrize(
    ("shown", "rate", "first", "last", "out", "questions", "audit_s"),
    [
        pytest.param("22:38:00", 90, 4, 7, 1, 300, "3", id="three markets in a minute or two"),
        pytest.param("21:44:00", 20, 0, 8, 2, 2000, "10", id="at twenty-fold speed", marks=pytest.mark.fault),
    ],
)
def test_books_are_right_in_published_hours_in_segments_and_between(
    tmp_path: Path,
    recorded_data: Path | None,
    figures: list[str],
    shown: str,
    rate: int,
    first: int,
    last: int,
    out: int,
    questions: int,
    audit_s: str,
) -> None:
    """Play the markets [first, last) of a day; when ``out`` hours are published the publisher rests until the end."""
    if recorded_data is None:
        pytest.skip("no recorded frames here; tests/model publishes simulated ones")
    folder = recorded_data / "kalshi-gold15m"
    markets = tickers(folder, "2026-08-10")[first:last]
    rng = random.Random(5)
    with running(tmp_path, shown=f"2026-08-10T{shown}Z", rate=rate, KALSHIBOOK_AUDIT_EVERY_S=audit_s) as stack:
        witness = Witness(stack, markets, rng)

        def meanwhile(elapsed_s: float) -> None:
            """Watch, and end the publisher while one more hour stays in segments."""
            witness(elapsed_s)
            if "publish" in stack.processes and len(published_hours(stack)) == out and not witness.watching():
                assert stack.stop("publish") == 0

        play(stack, folder, markets, meanwhile, publish=True)
        published = published_hours(stack)
        assert len(published) == out
        assert "publish" not in stack.processes
        oracle, tally = Oracle(stack), Tally()
        oracle.refresh()
        assert witness.judge(oracle) == []
        assert witness.refused == []
        assert len(witness.answers) >= 50
        assert all({*asked} == {"published", "unpublished"} for asked in witness.asked.values())

        asked = _questions(stack, markets, published, questions, rng)
        for question in asked:
            ask(stack, oracle, tally, *question)
        assert tally.wrong == []
        assert tally.refused.total() <= len(asked) // 100
        told = _told(stack, asked)

        stack.start_publisher()
        until(lambda: len(published_hours(stack)) == out + 1, 120)
        assert _told(stack, asked) == told
        every = interrogate(stack, markets, questions // 2, rng)
        assert every.wrong == []
        assert every.refused.total() <= every.asked // 100

        assert stack.command("verify", "--all") == 0
        sql = SqlLake(stack.lake)
        assert [wrong for question in asked if (wrong := sql.wrong(oracle, *question))] == []
        figures.append(
            f"{stack.home.name}: {tally}; while published {len(witness.answers)} right {witness.asked}; "
            f"all published {every}; SQL {sql.tally}"
        )
        assert sql.books >= len(asked) * 0.98


def _questions(
    stack: Stack, markets: list[str], published: list[int], count: int, rng: random.Random
) -> list[Question]:
    """Return instants inside spans, half of them in published hours and half in hours that are not."""
    found: list[Question] = []
    for part in (True, False):
        parts = {ticker: within(spans(stack, ticker), published, part) for ticker in markets}
        inside = [ticker for ticker in markets if parts[ticker]]
        each = -(-count // 2 // len(inside))
        for ticker in inside:
            stamps = [micros(row["ts"]) for row in changes(stack, ticker) if row["kind"] == "delta"]
            found += [(ticker, at_us) for at_us in instants(rng, parts[ticker], stamps, each)]
    return found


def _told(stack: Stack, asked: list[Question]) -> list[Any]:
    """Return what is told of each book, but for what grows: how far its conn is known."""
    found = []
    for ticker, at_us in asked[::3]:
        answer = stack.http.get(f"/v1/orderbook/{ticker}", params={"at": at_us // 1000}).json()
        for name in ("request_id", "response_time"):
            answer.pop(name)
        answer.get("quality", {}).pop("known_until", None)
        found.append(answer)
    return found
