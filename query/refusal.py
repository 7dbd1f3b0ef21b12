"""Why a book is refused.

Owns the choice of code and fields where no shard has a complete book: the one that tells the caller most.
"""

from collections.abc import Sequence
from dataclasses import replace

from book.errors import ApiError
from query.catalog import MarketVersion
from query.exchange_clock import Lapsed
from query.gap import Gap, instant_text
from query.log import Log
from query.shard import ShardLog
from query.state import Before, Ended, Missing, State, Unheard, Unwanted, bounded

Finding = tuple[ShardLog, State | Lapsed]
"""A shard and what it knows of the market at the instant."""


def refusal(log: Log, ticker: str, ts_us: int, found: Sequence[Finding], *, then: bool = False) -> ApiError:
    """Return the refusal that says most.

    The end of a market comes first, then what may yet become known, then a gap, then the absence of data. ``then``
    says that ``found`` is what stood at an earlier time: metadata, which is as of now, has no part in it.
    """
    states = [state for _, state in found]
    market = None if then else log.catalog.market(ticker)
    closed = [state.closed_us for state in states if isinstance(state, Ended)]
    missing = any(isinstance(state, Missing | Lapsed) for state in states)
    if closed or (missing and market and market.is_over(ts_us)):
        return _closed(ticker, market, closed)
    if any(isinstance(state, Unheard) for state in states) or (missing and ts_us > log.now_us()):
        return _unheard(log, ticker, ts_us, states)
    gap = common_gap(found)
    return _gap(ts_us, gap) if gap else _no_data(log, ticker, ts_us, states)


def common_gap(found: Sequence[Finding]) -> Gap | None:
    """Return what is unknown to every shard: the first one's gap, cut to what the others do not know either."""
    gaps = [bounded(shard, state.gap) for shard, state in found if isinstance(state, Missing)]
    gaps += [state.gap for _, state in found if isinstance(state, Lapsed)]
    if not gaps:
        return None
    return replace(
        gaps[0],
        from_us=max(gap.from_us for gap in gaps),
        to_us=min((gap.to_us for gap in gaps if gap.to_us is not None), default=None),
        last_known_us=max((gap.last_known_us for gap in gaps if gap.last_known_us is not None), default=None),
        next_known_us=min((gap.next_known_us for gap in gaps if gap.next_known_us is not None), default=None),
    )


def _gap(ts_us: int, gap: Gap) -> ApiError:
    until = instant_text(gap.to_us) if gap.to_us is not None else "now"
    return ApiError(
        "data_gap",
        f"the book of {gap.ticker} is not known at {instant_text(ts_us)}: {gap.reason} from "
        f"{instant_text(gap.from_us)} to {until}",
        **{
            "from": gap.from_us,
            "to": gap.to_us,
            "reason": gap.reason,
            "last_known": gap.last_known_us,
            "next_known": gap.next_known_us,
        },
    )


def _closed(ticker: str, market: MarketVersion | None, closed: list[int]) -> ApiError:
    # closed_at is the venue's close_time, save where the market ended before it.
    marks = [*closed, market.close_us] if market and market.close_us is not None else closed
    closed_at_us = min(marks)
    result = market.result if market else None
    message = f"{ticker} closed at {instant_text(closed_at_us)}"
    return ApiError("market_closed", message, closed_at=closed_at_us, result=result)


def _unheard(log: Log, ticker: str, ts_us: int, states: Sequence[State | Lapsed]) -> ApiError:
    heard = [state.known_until_us for state in states if isinstance(state, Unheard)]
    known_us = max((each for each in heard if each is not None), default=None)
    known_us = log.known_until_us() if known_us is None else known_us
    until = f"it is known until {instant_text(known_us)}" if known_us is not None else "nothing is known yet"
    message = f"the book of {ticker} at {instant_text(ts_us)} is not known yet; {until}"
    return ApiError("not_yet_known", message, known_until=known_us)


def _no_data(log: Log, ticker: str, ts_us: int, states: Sequence[State | Lapsed]) -> ApiError:
    since = [state.since_us for state in states if isinstance(state, Unwanted)]
    if since:
        message = f"{ticker} was no longer followed from {instant_text(min(since))} on"
        return ApiError("no_data_available", message, reason="unsubscribed", earliest=None)
    firsts = [state.earliest_us for state in states if isinstance(state, Before) and state.earliest_us is not None]
    if firsts:
        message = f"{ticker} is recorded from {instant_text(min(firsts))} on"
        return ApiError("no_data_available", message, reason="before_first_data", earliest=min(firsts))
    if not log.catalog.has_market(ticker) and not any(shard.knows(ticker) for shard in log.shards):
        return ApiError("market_not_found", f"no market has the ticker {ticker}")
    message = f"the order book of {ticker} was not recorded up to {instant_text(ts_us)}"
    return ApiError("no_data_available", message, reason="not_recorded", earliest=None)
