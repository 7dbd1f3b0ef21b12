"""A small lake with its log, led by hand: three published hours over midnight, a correction, a crash, every book table.

Owns the story; what must hold of it stands in the tests.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from book.records import HOUR_US
from book.wire import encode
from lake.publishing.publish import publish_hours
from lake.settling.coverage import derive
from lake.verify import Report, verify
from tests.model.hand import MIDNIGHT_US, SIDS, Hand, S

FIRST = MIDNIGHT_US // HOUR_US - 2
"""22:00 UTC: the hour before the last of a day."""
HOURS = (FIRST, FIRST + 1, FIRST + 2)
CORRECTED = FIRST + 1
MINUTE = 60 * S


def build(home: Path, lake: Path) -> None:
    """Write the log and publish as it grows."""
    hand = Hand(home, FIRST * HOUR_US + 10 * MINUTE)
    for ticker in ("A", "B", "C"):
        hand.market(ticker)
    at_us = hand.now_us + S
    hand.connect(1, at_us)
    hand.snapshot(1, at_us + 1, "A", (0, 4500, 12_000), (1, 5400, 700))
    hand.snapshot(1, at_us + 2, "B", (0, 1, 100), (1, 9999, 37))
    hand.snapshot(1, at_us + 3, "C")
    _changes(hand, 1, at_us + S, "A", 20)
    _changes(hand, 1, at_us + 9 * S, "B", 5)
    second_us = CORRECTED * HOUR_US
    _changes(hand, 1, second_us + S, "A", 30)
    _trade(hand, 1, second_us + 5 * S, "A")
    hand.snapshot(1, second_us + 8 * S, "A", *hand_book("A", 50))  # equal: an audit
    hand.determined(1, second_us + 9 * S, "C")
    hand.arrive(1, second_us + 10 * S, b'{"type":')
    _changes(hand, 1, second_us + 20 * S, "A", 6)
    third_us = MIDNIGHT_US
    hand.pong(1, third_us + S)
    publish(home, lake, FIRST)
    publish(home, lake, CORRECTED)
    hand.snapshot(1, third_us + 4 * S, "A", (0, 4500, 1))  # another book than ours: back to the audit
    _changes(hand, 1, third_us + 5 * S, "A", 10)
    hand.crash()
    hand.start(third_us + 30 * S)
    hand.connect(2, third_us + 31 * S)
    hand.snapshot(2, third_us + 32 * S, "A", (0, 4500, 9))
    _changes(hand, 2, third_us + 40 * S, "A", 4)
    hand.pong(2, third_us + HOUR_US + S)
    hand.pong(2, third_us + HOUR_US + 2 * S)
    publish(home, lake, HOURS[-1])
    hand.journal.close()


def publish(home: Path, lake: Path, hour: int, reason: str = "hour") -> None:
    """Publish an hour five minutes after its end."""
    now_us = (hour + 1) * HOUR_US + 5 * MINUTE
    assert publish_hours(lake, home, [hour], now_us=lambda: now_us, reason=reason) is not None


def hand_book(ticker: str, changes: int) -> tuple[tuple[int, int, int], ...]:
    """Return the book of A after so many of ``_changes``."""
    assert ticker == "A"
    return (
        (0, 4500, 12_000),
        *((0, 4000 + 100 * rung, 100 * -(-(changes - rung) // 4)) for rung in range(4)),
        (1, 5400, 700),
    )


def _changes(hand: Hand, link: int, at_us: int, ticker: str, count: int) -> None:
    for number in range(count):
        hand.delta(link, at_us + number * 50_000, ticker, 0, 4000 + 100 * (number % 4), 100)


def _trade(hand: Hand, link: int, at_us: int, ticker: str) -> None:
    body = encode.trade_body(
        ticker=ticker, trade_id="t-1", yes_price_e4=4500, qty_e2=250, taker_side=0, block=None, ts_us=at_us
    )
    sid = SIDS["trade"]
    hand.arrive(link, at_us, encode.sequenced("trade", sid, hand.seq(link, sid=sid), body))


def look(root: Path, hours: list[int] | None = None, *, with_log: bool = True) -> Report:
    return verify(root / "lake", root / "home" if with_log else None, hours, lambda _: None)


def doubts(root: Path, **how: Any) -> list[str]:
    return [f"{Path(doubt.path).name}: {doubt.what}" for doubt in look(root, **how).doubts]


def deriving(alter: Callable[[dict[str, Any]], bool]) -> Callable[..., pa.Table]:
    """Return a derivation of coverage that lies: ``alter`` changes a row, and says whether to leave it out."""

    def lie(*args: Any) -> pa.Table:
        found = derive(*args)
        kept = [row for row in found.to_pylist() if not alter(row)]
        return pa.Table.from_pylist(kept, schema=found.schema)

    return lie
