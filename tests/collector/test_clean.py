"""Clean traffic, acknowledgements and refusals among it, shows no gap: not one in ten million messages."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from book.wire import encode
from tests.collector.sessions import BOOK, Bench

SID = 3
TICKERS = tuple(f"KXCLEAN-{number}" for number in range(200))
PART = 10_000
TURN = 10


class Feed:
    """A venue's book subscription without a fault; what is added is taken away again, so books stay small."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.seq = len(TICKERS)
        self.sent = 0
        self.bodies = [
            encode.delta_body(ticker, 0, 4500 + 100 * (number % 3), change, bench.start_us)
            for change in (700, -700)
            for number, ticker in enumerate(TICKERS)
        ]
        self.put_us = 0

    def next(self) -> int:
        self.seq += 1
        self.sent += 1
        return self.seq

    def deltas(self, count: int) -> Iterator[bytes]:
        for at in range(count):
            yield encode.sequenced("orderbook_delta", SID, self.next(), self.bodies[at % len(self.bodies)])

    def answer(self, command: dict[str, Any]) -> list[bytes]:
        """Answer a command as the venue does, every twentieth one with an error that has a number too."""
        params = command["params"]
        if command["cmd"] != "update_subscription":
            raise AssertionError(command)
        if command["id"] % 20 == 0:
            return [encode.error(27, "no", command_id=command["id"], sid=SID, seq=self.next())]
        tickers = params["market_tickers"]
        if params["action"] == "get_snapshot":
            books = [(one, () if one.startswith("KXSHORT") else BOOK) for one in tickers]
            return [encode.snapshot(SID, self.next(), *one, command_id=command["id"]) for one in books]
        ok = encode.ok(command["id"], SID, self.next())
        if params["action"] == "delete_markets":
            return [ok]
        return [ok, *(encode.snapshot(SID, self.next(), one, ()) for one in tickers)]


def clean(messages: int) -> tuple[Bench, Feed]:
    """Feed so many messages; markets are listed and finished, books asked for again, commands refused all along."""
    bench = Bench(audit_every_s=5.0)
    bench.open()
    bench.record(*TICKERS)
    bench.take()
    feed = Feed(bench)
    turn = 0
    while feed.sent < messages:
        turn += 1
        frames = list(feed.deltas(PART))
        for start in range(0, PART, 2000):
            bench.after(10).frame(*frames[start : start + 2000])
        bench.feed()
        if turn % TURN == 0:
            bench.session.list_market(f"KXSHORT-{turn}", None, None)
        if turn % TURN == TURN // 2:
            bench.session.finish_market(f"KXSHORT-{turn - TURN // 2}")
        for command in bench.tick(900):
            bench.frame(*feed.answer(command))
        bench.feed()
        bench.session.notes()
    return bench, feed


def hold(bench: Bench, feed: Feed) -> None:
    figures = bench.session.figures()
    assert figures.verdicts == {"gap": 0, "duplicate": 0, "reset": 0}
    assert {reason: count for reason, count in figures.closes.items() if reason != "market_closed"} == {}
    assert figures.messages.get("quarantined", 0) == 0
    assert figures.audits_unequal == 0
    assert figures.audits_equal > 0
    assert figures.messages["ok"] > 1
    assert figures.messages["error"] > 0
    assert figures.live >= len(TICKERS)
    assert bench.session.links[1].conns[SID].tracker.last == feed.seq


def test_clean_traffic_shows_no_gap() -> None:
    hold(*clean(400_000))


@pytest.mark.fault
def test_ten_million_clean_messages_show_no_gap(figures: list[str]) -> None:
    began_s = time.monotonic()
    bench, feed = clean(10_000_000)
    hold(bench, feed)
    told = bench.session.figures()
    figures.append(f"clean: {feed.sent:,} messages in {time.monotonic() - began_s:.0f} s, no gap; {told.messages}")
