"""Lapses of trades filled over REST: what is asked, what is new, and what happens when the venue does not answer."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from book.errors import CollectorError
from book.wire.rest import TradeDoc
from collector import fill
from collector.fill import WINDOW_US, Filler, neighbours, pieces, unfilled
from lake.journal.flush import Fill, Lapse
from tests.collector.sessions import T0, Bench
from tests.query.conftest import Journal

CONN = (T0 // 1000) << 10
LAPSE = Lapse("trades", CONN, T0, T0 + 9_000_000, "seq_gap")


def doc(name: str, at_us: int) -> TradeDoc:
    return TradeDoc(ticker="A", trade_id=name, yes_price_e4=4500, qty_e2=100, taker_side=1, created_us=at_us)


class Rest:
    """A venue that lists these trades, after so many refusals."""

    def __init__(self, *listed: TradeDoc, refusals: int = 0) -> None:
        self.listed = listed
        self.refusals = refusals
        self.asked: list[tuple[int, int]] = []

    async def trades(self, from_s: int, to_s: int) -> AsyncIterator[list[TradeDoc]]:
        self.asked.append((from_s, to_s))
        if len(self.asked) <= self.refusals:
            raise CollectorError("busy")
        for one in self.listed:
            yield [one]


class Desk:
    """A session and a journal with one lapse of the trades, and what the filler logs."""

    def __init__(self, home: Path, rest: Rest) -> None:
        self.home, self.rest = home, rest
        self.journal = Journal(home)
        self.journal.trade("A", T0 - 100, CONN, 1, "known")
        self.journal.lapses = [LAPSE]
        self.journal.flush()
        self.bench = Bench(start_us=T0 + 60_000_000)
        self.said: list[str] = []
        any_rest: Any = rest
        self.filler = Filler(
            any_rest, self.bench.session, home, 0, self.bench.us, lambda event, **_: self.said.append(event),
            settle_s=0.0, again_s=0.0,
        )  # fmt: skip

    async def run(self, until: str, times: int = 1) -> None:
        task = asyncio.create_task(self.filler.run())
        async with asyncio.timeout(20):
            while self.said.count(until) < times:
                await asyncio.sleep(0.001)
                task.done() and task.result()
        await asyncio.sleep(0.01)
        task.cancel()

    def taken(self) -> Any:
        self.bench.frame(b"anything")
        return self.bench.take()


def test_what_is_missing_becomes_rows_with_the_fill(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Rest(doc("known", T0 - 100), doc("new", T0 + 5)))
    asyncio.run(desk.run("trades_filled"))
    assert desk.rest.asked == [((T0 - 5_000_000) // 1_000_000, (T0 + 14_000_000) // 1_000_000)]
    taken = desk.taken()
    (row,) = taken.tables["trades"].to_pylist()
    assert (row["trade_id"], row["source"], row["seq"], row["conn"]) == ("new", "rest", None, CONN)
    assert (taken.tables["trades"]["ts_recv"].cast("int64")[0].as_py(), row["taker_side"]) == (desk.bench.us(), 1)
    assert taken.fills == [Fill("trades", CONN, T0, T0 + 9_000_000, 1)]


def test_a_venue_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Rest(doc("new", T0 + 5), refusals=2))
    asyncio.run(desk.run("trades_filled"))
    assert (desk.said, len(desk.rest.asked)) == (["fill_failed", "fill_failed", "trades_filled"], 3)


def test_it_is_not_asked_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fill, "TRIES", 3)
    desk = Desk(tmp_path, Rest(refusals=99))
    asyncio.run(desk.run("fill_failed", 3))
    assert len(desk.rest.asked) == 3
    assert desk.taken().fills == []


def test_a_restart_asks_for_what_was_not_filled_and_for_nothing_else(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Rest())
    assert unfilled(tmp_path, 0, 0) == [LAPSE]
    assert unfilled(tmp_path, 0, T0 // 3_600_000_000 + 1) == []
    desk.journal.heard(CONN, T0 + 60_000_000)
    desk.journal.fills = [Fill("trades", CONN, T0, T0 + 9_000_000, 0)]
    desk.journal.lapses = [
        LAPSE._replace(channel="tickers"),
        later := LAPSE._replace(from_us=T0 + 20_000_000, to_us=T0 + 21_000_000),
    ]
    desk.journal.flush()
    assert unfilled(tmp_path, 0, 0) == [later]


def test_a_long_lapse_is_asked_for_in_pieces_and_neighbours_at_once() -> None:
    long = LAPSE._replace(to_us=T0 + 2 * WINDOW_US + 5)
    cut = list(pieces(long))
    assert [one.to_us - one.from_us for one in cut] == [WINDOW_US, WINDOW_US, 5]
    assert (cut[0].from_us, cut[-1].to_us) == (long.from_us, long.to_us)
    near = LAPSE._replace(from_us=T0 + 12_000_000, to_us=T0 + 13_000_000)
    far = LAPSE._replace(from_us=T0 + 60_000_000, to_us=T0 + 61_000_000)
    assert list(neighbours([far, near, LAPSE])) == [[LAPSE, near], [far]]
    assert [len(group) for group in neighbours(cut)] == [1, 1, 1]
