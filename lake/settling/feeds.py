"""The firehoses of an hour: when each is known, when not and why, and which lapses were filled.

Owns the reading of marks and lapses for a whole hour, and the coverage rows that say it. Pure. Never reads a row of a
firehose's table, and never chooses between shards (lake.settling.choice).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from book.errors import CorruptError
from book.records import HOUR_US, Reason
from lake import paths
from lake.journal.flush import FeedMark, Fill, Lapse
from lake.settling.columns import integers
from lake.settling.fragments import CONTINUES
from lake.settling.marks import EVERY, NOTHING

FeedName = Literal["trades", "tickers", "lifecycle"]
FEEDS: tuple[FeedName, ...] = ("trades", "tickers", "lifecycle")
"""The tables that hold a firehose each; also the channels of coverage that tell of them."""
FILLED = "filled"
"""The state of a coverage row that says that a lapse was filled; it stands in the hour of the fill."""


class FeedPart(NamedTuple):
    """A stretch [from_us, to_us) of one shard's hour in which a firehose is known, or may lack rows.

    ``reason`` is why it is not known, or what ended the known stretch: ``continues`` at the hour's end. ``conn`` is the
    subscription that a gap began on, None where it is known: several may follow each other.
    """

    channel: str
    known: bool
    shard: int
    conn: int | None
    from_us: int
    to_us: int
    reason: str


class ShardFill(NamedTuple):
    """A fill, and the shard that made it."""

    shard: int
    fill: Fill


class Heard(Protocol):
    """What one shard's log says of the firehoses in an hour; see FeedHour and lake.settling.sources.Source."""

    @property
    def shard(self) -> int:
        """Return the shard."""

    @property
    def hour(self) -> int:
        """Return the hour."""

    @property
    def feeds(self) -> Mapping[str, FeedMark]:
        """Return the newest mark of each."""

    @property
    def lapses(self) -> Sequence[Lapse]:
        """Return the lapses that touch the hour, others among them."""


class FeedHour(NamedTuple):
    """One shard's marks and lapses, to be read for an hour."""

    shard: int
    hour: int
    feeds: Mapping[str, FeedMark]
    lapses: Sequence[Lapse]


def feed_parts(source: Heard, channel: str) -> list[FeedPart]:
    """Return the stretches of a firehose in a shard's hour, ascending and without a hole between them.

    None where it was not followed by the hour's end. A log that just stops ends in a gap of reason ``crash``, as the
    next process will say when it begins.
    """
    mark = source.feeds.get(channel)
    start_us, end_us = paths.hour_start_us(source.hour), paths.hour_start_us(source.hour + 1)
    if mark is None or mark.since_us >= end_us:
        return []
    gaps = [(one.from_us, one.to_us, one.conn, one.reason) for one in source.lapses if one.channel == channel]
    if mark.known_us + 1 < end_us:
        reason = Reason.CRASH.value if mark.up else mark.reason
        gaps.append((mark.lapse_us, end_us, mark.conn, reason))
    parts: list[FeedPart] = []
    at_us = max(start_us, mark.since_us)
    for from_us, to_us, conn, reason in sorted(gaps):
        from_us, to_us = max(from_us, at_us), min(to_us, end_us)
        if from_us >= to_us:
            continue
        if at_us < from_us:
            parts.append(FeedPart(channel, True, source.shard, None, at_us, from_us, reason))
        parts.append(FeedPart(channel, False, source.shard, conn, from_us, to_us, reason))
        at_us = to_us
    if at_us < end_us:
        parts.append(FeedPart(channel, True, source.shard, None, at_us, end_us, CONTINUES))
    return parts


def unknown_us(source: Heard, channel: str) -> int:
    """Return how much of an hour a shard does not know a firehose in, in microseconds; filled lapses count too."""
    return HOUR_US - sum(part.to_us - part.from_us for part in feed_parts(source, channel) if part.known)


def part_row(part: FeedPart) -> dict[str, Any]:
    """Return the coverage row of a stretch."""
    return NOTHING | {
        "channel": part.channel,
        "state": "known" if part.known else "gap",
        "shard": part.shard,
        "conn": part.conn,
        "ts_from": part.from_us,
        "ts_to": part.to_us,
        "end_reason": part.reason,
    }


def fill_row(shard: int, fill: Fill) -> dict[str, Any]:
    """Return the coverage row of a fill; ``ts_from`` and ``ts_to`` are the lapse's, perhaps in an earlier hour."""
    return NOTHING | {
        "channel": fill.channel,
        "state": FILLED,
        "shard": shard,
        "conn": fill.conn,
        "ts_from": fill.from_us,
        "ts_to": fill.to_us,
        "rows": fill.rows,
    }


def told_parts(coverage: pa.Table) -> tuple[list[FeedPart], list[ShardFill]]:
    """Return the stretches and the fills that an hour's coverage rows state, as they are published."""
    rows = coverage.filter(
        pc.and_(pc.equal(coverage["ticker"], EVERY), pc.is_in(coverage["state"], pa.array(["known", "gap", FILLED])))
    )
    parts: list[FeedPart] = []
    fills: list[ShardFill] = []
    names = ("channel", "state", "shard", "conn", "end_reason", "rows")
    columns = [rows[name].to_pylist() for name in names] + [
        integers(rows[name]).tolist() for name in ("ts_from", "ts_to")
    ]
    for channel, state, shard, conn, reason, count, from_us, to_us in zip(*columns, strict=True):
        if state == FILLED:
            fills.append(ShardFill(shard, Fill(channel, conn, from_us, to_us, count)))
        else:
            parts.append(FeedPart(channel, state == "known", shard, conn, from_us, to_us, reason))
    return parts, fills


def prove_parts(hour: int, parts: Iterable[FeedPart]) -> None:
    """Prove that the stretches of each firehose follow each other up to the hour's end, all of one shard.

    Raises CorruptError naming the firehose.
    """
    start_us, end_us = paths.hour_start_us(hour), paths.hour_start_us(hour + 1)
    last: dict[str, FeedPart] = {}
    for part in sorted(parts, key=lambda one: (one.channel, one.from_us)):
        before = last.get(part.channel)
        follows = part.from_us >= start_us if before is None else part.from_us == before.to_us
        same = before is None or before.shard == part.shard
        told = (part.reason == CONTINUES) == (part.known and part.to_us == end_us) and part.known == (part.conn is None)
        if not follows or not same or not told or part.from_us >= part.to_us:
            raise CorruptError("coverage", 0, f"the stretches of {part.channel} do not follow each other")
        last[part.channel] = part
    for channel, part in last.items():
        if part.to_us != end_us:
            raise CorruptError("coverage", 0, f"the stretches of {channel} do not reach the hour's end")
