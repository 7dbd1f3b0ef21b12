"""What was sent, to whom, when, and after which change of the true books.

Owns the memory of sent frames, bounded, oldest dropped. Frames enter when they are written to the socket, not when
they are made, so their times are those at which they went out.
"""

from collections.abc import Iterator

import msgspec

from exchange.errors import RefusedError


class Frame(msgspec.Struct, gc=False):
    """A frame on its way to a client, or sent.

    ``change_no`` numbers the last change of any true book when the frame was made; ``port`` is the client's port.
    ``n`` counts sent frames; ``sent_us`` is the clock's time and ``sent_ns`` the machine's (``time.time_ns``), both
    zero until the frame is written.
    """

    port: int
    sid: int | None
    seq: int | None
    kind: str
    ticker: str | None
    change_no: int
    data: bytes
    n: int = 0
    sent_us: int = 0
    sent_ns: int = 0


class _Run:
    """The sequenced frames of one subscription in order; those before ``start`` are dropped."""

    __slots__ = ("frames", "is_whole", "start")

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.start = 0
        self.is_whole = True

    def drop_first(self) -> None:
        self.is_whole = False
        self.start += 1
        if self.start > 1024 and 2 * self.start > len(self.frames):
            del self.frames[: self.start]
            self.start = 0

    def find(self, seq: int) -> Frame | None:
        low, high = self.start, len(self.frames)
        while low < high:
            middle = (low + high) // 2
            if (self.frames[middle].seq or 0) < seq:
                low = middle + 1
            else:
                high = middle
        found = self.frames[low] if low < len(self.frames) else None
        return found if found is not None and found.seq == seq else None

    def first_seq(self) -> int:
        return (self.frames[self.start].seq or 0) if self.start < len(self.frames) else 0


class SendLog:
    """The last ``limit`` frames sent, over all connections."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._frames: list[Frame] = []
        self._start = 0
        self._runs: dict[tuple[int, int], _Run] = {}
        self.sent = 0
        """How many frames were ever sent."""
        self.floor_no = 0
        """The change behind the oldest frame remembered, 0 while none was dropped."""

    def __len__(self) -> int:
        """Return how many frames are remembered."""
        return len(self._frames) - self._start

    def open_port(self, port: int) -> None:
        """Begin a connection: what an earlier connection from the same port was sent is found by number only."""
        for key in [key for key in self._runs if key[0] == port]:
            del self._runs[key]

    def record(self, frame: Frame, sent_us: int, sent_ns: int) -> None:
        """Add a frame at the moment it is written."""
        self.sent += 1
        frame.n, frame.sent_us, frame.sent_ns = self.sent, sent_us, sent_ns
        self._frames.append(frame)
        if frame.sid is not None and frame.seq is not None:
            run = self._runs.get((frame.port, frame.sid))
            if run is None:
                run = self._runs[frame.port, frame.sid] = _Run()
            run.frames.append(frame)
        if len(self) > self._limit:
            self._drop_first()

    def find(self, port: int, sid: int, seq: int) -> Frame:
        """Return the frame that carried ``seq`` on a subscription.

        Raises RefusedError 410 where it is no longer remembered, 404 where no such frame was sent.
        """
        run = self._runs.get((port, sid))
        frame = None if run is None else run.find(seq)
        if frame is not None:
            return frame
        if run is not None and not run.is_whole and (run.start == len(run.frames) or seq < run.first_seq()):
            raise RefusedError(410, "dropped", f"seq {seq} of sid {sid} on port {port} is no longer remembered")
        raise RefusedError(404, "not_found", f"no frame of port {port}, sid {sid} carried seq {seq}")

    def after(self, n: int) -> Iterator[Frame]:
        """Yield what is remembered with a number above ``n``, in the order sent, as long as frames come.

        Frames may be sent and dropped while this is read; what was dropped meanwhile is left out.
        """
        while n < self.sent:
            first_n = self.sent - len(self) + 1
            n = max(n + 1, first_n)
            yield self._frames[self._start + n - first_n]

    def _drop_first(self) -> None:
        frame = self._frames[self._start]
        self.floor_no = frame.change_no
        self._start += 1
        if self._start > 4096 and 2 * self._start > len(self._frames):
            del self._frames[: self._start]
            self._start = 0
        if frame.sid is None or frame.seq is None:
            return
        run = self._runs.get((frame.port, frame.sid))
        if run is not None and run.start < len(run.frames) and run.frames[run.start] is frame:
            run.drop_first()
