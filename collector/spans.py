"""Spans: for each market, from when to when its book is known, and on which conn.

Owns the rule of what is written when: snapshots, deltas, checkpoints, closes at the last moment the book was known,
orphans, audits. Knows no sockets, commands or sequence judgements; stamps and verdicts are passed in.
"""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from book.digest import digest
from book.records import DAY_US, HOUR_US, Kind, Level, Reason
from book.wire.batch import NO_TIME_US
from book.wire.commands import ORDERBOOK
from collector.conns import Conn
from collector.ladders import Ladders
from collector.rows import OrderbookRows, TableRows

CHECKPOINT_EVERY = 4096
NEVER_US = 2**62

Ints = npt.NDArray[np.int64]

_MARKET = np.dtype(
    [
        ("owner", np.int64),  # the conn that had the market last, 0 before the first
        ("live", np.bool_),
        ("finished", np.bool_),
        ("seq", np.int64),  # of the last record applied
        ("last_us", np.int64),  # stamp of the last good message
        ("hour", np.int64),  # hour of the last record or checkpoint
        ("count", np.int64),  # deltas since the last base
        ("equal_us", np.int64),  # last equal audit or venue snapshot
        ("equal_seq", np.int64),
        ("first_us", np.int64),  # first record after it
        ("exch_us", np.int64),  # running maximum of ts_exch in the span
        ("close_us", np.int64),  # close_time of the market
        ("used", np.bool_),  # the number is a market's
        ("wanted", np.bool_),
        ("idle_us", np.int64),  # since when it is not wanted, 0 before that was looked at
    ],
    align=True,  # unaligned fields take 30 times as long in np.add.at and its like
)


class Spans:
    """The state of every market of one shard, and the rows that its changes cause."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}
        self.conns: dict[int, Conn] = {}
        self.ladders = Ladders()
        self.rows = OrderbookRows(self.names)
        self.audits = TableRows("audits")
        self.closes: Counter[Reason] = Counter()
        self.compared: Counter[bool] = Counter()
        self.close_hours: set[int] = set()
        self.given_up: set[int] = set()
        self.state = np.zeros(64, _MARKET)
        self._free: list[int] = []

    def market(self, ticker: str) -> int:
        """Return a market's number, a new one for a new ticker."""
        number = self.numbers.get(ticker)
        if number is None:
            number = self._new_number()
            self.numbers[ticker], self.names[number] = number, ticker
            self.rows.renamed()
            self.state[number] = np.zeros((), _MARKET)
            self.state[number]["hour"] = -1
            self.state[number]["close_us"] = NEVER_US
            self.state[number]["used"] = True
        return number

    def restore(self, number: int, ticker: str) -> None:
        """Give a ticker the next number, as another had it; an empty ticker is a number that is free."""
        if number != self._new_number():
            raise ValueError(f"market {number} is not the next")
        if ticker:
            self.numbers[ticker], self.names[number] = number, ticker
            self.rows.renamed()
        else:
            self._free.append(number)

    def last_conn(self, ticker: str) -> int:
        """Return the conn that had a market last, 0 before the first."""
        number = self.numbers.get(ticker)
        return 0 if number is None else int(self.state[number]["owner"])

    def want(self, ticker: str, close_us: int) -> int:
        """Note that a market is to be recorded, and when it closes; return its number."""
        number = self.market(ticker)
        self.state[number]["wanted"], self.state[number]["close_us"] = True, close_us
        return number

    def unwant(self, ticker: str, now_us: int) -> None:
        """Note that a market is not to be recorded any longer."""
        number = self.numbers.get(ticker)
        if number is not None:
            self.state[number]["wanted"], self.state[number]["idle_us"] = False, now_us

    def forgettable(self, now_us: int, idle_us: int, kept_us: int) -> list[str]:
        """Return the markets that have been over, or not wanted, for ``idle_us`` and that nothing can reach any more.

        A recorded one whose end has not been told is kept for ``kept_us``, and until every living conn is above its
        last one: it might come back. Cost: one pass.
        """
        used = self.state[: len(self.names)]
        idle = used["used"] & ~used["wanted"] & ~used["live"]
        fresh = idle & (used["idle_us"] == 0)
        used["idle_us"][fresh] = now_us
        floor = min((conn.id for conn in self.conns.values() if conn.channel == ORDERBOOK), default=NEVER_US)
        over = (used["finished"] | (used["owner"] == 0)) & (used["idle_us"] <= now_us - idle_us)
        passed = (used["owner"] <= floor) & (used["idle_us"] <= now_us - kept_us)
        found = np.flatnonzero(idle & (over | passed))
        ended = set().union(*(conn.ended for conn in self.conns.values())) if len(found) else set()
        return [self.names[number] for number in found.tolist() if number not in ended]

    def forget(self, tickers: list[str]) -> None:
        """Give the numbers of markets to others. No row of theirs may wait to be taken."""
        if self.rows.count:
            raise RuntimeError("a market is forgotten while rows wait")
        for ticker in tickers:
            number = self.numbers.pop(ticker)
            self.ladders.release(number)
            self.names[number] = ""
            self.state[number] = np.zeros((), _MARKET)
            self._free.append(number)

    def _new_number(self) -> int:
        if self._free:
            return self._free.pop()
        number = self.ladders.add_market()
        self.names.append("")
        if number == len(self.state):
            self.state = np.concatenate([self.state, np.zeros(len(self.state), _MARKET)])
        return number

    def live_on(self, conn: Conn) -> Ints:
        """Return the numbers of the markets whose book is known through a conn."""
        used = self.state[: len(self.names)]
        return np.flatnonzero(used["live"] & (used["owner"] == conn.id))

    def snapshot(self, conn: Conn, market: int, ts_us: int, seq: int, levels: tuple[Level, ...]) -> bool:
        """Take the venue's full book: the base of a new span, or an audit of the living one; False: no row says it.

        A conn smaller than the market's last never opens a span; a market that is over takes none. An empty book at or
        after close_time is the venue cancelling what rests there: a new base, not a mismatch.
        """
        one = self.state[market]
        if one["finished"] or one["owner"] > conn.id:
            return False
        if one["owner"] != conn.id:
            self._touch(market, ts_us)
            if one["live"]:
                self._close(market, ts_us, self.conns[int(one["owner"])].tracker.last, Reason.MOVED)
            one["owner"] = conn.id
        self._touch(market, ts_us)
        if one["live"]:
            ours = self.ladders.rows(market)
            if ours == levels:
                self._audited(conn, market, ts_us, seq, ours, levels)
                one["equal_us"], one["equal_seq"], one["first_us"], one["last_us"] = ts_us, seq, NEVER_US, ts_us
                return True
            if levels or ts_us < one["close_us"]:
                self._audited(conn, market, ts_us, seq, ours, levels)
                self._bad_book(market, ts_us, Reason.AUDIT_MISMATCH)
        self._base(conn, market, ts_us, seq, levels)
        return True

    def delta(self, conn: Conn, market: int, ts_us: int, exch_us: int, seq: int, level: Level) -> None:
        """Take one change, in order on its conn; ``level`` holds the signed change."""
        one = self.state[market]
        conn.exch_us = max(conn.exch_us, exch_us)
        if one["owner"] != conn.id or not one["live"]:
            self.rows.add_change(Kind.ORPHAN, market, ts_us, exch_us, conn.id, seq, level)
            return
        self._touch(market, ts_us)
        side, price_e4, change_e2 = level
        if self.ladders.size(market, side, price_e4) + change_e2 < 0:
            self._bad_book(market, ts_us, Reason.NEGATIVE_LEVEL)
            self.rows.add_change(Kind.ORPHAN, market, ts_us, exch_us, conn.id, seq, level)
            return
        self.ladders.apply(*(np.array([value]) for value in (market, *level)))
        one["first_us"] = min(one["first_us"], ts_us)
        one["seq"], one["last_us"], one["exch_us"] = seq, ts_us, max(one["exch_us"], exch_us)
        one["count"] += 1
        self.rows.add_change(Kind.DELTA, market, ts_us, exch_us, conn.id, seq, level)
        if one["count"] >= CHECKPOINT_EVERY:
            self._checkpoint(market, ts_us)

    def deltas(
        self, conn: Conn, market: Ints, ts_us: Ints, exch_us: Ints, seq: Ints, side: Ints, price: Ints, change: Ints
    ) -> None:
        """Take a run of changes of one conn within one hour; every array has shape (n,), in order."""
        columns: tuple[Ints, ...] = (market, ts_us, exch_us, seq, side, price, change)
        while len(columns[0]):
            known = self.state["live"][columns[0]] & (self.state["owner"][columns[0]] == conn.id)
            if not known.all():
                self._orphans(conn, *(column[~known] for column in columns))
                columns = tuple(column[known] for column in columns)
                continue
            done = self._known(conn, *columns)
            if done < len(columns[0]):
                m, ts, exch, number, *level = (int(column[done]) for column in columns)
                self.delta(conn, m, ts, exch, number, (level[0], level[1], level[2]))
                done += 1
            columns = tuple(column[done:] for column in columns)

    def _orphans(self, conn: Conn, market: Ints, ts_us: Ints, exch_us: Ints, seq: Ints, *level: Ints) -> None:
        self.rows.add_changes(Kind.ORPHAN, market, ts_us, exch_us, conn.id, seq, *level)
        conn.exch_us = max(conn.exch_us, int(exch_us.max()))

    def _known(self, conn: Conn, *columns: Ints) -> int:
        """Apply changes of known books at once, up to the first that ends a span or fills a count; return how many."""
        market = columns[0]
        for cold in np.unique(market[self.state["hour"][market] != columns[1][0] // HOUR_US]).tolist():
            self._touch(cold, int(columns[1][0]))
        found, counts = np.unique(market, return_counts=True)
        full = found[self.state["count"][found] + counts >= CHECKPOINT_EVERY]
        end = len(market)
        for one in full.tolist():  # the change that fills the count goes alone, so that its checkpoint follows it
            end = min(end, int(np.flatnonzero(market == one)[CHECKPOINT_EVERY - 1 - self.state["count"][one]]))
        market, ts_us, exch_us, seq, side, price, change = (column[:end] for column in columns)
        done = self.ladders.apply(market, side, price, change) if end else 0
        if done:
            market, ts_us, exch_us, seq = market[:done], ts_us[:done], exch_us[:done], seq[:done]
            level = (side[:done], price[:done], change[:done])
            self.rows.add_changes(Kind.DELTA, market, ts_us, exch_us, conn.id, seq, *level)
            state = self.state
            state["seq"][market] = seq
            state["last_us"][market] = ts_us
            np.minimum.at(state["first_us"], market, ts_us)
            np.maximum.at(state["exch_us"], market, exch_us)
            np.add.at(state["count"], market, 1)
            conn.exch_us = max(conn.exch_us, int(exch_us.max()))
        return done

    def unreadable(self, conn: Conn, market: int, ts_us: int) -> None:
        """End a market's span at its last good message: the conn sent something about it that cannot be read."""
        one = self.state[market]
        if one["live"] and one["owner"] == conn.id:
            self._close(market, min(int(one["last_us"]) + 1, ts_us), int(one["seq"]), Reason.UNREPRESENTABLE)

    def unsubscribed(self, conn: Conn, market: int, ts_us: int, seq: int, reason: Reason) -> None:
        """End a market's span at the message that says the venue no longer sends it."""
        if self.state[market]["live"] and self.state[market]["owner"] == conn.id:
            self._close(market, ts_us, seq, reason)

    def determined(self, market: int, ts_us: int) -> None:
        """Write that a market is over; nothing opens a span of it again."""
        one = self.state[market]
        if one["finished"]:
            return
        one["finished"] = True
        owner = self.conns.get(int(one["owner"]))
        seq = max(int(one["seq"]), owner.tracker.last if owner else 0)
        if one["live"]:
            self._close(market, ts_us, seq, Reason.MARKET_CLOSED)
        elif one["owner"]:
            self._write_close(market, ts_us, int(one["owner"]), seq, Reason.MARKET_CLOSED)
        self.given_up.discard(market)  # nobody asks for it again
        self.ladders.release(market)

    def end_conn(self, conn: Conn, last_us: int, reveal_us: int, seq: int, reason: Reason) -> None:
        """End every span of a conn after ``last_us``, also those that had ended later than that.

        ``reveal_us`` is the stamp of what showed it, ``seq`` the last valid message's.
        """
        at_us = min(last_us + 1, reveal_us)
        for market in self.live_on(conn).tolist():
            self._close(market, at_us, seq, reason)
        for market, ended_us in conn.ended.items():
            if ended_us > at_us:
                self._write_close(market, at_us, conn.id, seq, reason)
                conn.ended[market] = at_us

    def clock_step(self, last_us: int) -> None:
        """End every span after ``last_us``, the last stamp before the clock stepped."""
        for market in np.flatnonzero(self.state[: len(self.names)]["live"]).tolist():
            conn = self.conns[int(self.state[market]["owner"])]
            self._close(market, last_us + 1, conn.tracker.last, Reason.CLOCK_STEP)

    def midnight(self, conn: Conn, most: int) -> int:
        """Write the 00:00 checkpoint of at most ``most`` live books of a conn that has heard past it; say how many."""
        day_us = conn.frame_us // DAY_US * DAY_US
        if conn.day_us == day_us:
            return 0
        used = self.state[: len(self.names)]
        due = np.flatnonzero(used["live"] & (used["owner"] == conn.id) & (used["hour"] < day_us // HOUR_US))[:most]
        for market in due.tolist():
            self._checkpoint(market, day_us)
            self.state[market]["hour"] = day_us // HOUR_US
        if len(due) < most:
            conn.day_us = day_us  # what begins on this conn from here on begins after it
        return len(due)

    def take(self) -> tuple[dict[str, Any], set[int]]:
        """Return the record batches of both tables and the hours in which closes among them are stamped."""
        batches = {"orderbook": self.rows.take(), "audits": self.audits.take()}
        hours, self.close_hours = self.close_hours, set()
        return {table: batch for table, batch in batches.items() if batch is not None}, hours

    def _touch(self, market: int, ts_us: int) -> None:
        """Before a market's first record in an hour write its book at the hour's first instant, if that is known."""
        hour = ts_us // HOUR_US
        one = self.state[market]
        if one["hour"] == hour:
            return
        if one["live"] and self.conns[int(one["owner"])].frame_us >= hour * HOUR_US:
            self._checkpoint(market, hour * HOUR_US)
        one["hour"] = hour

    def _checkpoint(self, market: int, ts_us: int) -> None:
        one = self.state[market]
        levels = self.ladders.rows(market)
        owner, seq, exch_us = int(one["owner"]), int(one["seq"]), int(one["exch_us"])
        self.rows.add_book(Kind.CHECKPOINT, market, ts_us, exch_us, owner, seq, levels)
        one["count"] = 0

    def _base(self, conn: Conn, market: int, ts_us: int, seq: int, levels: tuple[Level, ...]) -> None:
        one = self.state[market]
        self.rows.add_book(Kind.SNAPSHOT, market, ts_us, conn.exch_us, conn.id, seq, levels)
        self.ladders.load(market, levels)
        one["live"], one["seq"], one["last_us"], one["count"] = True, seq, ts_us, 0
        one["equal_us"], one["equal_seq"], one["first_us"] = ts_us, seq, NEVER_US
        one["exch_us"] = ts_us if conn.exch_us == NO_TIME_US else conn.exch_us

    def _bad_book(self, market: int, ts_us: int, reason: Reason) -> None:
        """Withdraw a span back to its last equal audit or snapshot."""
        one = self.state[market]
        at_us = min(int(one["equal_us"]) + 1, ts_us, int(one["first_us"]))
        self._close(market, at_us, int(one["equal_seq"]), reason)

    def _close(self, market: int, ts_us: int, seq: int, reason: Reason) -> None:
        owner = int(self.state[market]["owner"])
        one = self.state[market]
        self._write_close(market, ts_us, owner, seq, reason)
        one["live"], one["seq"] = False, max(int(one["seq"]), seq)
        self.given_up.add(market)
        self.conns[owner].ended[market] = ts_us
        self.ladders.clear(market)

    def _write_close(self, market: int, ts_us: int, conn: int, seq: int, reason: Reason) -> None:
        self.rows.add_close(market, ts_us, conn, seq, reason)
        self.closes[reason] += 1
        self.close_hours.add(ts_us // HOUR_US)

    def _audited(
        self, conn: Conn, market: int, ts_us: int, seq: int, ours: tuple[Level, ...], venue: tuple[Level, ...]
    ) -> None:
        self.compared[ours == venue] += 1
        self.audits.add(
            ticker=self.names[market],
            conn=conn.id,
            seq=seq,
            ts_recv=ts_us,
            digest_ours=digest(ours),
            digest_venue=digest(venue),
            equal=ours == venue,
        )
