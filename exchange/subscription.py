"""One subscription: its number, its counter, its markets, and the frames it sends.

Owns ``seq``: every sequenced frame takes the next one, whether or not it reaches the client. Sans-IO: frames go to an
outlet.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from book.wire import encode
from book.wire.commands import UNSEQUENCED
from exchange.faults import Fault, Faults, Toll
from exchange.orders import GAP
from exchange.sendlog import Frame


class Outlet(Protocol):
    """Where a connection's frames go, in order."""

    port: int

    def push(self, frame: Frame) -> None:
        """Take a frame to be sent."""

    def backlog(self) -> int:
        """Return how many frames wait."""

    def schedule(self) -> None:
        """See to it that the snapshots owed are made."""


class Subscription:
    """A channel on a connection. ``tickers`` None is every market; ``on_overflow`` is told when too much waits."""

    def __init__(
        self, channel: str, sid: int, outlet: Outlet, faults: Faults, limit: int,
        on_overflow: Callable[["Subscription"], None],
    ) -> None:  # fmt: skip
        self.channel = channel
        self.sid = sid
        self.seq = 0
        """The last number taken."""
        self.tickers: dict[str, None] | None = {}
        self.waiting: set[str] = set()
        """Markets whose first snapshot has not been sent: their changes are held back, the snapshot has them."""
        self.use_yes_price = False
        self.skip_ticker_ack = False
        self.is_sequenced = channel not in UNSEQUENCED
        self._outlet = outlet
        self._faults = faults
        self._limit = limit
        self._on_overflow = on_overflow
        self._tolls: list[Toll] = []

    @property
    def port(self) -> int:
        """The client's port."""
        return self._outlet.port

    def owe(self, fault: Fault) -> None:
        """Lose the next frames (a gap), numbers and all, or send them twice (a duplicate)."""
        self._tolls.append(Toll(fault, fault.order.count, fault.order.ticker))

    def send_body(self, kind: str, ticker: str | None, change_no: int, body: bytes) -> None:
        """Send an encoded body under the next number."""
        if self._has_room():
            self.seq += 1
            self._push(kind, ticker, change_no, encode.sequenced(kind, self.sid, self.seq, body))

    def send(self, kind: str, ticker: str | None, change_no: int, make: Callable[[int], bytes]) -> None:
        """Send the frame that ``make`` returns for the next number; an unsequenced channel does not use it."""
        if self._has_room():
            self.seq += 1
            self._push(kind, ticker, change_no, make(self.seq))

    def answer(self, kind: str, change_no: int, make: Callable[[int | None], bytes]) -> None:
        """Send an answer, which takes a number too; it goes out however much waits, and no fault eats it."""
        if self.is_sequenced:
            self.seq += 1
        seq = self.seq if self.is_sequenced else None
        self._outlet.push(Frame(self.port, self.sid, seq, kind, None, change_no, make(seq)))

    def add(self, tickers: Iterable[str] | None) -> list[str]:
        """Add markets, None for all; return those that are new."""
        if tickers is None or self.tickers is None:
            self.tickers = None
            return []
        new = [ticker for ticker in tickers if ticker not in self.tickers]
        self.tickers.update(dict.fromkeys(new))
        return new

    def remove(self, tickers: Iterable[str]) -> list[str]:
        """Take markets away; return those that were there."""
        if self.tickers is None:
            return []
        gone = [ticker for ticker in tickers if ticker in self.tickers]
        for ticker in gone:
            del self.tickers[ticker]
        self.waiting.difference_update(gone)
        return gone

    def _has_room(self) -> bool:
        """Say whether a frame may wait; where too many do, the subscription ends."""
        if self._outlet.backlog() < self._limit:
            return True
        self._on_overflow(self)
        return False

    def _push(self, kind: str, ticker: str | None, change_no: int, data: bytes) -> None:
        seq = self.seq if self.is_sequenced else None
        toll = self._toll_of(ticker) if self._tolls else None
        if toll is None:
            self._outlet.push(Frame(self.port, self.sid, seq, kind, ticker, change_no, data))
            return
        toll.left -= 1
        if not toll.left:
            self._tolls.remove(toll)
        what: dict[str, Any] = {
            "port": self.port,
            "sid": self.sid,
            "seq": seq,
            "type": kind,
            "ticker": ticker,
            "change_no": change_no,
        }
        if toll.fault.order.kind == GAP:
            self._faults.has_happened(toll.fault, frame=data.decode(), **what)
            return
        for _ in range(2):
            self._outlet.push(Frame(self.port, self.sid, seq, kind, ticker, change_no, data))
        self._faults.has_happened(toll.fault, **what)

    def _toll_of(self, ticker: str | None) -> Toll | None:
        """Return the oldest toll that this frame pays; those of faults that are over are dropped."""
        self._tolls = [toll for toll in self._tolls if toll.fault.left > 0]
        return next((toll for toll in self._tolls if toll.ticker in (None, ticker)), None)
