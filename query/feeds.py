"""What is known of a firehose over time: trades, tickers or lifecycle messages of the whole exchange.

Owns the joining of hours, published or in folders, into known stretches and gaps, and which gaps were filled later.
Never reads a row of a firehose's table.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from book.records import HOUR_US
from lake import paths
from lake.settling.coverage import EVERY
from lake.settling.feeds import FeedPart, ShardFill
from query.gap import Gap
from query.intervals import Intervals
from query.shard import ShardLog

FILL_HOURS = 26
"""A lapse is filled within so many hours of its end, or not at all."""
FILL_MARGIN_US = 10_000_000
"""A fill may hold trades that the exchange stamped so long before its lapse, or after it."""
_FOR_EVER_US = 1 << 60


@dataclass(frozen=True, slots=True)
class FeedLine:
    """A firehose in one shard's record: ``known`` and gaps, ascending, those that touch what was asked about whole.

    ``known_until_us`` is how far it is known while it goes on, None where its end is said.
    """

    known: Intervals
    gaps: list[Gap]
    known_until_us: int | None

    def complete(self) -> Intervals:
        """Return the stretches of which everything is recorded: known, or filled later."""
        filled = [(gap.from_us, gap.to_us) for gap in self.gaps if gap.filled and gap.to_us is not None]
        return Intervals(sorted([*self.known, *filled]))


def feed_line(shard: ShardLog, channel: str, from_us: int, to_us: int) -> FeedLine:
    """Return what a shard's record says of a firehose in [from_us, to_us).

    Cost: a look at each hour of the range, and where a gap touches its bounds at those that it goes on in; where there
    is a gap, at the hours in which it may have been filled.
    """
    parts = _parts(shard, channel, from_us, to_us)
    known = Intervals((part.from_us, part.to_us) for part in parts if part.known)
    mark = shard.feed_mark(channel)
    gaps = [
        Gap(EVERY, part.from_us, part.to_us, part.reason, part.conn)
        for part in parts
        if not part.known and part.from_us < to_us and part.to_us > from_us
    ]
    if mark is not None and not mark.up and gaps and gaps[-1].from_us == mark.known_us + 1:
        gaps[-1] = replace(gaps[-1], to_us=None)
    until_us = mark.known_us if mark is not None and mark.up else None
    return FeedLine(known, _with_fills(shard, channel, gaps), until_us)


def fills_near(shard: ShardLog, channel: str, from_us: int, to_us: int) -> Iterator[tuple[int, ShardFill]]:
    """Yield the fills that may hold rows which the exchange stamped in a range, each with its hour, ascending."""
    start_us, end_us = from_us - FILL_MARGIN_US, to_us + FILL_MARGIN_US
    for hour in shard.hours_between(start_us, end_us + FILL_HOURS * HOUR_US):
        for one in shard.fills(hour):
            fill = one.fill
            if fill.channel == channel and fill.from_us < end_us and fill.to_us > start_us:
                yield hour, one


def _parts(shard: ShardLog, channel: str, from_us: int, to_us: int) -> list[FeedPart]:
    """Return the stretches of a firehose that touch a range; a gap that goes over an hour's end is one."""
    hours = shard.hours_between(from_us, to_us - 1)
    everything = shard.hour_numbers()
    if not hours:
        return []
    first, last = everything.index(hours[0]), everything.index(hours[-1])
    found = _joined([part for hour in hours for part in shard.feed_parts(hour, channel)], everything)
    while found and not found[0].known and first and found[0].from_us == paths.hour_start_us(everything[first]):
        first -= 1
        earlier = _joined([*shard.feed_parts(everything[first], channel), *found], everything)
        if len(earlier) > len(found) and earlier[-len(found)] == found[0]:
            break
        found = earlier
    while found and not found[-1].known and found[-1].to_us == paths.hour_start_us(everything[last] + 1):
        last += 1
        if last == len(everything):
            break
        later = _joined([*found, *shard.feed_parts(everything[last], channel)], everything)
        if len(later) > len(found) and later[len(found) - 1] == found[-1]:
            break
        found = later
    return found


def _joined(parts: list[FeedPart], hours: list[int]) -> list[FeedPart]:
    """Join gaps over the ends of hours; hours in between of which nothing stands anywhere are part of one."""
    found: list[FeedPart] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and not last.known and not part.known and last.reason == part.reason:
            meets = last.to_us == part.from_us and last.to_us % HOUR_US == 0
            if meets or _nothing_between(last.to_us, part.from_us, hours):
                found[-1] = last._replace(to_us=part.to_us)
                continue
        found.append(part)
    return found


def _nothing_between(from_us: int, to_us: int, hours: list[int]) -> bool:
    if from_us % HOUR_US or to_us % HOUR_US:
        return False
    return not any(paths.hour_of(from_us) <= hour < paths.hour_of(to_us) for hour in hours)


def _with_fills(shard: ShardLog, channel: str, gaps: list[Gap]) -> list[Gap]:
    """Return gaps, each with whether all of it was filled."""
    found: list[Gap] = []
    for gap in gaps:
        filled = False
        if gap.to_us is not None:
            fills = Intervals()
            for _, one in fills_near(shard, channel, gap.from_us, gap.to_us):
                fills.add(one.fill.from_us, one.fill.to_us)
                filled = not fills.missing(gap.from_us, gap.to_us)
                if filled:
                    break
        found.append(replace(gap, filled=filled))
    return found
